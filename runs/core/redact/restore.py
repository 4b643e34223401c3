"""Puts secrets back into a stored definition that somebody edited while its secrets were shown masked."""

import re
from typing import Any

from runs.core.redact.markers import MARKER, has_marker


def restore(edited: Any, masked: Any, original: Any) -> Any:
    """`edited` with each marker that still stands where `masked` has it replaced by what `original` holds there.

    For a stored definition that somebody edited while its secrets were shown masked. Items of a list are matched by
    their `name` where names are unique, else by position. A marker at a new place raises LookupError, whose text
    begins with the place, like `tasks[0].params.config.api_key`.
    """
    return _restore(edited, masked, original, "")


def _restore(edited: Any, masked: Any, original: Any, place: str) -> Any:
    if isinstance(edited, str):
        return _restore_text(edited, masked, original, place)
    if isinstance(edited, dict):
        before = masked if isinstance(masked, dict) else {}
        same = isinstance(original, dict) and len(original) == len(before)
        names = dict(zip(before, original, strict=True)) if same else {}  # masking keeps the order of names
        made = {}
        for name, inner in edited.items():
            where = f"{place}.{name}" if place else name
            if has_marker(name) and name not in names:
                raise _lost(where)
            was = original[names[name]] if name in names else None
            made[names.get(name, name)] = _restore(inner, before.get(name), was, where)
        return made
    if isinstance(edited, list):
        listed = isinstance(masked, list) and isinstance(original, list) and len(masked) == len(original)
        pairs = list(zip(masked, original, strict=True)) if listed else []
        by_name = _by_name([pair[0] for pair in pairs])
        return [
            _restore(item, *_counterpart(item, number, pairs, by_name), f"{place}[{number}]")
            for number, item in enumerate(edited)
        ]
    return edited


def _restore_text(edited: str, masked: Any, original: Any, place: str) -> Any:
    if not has_marker(edited):
        return edited
    if edited == masked:
        return original  # a masked number comes back as a number
    if isinstance(masked, str) and isinstance(original, str):
        markers = MARKER.findall(masked)
        if 0 < len(markers) <= 8:  # the surroundings were edited: find what each marker stands for
            found = re.fullmatch("(.+?)".join(map(re.escape, MARKER.split(masked))), original, re.S)
            known = dict(zip(markers, found.groups(), strict=True)) if found else {}
            if all(marker in known for marker in MARKER.findall(edited)):
                return MARKER.sub(lambda m: known[m[0]], edited)
    raise _lost(place)


def _by_name(items: list[Any]) -> dict[str, int]:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if any(not isinstance(name, str) for name in names) or len(set(names)) != len(names):
        return {}
    return {str(name): number for number, name in enumerate(names)}


def _counterpart(item: Any, number: int, pairs: list[tuple[Any, Any]], by_name: dict[str, int]) -> tuple[Any, Any]:
    if by_name and isinstance(item, dict) and isinstance(item.get("name"), str):
        at = by_name.get(item["name"], number)  # a renamed task keeps its position
    else:
        at = number
    return pairs[at] if at < len(pairs) else (None, None)


def _lost(place: str) -> LookupError:
    return LookupError(
        f"{place or 'the value'}: holds a masked value that was not there before; enter the real value here"
    )
