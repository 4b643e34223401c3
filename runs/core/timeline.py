"""The timeline's geometry as numbers: bars, folds, idle stretches, gaps, ticks. No HTML, and no clock: `now` comes in.

Times in are epoch seconds; places out are seconds from the timeline's start. Odd times (an end before its start, a
missing start, a start after `now`) are bent to something that can be drawn.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

FOLD_ABOVE: Final = 5  # so many siblings of one name stay rows of their own
IDLE_SHARE: Final = 0.05  # of the whole; a shorter pause is not worth a word
ERRORS_FIRST: Final = ("failed", "unknown", "running", "pending", "skipped", "succeeded")
_STEPS: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200),
)
_DAY: Final = 86_400


class Span(msgspec.Struct, frozen=True):
    """One attempt as it is known; either time may be missing."""

    started_at: float | None
    finished_at: float | None
    status: str
    inferred: bool = False


class Row(msgspec.Struct, frozen=True):
    """One task that goes in: its key, its name, its attempts in order."""

    key: str
    name: str
    attempts: tuple[Span, ...] = ()


class Bar(msgspec.Struct, frozen=True):
    """One attempt that comes out; `x1` is None while it runs, else not below `x0`."""

    x0: float
    x1: float | None
    status: str
    inferred: bool


class Line(msgspec.Struct, frozen=True):
    """One task's row: `status` is that of the last attempt, pending without one; no bars when no time is known."""

    key: str
    name: str
    status: str
    bars: tuple[Bar, ...]


class Fold(msgspec.Struct, frozen=True):
    """More than five siblings of one name: their keys and counts with errors first, and the envelope of their bars.

    `x0` is None when none of them has a bar, `x1` also while one of them runs.
    """

    name: str
    keys: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]
    x0: float | None
    x1: float | None


class Stretch(msgspec.Struct, frozen=True):
    x0: float
    x1: float


class Timeline(msgspec.Struct, frozen=True):
    """`start` and `end` in epoch seconds, both None when nothing has a time; rows in the order they came in."""

    start: float | None
    end: float | None
    rows: tuple[Line | Fold, ...]
    idle: tuple[Stretch, ...]
    gaps: tuple[Stretch, ...]


def layout(
    rows: Iterable[Row],
    gaps: Iterable[tuple[float, float | None]],
    now: float,
    *,
    fold: bool = True,
) -> Timeline:
    """The timeline of `rows`. `gaps` are the times in which nobody was connected; an end of None is still open.

    It begins with the first start and ends with the last end, or with `now` while something runs. `fold=False`
    leaves every task a row of its own.
    """
    tasks = list(rows)
    spans = [ends for task in tasks for ends in (_ends(span) for span in task.attempts) if ends]
    if not spans:
        start = end = None
    else:
        start = min(begin for begin, _ in spans)
        end = max(begin if finish is None else finish for begin, finish in spans)
        if any(finish is None for _, finish in spans):
            end = max(end, now)
    lines = [line(task, start or 0.0) for task in tasks]
    out = _folded(lines) if fold else tuple(lines)
    if start is None or end is None:
        return Timeline(None, None, out, (), ())
    whole = end - start
    clipped = [(max(begin - start, 0.0), whole if stop is None else min(stop - start, whole)) for begin, stop in gaps]
    return Timeline(start, end, out, _idle(lines, whole), tuple(Stretch(a, b) for a, b in _merged(clipped) if b > a))


def _number(time: float | None) -> float | None:
    return time if time is not None and math.isfinite(time) else None


def _ends(span: Span) -> tuple[float, float | None] | None:
    begin, finish = _number(span.started_at), _number(span.finished_at)
    if begin is None:
        return None if finish is None else (finish, finish)
    if finish is None and span.status != "running":
        finish = begin  # ended at a time nobody told: a point, not a bar that grows for ever
    return begin, None if finish is None else max(begin, finish)


def line(task: Row, start: float) -> Line:
    bars = []
    for span in task.attempts:
        ends = _ends(span)
        if ends:
            stop = None if ends[1] is None else ends[1] - start
            bars.append(Bar(ends[0] - start, stop, span.status, span.inferred))
    return Line(task.key, task.name, task.attempts[-1].status if task.attempts else "pending", tuple(bars))


def _folded(lines: Sequence[Line]) -> tuple[Line | Fold, ...]:
    """Siblings of one name as one fold, where the first of them stands."""
    siblings: dict[str, list[Line]] = {}
    for line in lines:
        siblings.setdefault(line.name, []).append(line)
    out: list[Line | Fold] = []
    for line in lines:
        same = siblings[line.name]
        if len(same) <= FOLD_ABOVE:
            out.append(line)
        elif line is same[0]:
            out.append(_fold(same))
    return tuple(out)


def _fold(lines: list[Line]) -> Fold:
    ordered = sorted(lines, key=lambda line: _rank(line.status))  # stable: else as they came
    counts = sorted(Counter(line.status for line in lines).items(), key=lambda count: _rank(count[0]))
    bars = [bar for line in lines for bar in line.bars]
    ends = [bar.x1 for bar in bars if bar.x1 is not None]
    return Fold(
        lines[0].name,
        tuple(line.key for line in ordered),
        tuple(counts),
        min((bar.x0 for bar in bars), default=None),
        max(ends) if ends and len(ends) == len(bars) else None,
    )


def _rank(status: str) -> int:
    return ERRORS_FIRST.index(status) if status in ERRORS_FIRST else 1


def _merged(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Sorted, and one where two touch."""
    merged: list[tuple[float, float]] = []
    for begin, stop in sorted(stretches):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        elif stop >= begin:
            merged.append((begin, stop))
    return merged


def _idle(lines: Iterable[Line], whole: float) -> tuple[Stretch, ...]:
    """Where nothing ran for more than a twentieth of the whole."""
    busy = _merged((bar.x0, whole if bar.x1 is None else bar.x1) for line in lines for bar in line.bars)
    edges = [*busy, (whole, whole)]
    pauses = (Stretch(a[1], b[0]) for a, b in pairwise(edges))
    return tuple(pause for pause in pauses if pause.x1 - pause.x0 > IDLE_SHARE * whole)


def nice_ticks(seconds: float, most: int = 8) -> list[float]:
    """Round places from 0 up to `seconds` for an axis, at most `most` of them (at least one: 0)."""
    if not (math.isfinite(seconds) and seconds > 0) or most < 2:
        return [0.0]
    for step in _STEPS:
        if seconds / step < most:
            break
    else:
        days = seconds / _DAY / (most - 1)
        size = 10.0 ** math.floor(math.log10(days)) if days >= 1 else 1.0
        step = _DAY * next(size * round_ for round_ in (1, 2, 5, 10) if size * round_ >= days)
    return [round(number * step, 3) for number in range(math.floor(seconds / step) + 1)]


def label(seconds: float) -> str:
    """A duration for people: `0 s`, `0.25 s`, `1.5 s`, `2 m`, `1 m 5 s`, `1 h 5 m`, `2 d 3 h`, `-1.5 s`."""
    if not math.isfinite(seconds):
        return "?"
    if math.copysign(1, seconds) < 0:
        text = label(-seconds)
        return text if text == "0 s" else f"-{text}"
    if round(seconds, 1) < 60:
        return f"{round(seconds, 3 if seconds < 0.1 else 2 if seconds < 1 else 1):g} s"
    for big, small, size, part in (("m", "s", 60, 1), ("h", "m", 3600, 60), ("d", "h", _DAY, 3600)):
        parts = round(seconds / part)
        if big == "d" or parts * part < {"m": 3600, "h": _DAY}[big]:
            rest = parts % (size // part)
            return f"{parts // (size // part)} {big}" + (f" {rest} {small}" if rest else "")
    raise AssertionError("days end the list")
