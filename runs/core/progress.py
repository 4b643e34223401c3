"""How far a run is and how long it still takes, from the tasks it has and the durations tasks usually have.

Reads no clock: `now` is passed in, in epoch seconds, like every other time here.
"""

from collections.abc import Iterable, Mapping
from types import EllipsisType
from typing import Final

import msgspec

ENOUGH_RUNS: Final = 3  # fewer past runs say nothing
PENDING, RUNNING = "pending", "running"
FINISHED: Final = frozenset({"succeeded", "failed", "skipped", "unknown"})


class TaskFact(msgspec.Struct, frozen=True):
    """One task: `status` is pending, running, succeeded, failed, skipped or unknown (settled without an answer).

    `layer` is the task's depth in the plan; where every unfinished task has one, tasks of one layer count as
    running side by side, else as one after the other.
    """

    name: str
    status: str
    started_at: float | None = None
    layer: int | None = None


class Usual(msgspec.Struct, frozen=True):
    """Durations of one task in past runs: median and 90th percentile in seconds, and how many runs."""

    p50: float
    p90: float
    runs: int


class Step(msgspec.Struct, frozen=True):
    """`Step 2 of 3: name`. `total` is None when nobody knows; `name` when nothing has started."""

    current: int
    total: int | None
    name: str | None


class Progress(msgspec.Struct, frozen=True):
    """`fraction` is 0 to 1. Times in seconds: `eta_seconds` and `eta_low` from medians, `eta_high` from 90th
    percentiles; None where too little is known to promise anything."""

    completed: int
    total: int | None
    fraction: float | None
    step: Step
    eta_seconds: float | None
    eta_low: float | None
    eta_high: float | None


def estimate(
    tasks: Iterable[TaskFact],
    history: Mapping[str, Usual],
    now: float,
    total: int | EllipsisType | None = ...,
) -> Progress:
    """Progress of one run. Left out, `total` is the number of `tasks` given; None means nobody knows it."""
    facts = list(tasks)
    finished = [fact for fact in facts if fact.status in FINISHED]
    unfinished = [fact for fact in facts if fact.status not in FINISHED]
    count = None if total is None else len(facts) if isinstance(total, EllipsisType) else max(total, len(facts))
    touched = len(finished) + sum(fact.status == RUNNING for fact in unfinished)
    step = Step(touched if count is None else min(touched, count), count, _current(facts))
    fraction = None
    if count:
        whole = _weight(facts, history) if count == len(facts) else None
        done = _weight(finished, history)
        fraction = done / whole if whole and done is not None else len(finished) / count
        if unfinished or len(finished) < count:
            fraction = min(fraction, 0.999)  # what still runs is never shown as done
    if count is None or count != len(facts):
        return Progress(len(finished), count, fraction, step, None, None, None)
    low, high = _remaining(unfinished, history, now)
    return Progress(len(finished), count, fraction, step, low, low, high)


def _known(fact: TaskFact, history: Mapping[str, Usual]) -> Usual | None:
    usual = history.get(fact.name)
    return usual if usual is not None and usual.runs >= ENOUGH_RUNS else None


def _weight(facts: Iterable[TaskFact], history: Mapping[str, Usual]) -> float | None:
    """The usual seconds of all of them together; None when one of them is not known well enough."""
    weight = 0.0
    for fact in facts:
        usual = _known(fact, history)
        if usual is None:
            return None
        weight += max(usual.p50, 0.0)
    return weight


def _remaining(
    unfinished: list[TaskFact], history: Mapping[str, Usual], now: float
) -> tuple[float | None, float | None]:
    layered = all(fact.layer is not None for fact in unfinished)
    low: dict[int | None, float] = {}
    high: dict[int | None, float] = {}
    for number, fact in enumerate(unfinished):
        usual = _known(fact, history)
        if usual is None:
            return None, None
        elapsed = 0.0
        if fact.status == RUNNING and fact.started_at is not None:
            elapsed = max(now - fact.started_at, 0.0)
        slot = fact.layer if layered else number
        low[slot] = max(low.get(slot, 0.0), usual.p50 - elapsed)
        high[slot] = max(high.get(slot, 0.0), usual.p50 - elapsed, usual.p90 - elapsed)
    return sum(low.values()), sum(high.values())


def _current(facts: list[TaskFact]) -> str | None:
    """The running task that started last, else the task that started last, else the last one that ended."""
    chosen, best = None, (False, False, 0.0)
    for fact in facts:
        if fact.status == PENDING:
            continue
        rank = (fact.status == RUNNING, fact.started_at is not None, fact.started_at or 0.0)
        if chosen is None or rank >= best:
            chosen, best = fact.name, rank
    return chosen
