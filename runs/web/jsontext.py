"""JSON as people type it and read it: strict on the way in, readable on the way out."""

import json
import math
import re
from bisect import bisect_left
from typing import Any

from runs.core.decode import MAX_DEPTH, MAX_INTEGER_DIGITS

_BROKEN_TEXT = re.compile("[\ud800-\udfff]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
MOST_PLACED = 1024 * 1024  # characters of a text whose places are looked up
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_LONGEST_EXCERPT = 60


class NotJSON(ValueError):
    """What a person typed is no JSON that can be kept. `line` and `column` count from 1; 0: the place is unknown."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column

    def __str__(self) -> str:
        return f"Line {self.line}, column {self.column}: {self.message}" if self.line else self.message


def read(text: str) -> Any:
    """The value of a JSON text. Raises NotJSON for anything that would not come out again as it was meant.

    Two equal keys in one object are refused here: the later would silently win, and the person who typed both would
    not know.
    """
    if not text.strip():
        raise NotJSON("There is nothing here. Enter JSON, {} for an empty object.")
    if _depth(text) > MAX_DEPTH:
        raise NotJSON(f"Nested deeper than {MAX_DEPTH} levels.")
    try:
        return json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1 : error.lineno]
        excerpt = line[0].strip()[:_LONGEST_EXCERPT] if line else ""
        found = f" Found: {excerpt}" if excerpt else ""
        raise NotJSON(f"{_plainer(error.msg)}{found}", error.lineno, error.colno) from None


def pretty(value: Any) -> str:
    """Indented, with letters as they are; escaped only where a text holds what no page can carry."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return json.dumps(value, indent=2) if _BROKEN_TEXT.search(text) else text


def is_plain(text: str) -> bool:
    """Whether the text can stand in a page and come back from it unchanged."""
    return not _BROKEN_TEXT.search(text) and "\x00" not in text and "\r" not in text


def _plainer(message: str) -> str:
    return {
        "Expecting value": "A value is missing or is not JSON (texts need double quotes).",
        "Expecting property name enclosed in double quotes": (
            "A name in double quotes is expected; is there a comma too many?"
        ),
        "Expecting ',' delimiter": "A comma or a closing bracket is missing.",
        "Expecting ':' delimiter": "A colon is missing after the name.",
        "Extra data": "The JSON ends before this; remove what follows.",
        "Illegal trailing comma before end of object": "There is a comma too many before the closing bracket.",
        "Illegal trailing comma before end of array": "There is a comma too many before the closing bracket.",
        "Invalid control character at": "A text runs over the end of its line; write \\n for a line break.",
        "Unterminated string starting at": "A text that starts here is never closed.",
    }.get(message, f"{message}.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise NotJSON(f"The name {name!r} stands twice in one object; only one of them could be kept.")
        found[name] = value
    return found


def _constant(word: str) -> float:
    raise NotJSON(f"{word} is no JSON number.")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise NotJSON(f"{digits[:40]} is too large a number.")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise NotJSON(f"An integer of {len(digits)} digits is too long.")
    return int(digits)


def _depth(text: str) -> int:
    """How deep the brackets nest; counted before parsing, which would recurse."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    deepest = depth = 0
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


class Lines:
    """Where in a JSON text each of its places begins. The text must be JSON that `read` takes.

    Of one longer than MOST_PLACED nothing is known: the places take a hundred times its size.
    """

    def __init__(self, text: str) -> None:
        self._starts: dict[tuple[int | str | None, ...], int] = {}
        if len(text) > MOST_PLACED:
            return
        self._breaks = [found.start() for found in re.finditer("\n", text)]
        path: list[int | str | None] = []
        inside: list[str] = []
        for token in _TOKEN.finditer(text):
            word = token[0]
            if word == ",":
                last = path[-1]
                path[-1] = last + 1 if isinstance(last, int) else None
                continue
            if word == ":":
                continue
            if word in "]}":
                path.pop()
                inside.pop()
                continue
            if inside and inside[-1] == "{" and path[-1] is None:
                path[-1] = str(json.loads(word))
            self._starts.setdefault(tuple(path), token.start())
            if word in "[{":
                inside.append(word)
                path.append(0 if word == "[" else None)

    def of(self, place: str) -> int:
        """The line, from 1, of a place like `tasks[2].params.message`; of one that is not there, of the nearest thing
        around it. 0 for no place."""
        wanted = [int(index) if index else name for index, name in _STEP.findall(place.partition(":")[0])]
        for length in range(len(wanted), 0, -1):
            if (start := self._starts.get(tuple(wanted[:length]))) is not None:
                return bisect_left(self._breaks, start) + 1
        return 0
