"""Cursors: where the next page begins, as text that means nothing to the caller."""

import base64
import binascii
import json
from collections.abc import Sequence

from api.problems import Problem, mistake


def cursor(kind: str, *place: int) -> str:
    """`kind` names the list, so that a cursor of one list is refused by another."""
    text = json.dumps([kind, *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place(kind: str, text: str | None, length: int = 1) -> tuple[int, ...] | None:
    """What `cursor` was given; None without a cursor. Raises a problem for any other text."""
    if not text:
        return None
    try:
        found_kind, *numbers = json.loads(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        found_kind, numbers = "", []
    if found_kind != kind or len(numbers) != length or not all(type(number) is int for number in numbers):
        message = "This is no cursor of this list. Use next_cursor of the page before, or none for the first page."
        raise Problem(400, "bad-cursor", message, [mistake("cursor", message)])
    return tuple(numbers)


def cut[T](rows: Sequence[T], limit: int) -> tuple[Sequence[T], bool]:
    """Of limit + 1 rows that were asked for: those of this page, and whether there are more."""
    return rows[:limit], len(rows) > limit
