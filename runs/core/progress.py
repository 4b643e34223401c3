"""How far a run is and how long it still takes, from its tasks and from what they usually take.

A follower keeps a Tracker beside the run's state and stores its Forecast with each write. A forecast holds moments
instead of seconds left, so that whoever reads it later, or lets it tick on a page, needs nothing else.
Reads no clock: `now` is passed in, in epoch seconds, like every other time here.
"""

import heapq
import math
from collections.abc import Iterable
from typing import Final

import msgspec

from runs.core.plan import Plan
from runs.core.state import RunState, TaskState
from runs.core.times import Times, Usual

LEAST_PATIENCE: Final = 30.0  # seconds: a shorter silence is nothing to speak of
OVERRUN_GRACE: Final = 1.0  # seconds beyond the 90th percentile: tasks of milliseconds never overrun
MOST_OF_RUNNING: Final = 0.95  # of its usual time is what a task that runs can count for
SOON: Final = 10.0  # seconds left that are not told apart
MOST: Final = 0.99  # what still runs is never shown as done
CROWDED: Final = 1.25  # where whole runs take so many times what their layers do, few tasks run at a time


class Step(msgspec.Struct, frozen=True):
    """`Step 2 of 3: name`. `total` is None when nobody knows; `name` when nothing has started."""

    current: int
    total: int | None
    name: str | None


class Progress(msgspec.Struct, frozen=True):
    """`fraction` is 0 to 1. Times in seconds: `eta_seconds` and `eta_low` from medians, `eta_high` from 90th
    percentiles; None where too little is known to promise anything. `overrunning`: beyond what is usual."""

    completed: int
    total: int | None
    fraction: float | None
    step: Step
    eta_seconds: float | None
    eta_low: float | None
    eta_high: float | None
    overrunning: bool = False


class Forecast(msgspec.Struct, frozen=True):
    """What was foreseen of a run `at` a moment, in such a form that it holds until the next change.

    `fraction` grew by `rate` a second up to `most`. The run ends at `low_at` by medians and at `high_at` by 90th
    percentiles, but not before what has not begun yet has had its time: `low_rest` and `high_rest` seconds. Something
    in it takes longer than usual from `overruns_at` on. None: not known.
    """

    at: float
    fraction: float | None
    rate: float
    most: float
    low_at: float | None
    high_at: float | None
    low_rest: float
    high_rest: float
    overruns_at: float | None

    def fraction_at(self, now: float) -> float | None:
        if self.fraction is None:
            return None
        return max(self.fraction, min(self.most, self.fraction + self.rate * max(0.0, now - self.at)))

    def left_at(self, now: float) -> tuple[float, float] | None:
        """Seconds left, by medians and by 90th percentiles."""
        if self.low_at is None or self.high_at is None:
            return None
        low = max(0.0, self.low_rest, self.low_at - now)
        return low, max(low, self.high_rest, self.high_at - now)

    def overruns(self, now: float) -> bool:
        return self.overruns_at is not None and now >= self.overruns_at


def patience(running: Iterable[str], times: Times, unknown: float) -> float:
    """Seconds without an event after which a run is silent: as long as the slowest of its running tasks takes usually.

    `unknown` where that is not known of one of them, or where none is running.
    """
    usual = [times.tasks[name].p90 if name in times.tasks else None for name in running]
    known = [one for one in usual if one is not None]
    return max(LEAST_PATIENCE, *(known if known and len(known) == len(usual) else [unknown]))


class _Waiting(msgspec.Struct, frozen=True, order=True):
    """A task that has not begun, as the heap of its layer orders them: the longest first."""

    expected: float  # negative seconds
    variance: float  # of the seconds between median and 90th percentile, squared
    key: str


class _Running(msgspec.Struct, frozen=True):
    started_at: float
    usual: Usual
    layer: int | str


class Tracker:
    """Adds up what a run's tasks usually take, and follows its changes at a cost that does not grow with the run.

    Tasks of one layer of the plan count as running side by side, layers as one after the other. Where whole runs take
    much longer than that, the upstream runs few tasks at a time: then what is left takes no less than its share of a
    whole run. Spreads add up by their squares, as those of independent times do: twenty tasks are not all slow at once.
    """

    def __init__(self, times: Times, plan: Plan | None, state: RunState) -> None:
        self.times = times
        self._layers = {task.name: task.layer for task in plan.tasks} if plan else None
        self._by_layers = _by_layers(times, plan)
        self._waiting: dict[str, _Waiting] = {}
        self._running: dict[str, _Running] = {}
        self._weights: dict[str, tuple[float, bool]] = {}  # seconds, and whether it has finished
        self._unknown: set[str] = set()  # tasks that have not finished, and nobody knows how long they take
        self._unweighed: set[str] = set()  # tasks of which nothing is known, finished or not
        self._heaps: dict[int | str, list[_Waiting]] = {}
        self._tops: dict[int | str, tuple[float, float]] = {}  # seconds and variance of the longest in a layer
        self._rest = self._variance = self._whole = self._done = 0.0
        if times.run is not None:
            self.change(state, state.tasks)

    def change(self, state: RunState, keys: Iterable[str]) -> None:
        """These tasks have changed, come or gone."""
        touched: set[int | str] = set()
        for key in keys if self.times.run is not None else ():
            touched.add(self._layer(key))
            self._take(key)
            if key in state.tasks:
                self._put(state.tasks[key])
        for layer in touched:
            self._top(layer)

    def _layer(self, key: str) -> int | str:
        """Of a planned task its layer; any other stands alone."""
        return (self._layers or {}).get(key, key)

    def _take(self, key: str) -> None:
        weight, finished = self._weights.pop(key, (0.0, False))
        self._whole -= weight
        self._done -= weight * finished
        self._waiting.pop(key, None)
        self._running.pop(key, None)
        self._unknown.discard(key)
        self._unweighed.discard(key)

    def _put(self, task: TaskState) -> None:
        usual = self.times.tasks.get(task.name)
        finished = task.status not in ("pending", "running")
        if usual is None or (usual.p50 is None and usual.expected and task.status == "running"):
            self._unweighed.add(task.key)
            if not finished:
                self._unknown.add(task.key)
            return
        begun = task.status != "pending" and usual.p50 is not None
        weight = usual.p50 if begun and usual.p50 is not None else usual.expected
        self._weights[task.key] = (weight, finished)
        self._whole += weight
        self._done += weight * finished
        if task.status == "pending":
            share = usual.expected / usual.p50 if usual.p50 else 0.0
            wide = share * ((usual.p90 or 0.0) - (usual.p50 or 0.0))
            waiting = self._waiting[task.key] = _Waiting(-usual.expected, wide * wide, task.key)
            heapq.heappush(self._heaps.setdefault(self._layer(task.key), []), waiting)
        elif task.status == "running" and begun and (since := task.ends[-1].started_at) is not None:
            self._running[task.key] = _Running(since, usual, self._layer(task.key))

    def _top(self, layer: int | str) -> None:
        heap = self._heaps.get(layer, [])
        while heap and self._waiting.get(heap[0].key) != heap[0]:
            heapq.heappop(heap)
        new = (-heap[0].expected, heap[0].variance) if heap else (0.0, 0.0)
        old = self._tops.get(layer, (0.0, 0.0))
        self._tops[layer] = new
        self._rest += new[0] - old[0]
        self._variance += new[1] - old[1]

    def forecast(self, state: RunState, now: float) -> Forecast | None:
        """What is foreseen now; None under three past runs, and for a run that has ended."""
        whole = self.times.run
        if whole is None or whole.p50 is None or whole.p90 is None or state.terminal is not None:
            return None
        overruns = [one.started_at + (one.usual.p90 or 0.0) for one in self._running.values()]
        low_at = high_at = None
        if state.started_at is not None:
            low_at, high_at = state.started_at + whole.p50, state.started_at + whole.p90
            overruns.append(high_at)
        low_rest = high_rest = 0.0
        fraction, rate, most = self._fraction(now)
        if self._layers is not None and not self._unknown:
            low_rest, variance = max(0.0, self._rest), max(0.0, self._variance)
            high_rest = low_rest + math.sqrt(variance)
            more, wider = self._of_running(now)
            low = low_rest + more
            low_at, high_at = now + low, now + low + math.sqrt(max(0.0, variance + wider))
            if fraction is not None and whole.p50 > CROWDED * self._by_layers:
                low_at = max(low_at, now + whole.p50 * (1 - fraction))
                high_at = max(high_at, now + whole.p90 * (1 - fraction))
        return Forecast(
            at=now,
            fraction=fraction,
            rate=rate,
            most=most,
            low_at=low_at,
            high_at=high_at,
            low_rest=low_rest,
            high_rest=high_rest,
            overruns_at=min(overruns) + OVERRUN_GRACE if overruns else None,
        )

    def _of_running(self, now: float) -> tuple[float, float]:
        """How much longer than what waits beside them the running tasks take: seconds and variance."""
        longest: dict[int | str, tuple[float, float]] = {}
        for one in self._running.values():
            elapsed = max(0.0, now - one.started_at)
            low = max(0.0, (one.usual.p50 or 0.0) - elapsed)
            wide = max(0.0, (one.usual.p90 or 0.0) - elapsed) - low
            longest[one.layer] = max(longest.get(one.layer, (0.0, 0.0)), (low, wide * wide))
        more = wider = 0.0
        for layer, (low, variance) in longest.items():
            beside, its_variance = self._tops.get(layer, (0.0, 0.0))
            if low >= beside:
                more += low - beside
                wider += variance - its_variance
        return more, wider

    def _fraction(self, now: float) -> tuple[float | None, float, float]:
        """Fraction, growth a second, and how far that goes; the first None where a plain count says more."""
        if self._layers is None or self._unweighed or self._whole <= 0:
            return None, 0.0, 0.0
        credit = most = growing = 0.0
        for one in self._running.values():
            cap = MOST_OF_RUNNING * (one.usual.p50 or 0.0)
            elapsed = max(0.0, now - one.started_at)
            credit += min(elapsed, cap)
            most += cap
            growing += elapsed < cap
        done = max(0.0, self._done)
        most = min(MOST, (done + most) / self._whole)
        return min(most, (done + credit) / self._whole), growing / self._whole, most


def _by_layers(times: Times, plan: Plan | None) -> float:
    """Seconds of a whole run by the layers of its plan, as if all tasks of one ran side by side."""
    longest: dict[int, float] = {}
    for task in plan.tasks if plan else ():
        usual = times.tasks.get(task.name)
        longest[task.layer] = max(longest.get(task.layer, 0.0), usual.expected if usual else 0.0)
    return sum(longest.values())


# --- words ------------------------------------------------------------------------------------------------------


def left_words(low: float, high: float) -> str:
    """Seconds left for people: `about 1 m 40 s left`, `about 1–2 m left` where the two are far apart.

    static/js/pace.js says the same.
    """
    if high < SOON:
        return "a few seconds left"
    if high - low <= max(5.0, high / 4):
        return f"about {_round(low)} left"
    unit, size, step = next(
        (unit, size, step)
        for unit, size, step, enough in (
            ("d", 86400, 1, high >= 172800),
            ("h", 3600, 1, high >= 7200),
            ("m", 60, 1, high >= 120 or low >= 60),
            ("s", 1, 5, True),
        )
        if enough
    )
    least, most = math.floor(low / size / step) * step, math.ceil(high / size / step) * step
    return f"about {least}–{most} {unit} left" if least else f"under {most} {unit} left"


def _round(seconds: float) -> str:
    """To 5 seconds, from a minute on to 10, from ten minutes on to whole minutes, from a day on to hours."""
    if seconds < 57.5:
        return f"{max(5, math.floor(seconds / 5 + 0.5) * 5)} s"
    if seconds < 595:
        whole = math.floor(seconds / 10 + 0.5) * 10
        return f"{whole // 60} m {whole % 60} s" if whole % 60 else f"{whole // 60} m"
    minutes = math.floor(seconds / 60 + 0.5)
    if minutes < 60:
        return f"{minutes} m"
    if minutes < 1440:
        return f"{minutes // 60} h {minutes % 60:02d} m"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
