"""Cuts a payload to the size that may be stored, with marks where something is missing. Makes new values only.

What people and later settling need longest goes last: the names at the top, and the names inside `output`.
"""

import json
from typing import Any, Final

import msgspec

LIMIT: Final = 256 * 1024  # bytes of compact JSON in UTF-8
MARK: Final = "[cut]"
MAX_KEYS: Final = 50  # names told in the mark of an object
MAX_KEY: Final = 64  # characters of such a name
_STRINGS: Final = (65_536, 16_384, 4_096, 1_024, 512)  # longest string kept, tried one after the other
_FIRST: Final = ("event_type", "flow_name", "run_name", "task_id", "task_name", "timestamp", "output", "error")


def fit(payload: dict[str, Any], limit: int = LIMIT) -> tuple[dict[str, Any], bool]:
    """The payload, or a copy of at most `limit` bytes, and whether it was cut.

    Long strings go first: their beginning stays, then `…[cut: 123456 characters]` tells how many are missing. Then
    whole values: `{"[cut]": {"bytes": n, "keys": [the first 50]}}` (`"items": n` for a list). Names at the top and in
    `output` stay unless they alone are too much. Below some 100 bytes of `limit`, little more than a mark is left.
    """
    if _surely_fits(payload, limit) or _size(payload) <= limit:
        return payload, False
    cut: dict[str, Any] = payload
    found = _longest(payload)
    for longest in _STRINGS:
        if longest < found and longest * 4 <= limit:
            cut = _shorten(payload, longest)
            if _size(cut) <= limit:
                return cut, True
    kept = _object(cut, limit, top=True)
    if _size(kept) <= limit:
        return kept, True
    mark = {MARK: {"bytes": _size(payload)}}
    return (mark if _size(mark) <= limit else {}), True


def _size(value: Any) -> int:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "surrogatepass"))


def _surely_fits(payload: dict[str, Any], limit: int) -> bool:
    """Four times faster than `_size`, but it writes some numbers shorter (1e16, null for Infinity)."""
    try:
        return len(msgspec.json.encode(payload)) <= limit // 2
    except (TypeError, ValueError, OverflowError):  # lone surrogates, integers over 64 bits
        return False


def _longest(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(map(_longest, inner), default=0)


def _shorten(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return _string(value, longest) if len(value) > longest else value
    if isinstance(value, dict):
        return {name: _shorten(inner, longest) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shorten(inner, longest) for inner in value]
    return value


def _string(text: str, kept: int) -> str:
    return f"{text[:kept]}…[cut: {len(text) - kept} characters]"


def _mark(value: Any, budget: int) -> Any:
    """What stands in place of a value: with its names where they fit, without them where not."""
    told: dict[str, Any] = {"bytes": _size(value)}
    if isinstance(value, list):
        told["items"] = len(value)
    if isinstance(value, dict):
        for count in (MAX_KEYS, 5):
            keys = [name[:MAX_KEY] for name in list(value)[:count]]
            mark = {MARK: {**told, "keys": keys}}
            if _size(mark) <= budget:
                return mark
    return {MARK: told}


def _reduce(value: Any, budget: int) -> Any:
    """The value in about `budget` bytes; a mark may need some 40 bytes even where the budget is smaller."""
    size = _size(value)
    if size <= budget:
        return value
    if isinstance(value, str):
        kept = max(0, (budget - 40) // -(-size // len(value)))  # by the widest its characters are on average
        short = _string(value, kept)
        return short if kept >= 16 and _size(short) <= budget else _mark(value, budget)
    if isinstance(value, dict) and value and 48 * len(value) < budget:
        reduced = _object(value, budget, top=False)
        return reduced if _size(reduced) <= budget else _mark(value, budget)
    return _mark(value, budget)


def _object(value: dict[str, Any], budget: int, *, top: bool) -> dict[str, Any]:
    """Shares the budget among the values: small ones whole, what they leave over to the larger ones."""
    left = budget - _size(dict.fromkeys(value, 0)) + len(value)
    if left < 0 or (top and left < 4 * len(value)):
        return _names(value, budget)
    sizes = sorted((_size(inner), name) for name, inner in value.items())
    reduced: dict[str, Any] = {}
    for done, (size, name) in enumerate(sizes):
        share = left // (len(sizes) - done)
        inner = value[name]
        if size <= share:
            reduced[name] = inner
        elif top and name == "output" and isinstance(inner, dict):
            reduced[name] = _object(inner, share, top=True)  # every task's name stays
        else:
            reduced[name] = _reduce(inner, share)
        left -= min(_size(reduced[name]), left)
    whole = {name: reduced[name] for name in value}
    if top and _size(whole) > budget:  # too many values even for marks
        bare = {name: inner if _size(inner) <= 8 else None for name, inner in whole.items()}
        return bare if _size(bare) <= budget else _names(value, budget)
    return whole


def _names(value: dict[str, Any], budget: int) -> dict[str, Any]:
    """As many names as fit, those first that say which event this is; too long values are null."""
    mark = {MARK: {"bytes": _size(value), "names": len(value)}}
    left = budget - _size(mark)
    kept: dict[str, Any] = {}
    for name in [*(one for one in _FIRST if one in value), *(one for one in value if one not in _FIRST)]:
        inner = value[name]
        if not (isinstance(inner, str | int | float | bool) and _size(inner) <= 512):
            inner = None
        needed = _size({name: inner})
        if needed <= left:
            kept[name] = inner
            left -= needed
    return {**kept, **mark}
