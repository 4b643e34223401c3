"""Places at which two JSON values differ, shortened for a page."""

from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from runs.core.difference import ABSENT, Difference, excerpts
from runs.core.redact import is_marker
from runs.fields import dumps


class Changed(NamedTuple):
    """`before`, `after`: JSON, shortened; "" where nothing stands there."""

    place: str
    before: str
    after: str

    @property
    def secret(self) -> bool:
        """Whether a secret was replaced by another: their marks are not the same."""
        return all(is_marker(text[1:-1]) for text in (self.before, self.after))


class Changes(NamedTuple):
    """`more`: places that are not shown; `counted`: whether these are all, or counting was given up."""

    shown: tuple[Changed, ...]
    more: int
    counted: bool = True


def changes(found: Iterable[Difference], most: int, *, letters: int, counted: int) -> Changes:
    """The first `most` of them, each value in at most `letters`; the others are counted up to `counted`."""
    places = iter(found)
    shown = tuple(_changed(one, letters) for one in islice(places, most))
    more = sum(1 for _ in islice(places, counted - most + 1))
    return Changes(shown, min(more, counted - most), more <= counted - most)


def _changed(one: Difference, letters: int) -> Changed:
    return Changed(one.place, *excerpts(_text(one.before), _text(one.after), letters))


def _text(value: Any) -> str:
    return "" if value is ABSENT else dumps(value)
