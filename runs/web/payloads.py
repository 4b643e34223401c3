"""What a task was given and what came of it, from the events that tell it; masked, as it is stored."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db.models import Q

from runs.core.difference import ABSENT
from runs.models import Event, Task


class Payloads(NamedTuple):
    """ABSENT where no event tells it. `error` and `partial`: of the last attempt that failed."""

    input: Any = ABSENT
    output: Any = ABSENT
    error: Any = ABSENT
    partial: Any = ABSENT


def payloads_of(tasks: Sequence[Task]) -> list[Payloads]:
    """Of each, in one query. An inferred output is the task's own part of what ended the run."""
    wanted = Q(pk__in=())
    for task in tasks:
        wanted |= Q(run_id=task.run_id, seq__in=[task.input_seq, task.output_seq, task.error_seq])
    rows = Event.objects.filter(wanted).values_list("run_id", "seq", "payload")
    told = {(run_id, seq): json.loads(payload) for run_id, seq, payload in rows}
    return [_payloads(task, told) for task in tasks]


def _payloads(task: Task, told: dict[tuple[int, int], Any]) -> Payloads:
    started, ended, failed = (
        _event(told.get((task.run_id, seq))) if seq is not None else {}
        for seq in (task.input_seq, task.output_seq, task.error_seq)
    )
    output = ended.get("output")
    if task.inferred:
        whole = ended.get("output", ended.get("results"))
        output = whole.get(task.name) if isinstance(whole, dict) else None
    return Payloads(
        started.get("input", ABSENT),
        ABSENT if task.output_seq is None else output,
        failed.get("error", ABSENT),
        failed.get("partial_results", ABSENT),
    )


def _event(payload: Any) -> dict[str, Any]:
    return payload if isinstance(payload, dict) else {}
