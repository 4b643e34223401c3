"""What differs between two JSON values, place by place."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

ABSENT: Final = msgspec.UNSET


class Difference(msgspec.Struct, frozen=True):
    """`place` is a path like `tasks[fetch].params.url`; `before` or `after` is ABSENT where nothing stands there."""

    place: str
    before: Any
    after: Any


def differences(before: Any, after: Any, place: str = "") -> Iterator[Difference]:
    """Each place where the two are not equal, in the order of `before`, then what only `after` has.

    Elements of lists are compared by their names where all have one of their own, as tasks do; else by number. A thing
    that only one side has is one difference, whatever it holds.
    """
    old, new = parts(before), parts(after)
    if old is None or new is None or type(before) is not type(after):
        if before != after or type(before) is not type(after):
            yield Difference(place, before, after)
        return
    if isinstance(before, list) and not (_named(before) and _named(after)):
        old, new = dict(_numbered(before)), dict(_numbered(after))
    for key, one, other in side_by_side(old, new):
        here = f"{place}{key}" if isinstance(before, list) or not place else f"{place}.{key}"
        if one is ABSENT or other is ABSENT:
            yield Difference(here, one, other)
        else:
            yield from differences(one, other, here)


def side_by_side[Key](before: Mapping[Key, Any], after: Mapping[Key, Any]) -> Iterator[tuple[Key, Any, Any]]:
    """Each key with what stands under it on both sides, or ABSENT: in the order of `before`, then what only `after`
    has.
    """
    for key in [*before, *(key for key in after if key not in before)]:
        yield key, before.get(key, ABSENT), after.get(key, ABSENT)


def excerpts(before: str, after: str, most: int) -> tuple[str, str]:
    """Both texts, each cut to `most` letters so that the place where they part is in sight."""
    if max(len(before), len(after)) <= most:
        return before, after
    parting = next((n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
    start = max(0, (min(len(before), len(after)) if parting is None else parting) - most // 4)
    return _cut(before, start, most), _cut(after, start, most)


def _cut(text: str, start: int, most: int) -> str:
    return f"{'…' if start else ''}{text[start : start + most]}{'…' if start + most < len(text) else ''}"


def parts(value: Any) -> dict[str, Any] | None:
    """What stands in an object by key, or in a list by `[name]` or `[number]`; None of any other value."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {f"[{one['name']}]": one for one in value} if _named(value) else dict(_numbered(value))
    return None


def _named(items: list[Any]) -> bool:
    names = [one.get("name") for one in items if isinstance(one, dict)]
    return len(names) == len(items) == len({name for name in names if isinstance(name, str)})


def _numbered(items: list[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"[{number}]", item) for number, item in enumerate(items))
