"""Rows as the dictionaries that programs read: the one mapping behind the HTTP API and the commands' --json.

Nothing here reads the database: a row comes with what it needs (`Run` with its upstream and created_by).
"""

import json
from datetime import UTC, datetime
from typing import Any

from runs.core.progress import Progress, Step
from runs.models import Event, Gap, Rejected, Run, Task

Facts = dict[str, Any]


def moment(time: float | datetime | None) -> str | None:
    """ISO 8601 in UTC with microseconds and a Z; None for what is no time between the years 1 and 9999."""
    if isinstance(time, float | int):
        try:
            time = datetime.fromtimestamp(time, UTC)
        except (OverflowError, ValueError, OSError):
            return None
    if time is None:
        return None
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def run_facts(run: Run, *, base_url: str, output: object = None, progress: Progress | None = None) -> Facts:
    """A run. `base_url`: the site's, without a slash at the end. `progress`: what was estimated from the tasks.

    Without an estimate the counts of the run's row tell how far it is, and nothing tells how long it will take.
    """
    known = progress or counted(run)
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
        },
        "last_seq": run.last_seq,
        "created_at": moment(run.created_at),
        "started_at": moment(run.started_at),
        "finished_at": moment(run.finished_at),
        "execution_time": run.execution_time,
        "error": run.error,
        "output": output,
        "connection": run.connection,
        "gaps": run.gap_count,
        "rejected": run.rejected_count,
        "conflict": run.conflict,
        "inferred": run.inferred,
        "attached": run.attached,
        "notice": run.notice,
        "retry_of": run.retry_of_id,
        "created_by": run.created_by.username if run.created_by else None,
        "url": base_url + run.get_absolute_url(),
    }


def counted(run: Run) -> Progress:
    """How far a run is by the counts of its row. Without a plan nobody knows the total until the run has ended."""
    completed = run.tasks_completed
    total = run.tasks_total if run.planned or run.ended else None
    fraction = 1.0 if run.status == Run.Status.SUCCEEDED else completed / total if total else None
    touched = completed + run.tasks_running
    step = Step(touched if total is None else min(touched, total), total, run.current_task or None)
    return Progress(completed, total, fraction, step, None, None, None)


def output_of(event: Event) -> object:
    """The run's output from the event that carries it (`Run.output_seq`), or what task-status knew."""
    payload = json.loads(event.payload)
    return payload.get("output", payload.get("results")) if isinstance(payload, dict) else None


def task_facts(task: Task, *, usual_duration: float | None = None) -> Facts:
    """A task. `usual_duration`: seconds, where earlier runs tell."""
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
        "usual_duration": usual_duration,
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


def event_json(event: Event) -> str:
    """The same as one line of JSON text, in which the payload stands as it is stored: nothing is parsed."""
    # Between tokens a line break means nothing; inside strings JSON has none.
    payload = event.payload.replace("\n", " ").replace("\r", " ")
    return f'{json.dumps(event_head(event), separators=(",", ":"))[:-1]},"payload":{payload}}}'


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
