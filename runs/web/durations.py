"""Durations as people type them, and back: `90`, `15 m`, `1 h 30 m`."""

import re

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_NAMES = {
    "": "s",
    **{unit: unit for unit in _UNITS},
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
}
_PART = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([a-z]*)\s*")


def read(text: str) -> float:
    """Seconds. A number without a unit, where it stands alone, is seconds. Raises ValueError for anything else."""
    place, parts = 0, []
    while found := _PART.match(text.lower(), place):
        parts.append((float(found[1]), found[2]))
        place = found.end()
    units = [unit for _, unit in parts]
    if place < len(text) or not parts or not set(units) <= _NAMES.keys() or ("" in units and len(units) > 1):
        raise ValueError(text)
    return sum(number * _UNITS[_NAMES[unit]] for number, unit in parts)


def write(seconds: float) -> str:
    """A text that `read` gives the same seconds for, to the microsecond."""
    if seconds != int(seconds):
        return f"{seconds:.6f}".rstrip("0").rstrip(".") + " s"
    parts, rest = [], int(seconds)
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"
