"""What stands in the place of a secret: `[masked:KIND#FFFFFF]`, its kind and a keyed fingerprint of it."""

import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

MARKER: Final = re.compile(r"\[masked:[a-z][a-z-]{0,15}#[0-9a-f]{6}\]")
FAILED: Final = "[masked:json-error#000000]"  # in the place of what could not be masked
MANY: Final = "[masked:many#000000]"  # in the place of what nobody looked at, since there was too much of it
MAX_PLACES: Final = 5_000  # places looked at by one rule in one text; a fuller text is masked whole
SCHEME: Final = re.compile(r"(?:bearer|basic|token|digest|apikey|negotiate)[ \t]{1,4}+", re.I)
NUMBER: Final = re.compile(r"[+-]?\d{1,12}(?:\.\d{1,12})?")

_KEPT: Final = re.compile(f"({MARKER.pattern})")


def is_marker(text: object) -> bool:
    """Whether the value is one marker of ours and nothing else."""
    return type(text) is str and MARKER.fullmatch(text) is not None


def has_marker(text: str) -> bool:
    """Whether a marker of ours stands anywhere in the text."""
    return "[masked:" in text and MARKER.search(text) is not None


class Marks:
    """Makes the markers of one key (at most 64 bytes of it are used)."""

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]

    def mark(self, kind: str, secret: str) -> str:
        digest = blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=3, key=self._key)
        return f"[masked:{kind}#{digest.hexdigest()}]"

    def secret(self, value: str | float) -> str:
        """The marker for what stands under a secret's name; a bearer token has the fingerprint of the bare token."""
        if type(value) is not str:
            return self.mark("name", repr(value))
        if value == "" or MARKER.fullmatch(value):
            return value
        scheme = SCHEME.match(value)
        if scheme is None:
            return self.mark("name", value)
        if MARKER.fullmatch(value, scheme.end()):
            return value
        word = value[:6].rstrip().lower()
        return self.mark(word if word in {"bearer", "basic"} else "name", value[scheme.end() :])

    def unless_number(self, value: str | float) -> str | float:
        return value if type(value) is not str or NUMBER.fullmatch(value) else self.secret(value)

    def every(self, pattern: re.Pattern[str], mask: Callable[[re.Match[str]], str], text: str) -> str:
        """`mask` for each match; one marker for the whole text when there are too many."""
        masked, places = pattern.subn(mask, text, count=MAX_PLACES)
        return masked if places < MAX_PLACES else self.mark("many", text)

    def outside(self, pattern: re.Pattern[str], kind: str, text: str) -> str:
        """`pattern` masked, but never inside a marker."""
        return outside_markers(
            lambda piece: self.every(pattern, lambda m: self.mark(kind, m[0]) if m[0] else "", piece), text
        )


def outside_markers(change: Callable[[str], str], text: str) -> str:
    """The text with `change` applied to what stands between its markers."""
    pieces = _KEPT.split(text)
    pieces[::2] = [change(piece) for piece in pieces[::2]]
    return "".join(pieces)
