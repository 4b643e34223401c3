"""How long things usually take: what a run that succeeded teaches, kept as a small sample, and read as two numbers.

A sample holds one `[run's number, seconds]` for each of the last runs, oldest first; None for seconds where a task took
none that anybody told of. It is bounded, so that learning costs the same however many runs there have been.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from runs.core.state import RunState, TaskState

ENOUGH_RUNS: Final = 3  # fewer past runs say nothing
SAMPLE: Final = 20  # entries that a sample keeps
FROM_ONE_RUN: Final = 5  # of them where a run has many tasks of one name
MOST_TASKS: Final = 1000  # names that one flow keeps; those not seen for longest are forgotten
MOST_SECONDS: Final = 1e8  # three years: whatever takes longer is a broken clock

type Sample = list[list[Any]]


class Lesson(msgspec.Struct, frozen=True):
    """What one run teaches: its own seconds where they are known, and those of its tasks by name.

    A task without any was skipped, or its end is never reported: in neither case there is anything to wait for.
    """

    seconds: float | None
    tasks: dict[str, list[float]]


class Usual(msgspec.Struct, frozen=True):
    """Of a task, or of a whole run, in the last runs.

    `p50` and `p90`: median and 90th percentile in seconds; None where fewer than three runs tell. `expected`: seconds
    to reckon with before it begins: less than `p50` for a task that is skipped in some runs, 0 for one that never told.
    """

    p50: float | None
    p90: float | None
    expected: float
    runs: int


class Times(msgspec.Struct, frozen=True):
    """What is known of a flow. A name that is missing was seen in fewer than three runs."""

    run: Usual | None = None
    tasks: dict[str, Usual] = {}


def lesson(state: RunState) -> Lesson:
    """What this run teaches, which has succeeded. Only what events reported counts as a duration."""
    terminal = state.terminal
    assert terminal is not None
    reported = terminal.execution_time is not None or bool(state.started_marks)
    seconds = state.execution_time if reported and not terminal.inferred else None
    tasks: dict[str, list[float]] = {}
    for task in state.tasks.values():
        took = _took(task)
        if took is not None:
            tasks.setdefault(task.name, []).append(took)
        elif task.inferred and not state.gapped:
            tasks.setdefault(task.name, [])
    return Lesson(_sane(seconds), tasks)


def _took(task: TaskState) -> float | None:
    """Seconds of its last attempt, if that succeeded and both its ends are known."""
    if task.status != "succeeded" or task.inferred or not task.attempts:
        return None
    last = task.attempts[-1]
    if last.started_at is None or last.finished_at is None:
        return None
    return _sane(max(0.0, last.finished_at - last.started_at))


def _sane(seconds: float | None) -> float | None:
    known = seconds is not None and math.isfinite(seconds) and 0 <= seconds <= MOST_SECONDS
    return seconds if known else None


def taught(sample: Sample, run_id: int, durations: Sequence[float | None]) -> Sample:
    """The sample with this run's durations; the oldest entries go."""
    more = [[run_id, None if seconds is None else round(seconds, 3)] for seconds in durations]
    return [*sample, *more][-SAMPLE:]


def tasks_taught(tasks: Mapping[str, Sample], run_id: int, of_run: Mapping[str, Sequence[float]]) -> dict[str, Sample]:
    """The samples of all tasks with what this run tells of them; those that it names come last."""
    named = dict(islice(of_run.items(), MOST_TASKS))
    merged = {name: sample for name, sample in tasks.items() if name not in named}
    for name, durations in named.items():
        merged[name] = taught(tasks.get(name, []), run_id, spread(durations) or [None])
    return dict(islice(merged.items(), max(0, len(merged) - MOST_TASKS), None))


def spread(durations: Sequence[float]) -> list[float]:
    """At most FROM_ONE_RUN of these, from the least to the greatest in even steps."""
    ordered = sorted(durations)
    if len(ordered) <= FROM_ONE_RUN:
        return ordered
    step = (len(ordered) - 1) / (FROM_ONE_RUN - 1)
    return [ordered[round(place * step)] for place in range(FROM_ONE_RUN)]


def usual_of(sample: Sample) -> Usual | None:
    """What a sample says of the next time; None under three runs."""
    runs = {run_id for run_id, _ in sample}
    if len(runs) < ENOUGH_RUNS:
        return None
    ran = {run_id for run_id, seconds in sample if seconds is not None}
    ordered = sorted(seconds for _, seconds in sample if seconds is not None)
    median = ordered[len(ordered) // 2] if ordered else 0.0
    if len(ran) < ENOUGH_RUNS:
        return Usual(None, None, median * len(ran) / len(runs), len(runs))
    high = ordered[int(0.9 * (len(ordered) - 1) + 0.5)]
    return Usual(median, high, median * len(ran) / len(runs), len(runs))


def times_of(whole: Sample, tasks: Iterable[tuple[str, Sample]]) -> Times:
    """What is known of a flow from its samples."""
    known = ((name, usual_of(sample)) for name, sample in tasks)
    return Times(usual_of([one for one in whole if one[1] is not None]), {name: one for name, one in known if one})
