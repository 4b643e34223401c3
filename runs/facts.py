"""Rows as the dictionaries that programs read: the one mapping behind the HTTP API and the commands' --json.

Nothing here reads the database: a row comes with what it needs (`Run` with its upstream and created_by, `Stream` and
`Rejected` with their run as well).
"""

import json
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from runs.core import schema as schemas
from runs.core.progress import Forecast, Progress, Step
from runs.fields import dumps
from runs.models import Event, Gap, Rejected, Run, Stream, Task, Worker, Workflow

Facts = dict[str, Any]


def moment(time: float | datetime | None) -> str | None:
    """ISO 8601 in UTC with microseconds and a Z; None for what is no time between the years 1 and 9999."""
    if time is None:
        return None
    if isinstance(time, datetime):
        return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    try:
        return datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
    except (OverflowError, ValueError, OSError):
        return None


def run_facts(run: Run, *, base_url: str, output: object = None) -> Facts:
    """A run, its progress as of now. `base_url`: the site's, without a slash at the end."""
    known = progress_of(run, time.time())
    return {
        "id": run.pk,
        "upstream": run.upstream.name,
        "flow_name": run.flow_name,
        "run_name": run.run_name,
        "status": run.status,
        "step": {"current": known.step.current, "total": known.step.total, "name": known.step.name},
        "progress": {
            "completed": known.completed,
            "total": known.total,
            "fraction": known.fraction,
            "eta_seconds": known.eta_seconds,
            "eta_low": known.eta_low,
            "eta_high": known.eta_high,
            "overrunning": known.overrunning,
        },
        "last_seq": run.last_seq,
        "created_at": moment(run.created_at),
        "started_at": moment(run.started_at),
        "finished_at": moment(run.finished_at),
        "execution_time": run.execution_time,
        "error": run.error,
        "output": output,
        "connection": run.connection,
        "silent_since": moment(run.silent_since),
        "overdue": run.overdue,
        "due_at": moment(run.due_at),
        "gaps": run.gap_count,
        "rejected": run.rejected_count,
        "conflict": run.conflict,
        "inferred": run.inferred,
        "attached": run.attached,
        "notice": run.notice,
        "retry_of": run.retry_of_id,
        "retry_number": run.retry_number,
        "workflow_version": run.workflow_version,
        "created_by": run.created_by.username if run.created_by else None,
        "url": base_url + run.get_absolute_url(),
    }


def progress_of(run: Run, now: float) -> Progress:
    """How far a run is, by the counts of its row, and by its forecast where it goes on and its flow is known.

    A step is a task that has begun. Without a plan nobody knows how many there are until the run has ended.
    """
    completed = run.tasks_completed
    total = run.tasks_total if run.planned or run.ended else None
    begun = completed + run.tasks_running
    step = Step(begun if total is None else min(begun, total), total, run.current_task or None)
    forecast = forecast_of(run)
    fraction = 1.0 if run.status == Run.Status.SUCCEEDED else completed / total if total else None
    if forecast is None:
        return Progress(completed, total, fraction, step, None, None, None)
    foreseen = forecast.fraction_at(now)
    low, high = forecast.left_at(now) or (None, None)
    return Progress(
        completed=completed,
        total=total,
        fraction=fraction if foreseen is None else foreseen,
        step=step,
        eta_seconds=low,
        eta_low=low,
        eta_high=high,
        overrunning=forecast.overruns(now),
    )


def forecast_of(run: Run) -> Forecast | None:
    """What was foreseen at the run's last change; None for one that does not go on, or of whose flow too little is
    known."""
    return None if run.ended or run.forecast is None else msgspec.convert(run.forecast, Forecast)


def output_of(event: Event) -> object:
    """The run's output from the event that carries it (`Run.output_seq`), or what task-status knew."""
    payload = json.loads(event.payload)
    return payload.get("output", payload.get("results")) if isinstance(payload, dict) else None


def task_facts(task: Task) -> Facts:
    """A task; `usual_duration` where three earlier runs tell."""
    return {
        "key": task.key,
        "name": task.name,
        "status": task.status,
        "attempts": [
            {
                "started_at": moment(attempt.get("started_at")),
                "finished_at": moment(attempt.get("finished_at")),
                "status": attempt["status"],
                "inferred": attempt.get("inferred", False),
            }
            for attempt in task.attempts
        ],
        "started_at": moment(task.started_at),
        "finished_at": moment(task.finished_at),
        "duration": task.duration,
        "usual_duration": task.usual_p50,
        "inferred": task.inferred,
        "error": task.error,
    }


def event_head(event: Event) -> Facts:
    """An event without its payload."""
    return {
        "seq": event.seq,
        "event_type": event.event_type,
        "task_id": event.task_id,
        "task_name": event.task_name,
        "timestamp": moment(event.timestamp),
        "received_at": moment(event.received_at),
        "receipts": event.receipts,
    }


def event_facts(event: Event) -> Facts:
    return {**event_head(event), "payload": json.loads(event.payload)}


EVENT_COLUMNS = ("seq", "event_type", "task_id", "task_name", "timestamp", "received_at", "receipts", "payload")


def event_json(event: Any) -> str:
    """The same as one line of JSON text, in which the payload stands as it is stored: nothing is parsed.

    `event`: an Event, or a named tuple of EVENT_COLUMNS, which costs half as much to read.
    """
    # Between tokens a line break means nothing; inside strings JSON has none.
    payload = event.payload.replace("\n", " ").replace("\r", " ")
    return f'{dumps(event_head(event))[:-1]},"payload":{payload}}}'


def gap_facts(gap: Gap) -> Facts:
    return {
        "id": gap.pk,
        "reason": gap.reason,
        "detail": gap.detail,
        "after_seq": gap.after_seq,
        "started_at": moment(gap.started_at),
        "ended_at": moment(gap.ended_at),
    }


def rejected_facts(frame: Rejected) -> Facts:
    return {
        "id": frame.pk,
        "reason": frame.reason,
        "detail": frame.detail,
        "preview": frame.preview,
        "size": frame.size,
        "count": frame.count,
        "first_at": moment(frame.first_at),
        "last_at": moment(frame.last_at),
    }


def address_facts(run: Run) -> Facts:
    """Which run something belongs to."""
    return {
        "run": run.pk,
        "upstream": run.upstream.name,
        "flow_name": run.flow_name,
        "run_name": run.run_name,
    }


def stream_facts(stream: Stream) -> Facts:
    """A stream as StreamQuerySet.listed gives it: who follows the run, and how its connection is."""
    run = stream.run
    return {
        **address_facts(run),
        "status": run.status,
        "place": stream.place,  # type: ignore[attr-defined]  # annotated
        "worker": stream.owner or None,
        "epoch": stream.epoch,
        "lease_until": moment(stream.lease_until),
        "claim_after": moment(stream.claim_after),
        "connection": run.connection,
        "connection_since": moment(run.connection_since),
        "last_frame_at": moment(stream.last_frame_at),
        "alive_at": moment(stream.alive_at),
    }


def worker_facts(worker: Worker) -> Facts:
    """A worker as WorkerQuerySet.listed gives it."""
    return {
        "name": worker.name,
        "started_at": moment(worker.started_at),
        "beat_at": moment(worker.beat_at),
        "beat_age": max(0.0, worker.age),  # type: ignore[attr-defined]  # annotated
        "following": worker.following,  # type: ignore[attr-defined]
    }


def workflow_facts(workflow: Workflow, *, base_url: str, listed: bool = False) -> Facts:
    """A workflow with its upstream. `listed`: without the definition, which is then not read."""
    return {
        "id": workflow.pk,
        "flow_name": workflow.flow_name,
        "upstream": workflow.upstream.name,
        "description": workflow.description,
        "definition": None if listed else workflow.definition,
        "input_schema": None if listed else schemas.of(workflow.definition),
        "version": workflow.version,
        "tasks_total": workflow.tasks_total,
        "deadline_seconds": workflow.deadline_seconds,
        "retry_limit": workflow.retry_limit,
        "retry_pause": workflow.retry_pause,
        "retry_on": workflow.retry_on,
        "created_at": moment(workflow.created_at),
        "updated_at": moment(workflow.updated_at),
        "url": base_url + workflow.get_absolute_url(),
    }
