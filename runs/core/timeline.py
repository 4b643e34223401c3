"""The timeline's geometry as numbers: bars, idle stretches, durations in words. No HTML, and no clock.

Times in are epoch seconds; places out are seconds from the timeline's start. Odd times (an end before its start, a
missing start) are bent to something that can be drawn.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

IDLE_SHARE: Final = 0.05  # of the whole; a shorter pause is not worth a word
_DAY: Final = 86_400


class Span(msgspec.Struct, frozen=True):
    """One attempt as it is known; either time may be missing."""

    started_at: float | None
    finished_at: float | None
    status: str
    inferred: bool = False


class Bar(msgspec.Struct, frozen=True):
    """One attempt that comes out; `x1` is None while it runs, else not below `x0`."""

    x0: float
    x1: float | None
    status: str
    inferred: bool


class Stretch(msgspec.Struct, frozen=True):
    x0: float
    x1: float


def bars(spans: Iterable[Span], start: float) -> tuple[Bar, ...]:
    """A bar for each attempt of which a time is known, on a timeline that begins at `start`."""
    found = []
    for span in spans:
        ends = _ends(span)
        if ends:
            stop = None if ends[1] is None else ends[1] - start
            found.append(Bar(ends[0] - start, stop, span.status, span.inferred))
    return tuple(found)


def idle(times: Iterable[tuple[float | None, float | None, bool]], start: float) -> tuple[Stretch, ...]:
    """Where nothing ran for more than a twentieth of all that is known. `times`: a start, an end, and whether it runs.

    What follows the last of them is not idle: it may be going on.
    """
    known = []
    for begin, finish, running in times:
        if begin is not None and math.isfinite(begin):
            end = math.inf if running else finish if finish is not None and math.isfinite(finish) else begin
            known.append((begin, end))
    busy = _merged(known)
    if len(busy) < 2:
        return ()
    last = max(begin if end == math.inf else end for begin, end in busy)
    least = IDLE_SHARE * (last - busy[0][0])
    return tuple(Stretch(a[1] - start, b[0] - start) for a, b in pairwise(busy) if b[0] - a[1] > least)


def squeezed(x: float, hidden: Sequence[Stretch]) -> float:
    """The place of `x` on a timeline that leaves these stretches out."""
    return x - sum(min(x, one.x1) - one.x0 for one in hidden if x > one.x0)


def _number(time: float | None) -> float | None:
    return time if time is not None and math.isfinite(time) else None


def _ends(span: Span) -> tuple[float, float | None] | None:
    begin, finish = _number(span.started_at), _number(span.finished_at)
    if begin is None:
        return None if finish is None else (finish, finish)
    if finish is None and span.status != "running":
        finish = begin  # ended at a time nobody told: a point, not a bar that grows for ever
    return begin, None if finish is None else max(begin, finish)


def _merged(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Sorted, and one where two touch."""
    merged: list[tuple[float, float]] = []
    for begin, stop in sorted(stretches):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((begin, max(begin, stop)))
    return merged


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
