"""A stored run folded again event by event: what each event changed, so that a reader can stand at any of them."""

import json
from typing import Any

import msgspec

from runs import store
from runs.core import plan as plans
from runs.core.state import RunState
from runs.history import Folding
from runs.models import Event, Gap, Launch, Run

MOST_EVENTS = 20_000
MOST_ATTEMPTS = 20  # of one task that one step tells, the last ones
PAYLOAD_BYTES = 8 * 1024**2  # of all payloads together

Step = list[tuple[str, str | None, list[list[Any]]]]  # [key, status (None: no such task), [[start, end, status]]]


class Replay(msgspec.Struct):
    """`steps[n]` is what event n + 1 changed, `steps[0]` what stood there before the first: times in epoch seconds."""

    tasks: list[dict[str, Any]]  # every task that was ever there, in the order of the page: key, name, tag, function
    steps: list[Step]
    outcomes: list[str]  # of the run after each event: running, succeeded, failed
    events: list[list[Any]]  # [seq, type, task name, time, received, payload as text or None where it was left out]
    gaps: list[list[Any]]  # [after seq, start, end, reason]
    left_out: int  # events behind MOST_EVENTS


def replay(run: Run) -> Replay:
    """Of a run of more than MOST_EVENTS the first ones; of payloads as many as PAYLOAD_BYTES hold."""
    launch = Launch.objects.filter(run=run).first()
    plan = plans.read(launch.definition) if launch else None
    gaps = list(Gap.objects.filter(run=run).order_by("pk"))
    folding = Folding(plan, [gap.after_seq for gap in gaps])
    state = folding.state
    steps, outcomes = [_told(state, state.tasks)], ["running"]
    for event in store.read_events(run.pk, until=MOST_EVENTS):
        steps.append(_told(state, folding.add(event)))
        outcomes.append(state.terminal.outcome if state.terminal else "running")
    return Replay(
        tasks=_tasks(run, steps),
        steps=steps,
        outcomes=outcomes,
        events=_events(run),
        gaps=[[gap.after_seq, gap.started_at, gap.ended_at, gap.reason] for gap in gaps],
        left_out=max(0, run.last_seq - MOST_EVENTS),
    )


def _told(state: RunState, keys: Any) -> Step:
    return [
        (
            key,
            task.status if (task := state.tasks.get(key)) else None,
            [[one.started_at, one.finished_at, one.status] for one in task.attempts[-MOST_ATTEMPTS:]] if task else [],
        )
        for key in sorted(keys)
    ]


def _tasks(run: Run, steps: list[Step]) -> list[dict[str, Any]]:
    """Those of the run as it is stored, and behind them those that turned out to be another."""
    rows = list(run.tasks.order_by("position").values("key", "name", "tag", "function"))
    known = {row["key"] for row in rows}
    gone = dict.fromkeys(key for step in steps for key, _, _ in step if key not in known)
    return [*map(dict, rows), *({"key": key, "name": key, "tag": "", "function": ""} for key in gone)]


def _events(run: Run) -> list[list[Any]]:
    columns = ("seq", "event_type", "task_name", "timestamp", "received_at", "payload")
    rows, left = [], PAYLOAD_BYTES
    for *head, payload in Event.objects.after(run.pk, 0, MOST_EVENTS).values_list(*columns):
        left -= len(payload)
        rows.append([*head, json.dumps(json.loads(payload), ensure_ascii=False, indent=2) if left >= 0 else None])
    return rows
