"""Values that are known to be secrets, the configured upstream keys: found plain, in base64 and in URL form."""

import base64
import html
import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

from runs.core.redact.markers import Marks

SHORTEST: Final = 6  # a shorter value is masked only where it is the whole string

_BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/_=-]*+")
_BASE64: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/_-="
_ESCAPE: Final = re.compile(r"%[0-9A-F]{2}")


class Known:
    """The values to find. `shortest` is the length of the shortest form, 0 when there is none."""

    def __init__(self, values: Iterable[str]) -> None:
        wanted = {value for value in values if value}
        self.short = frozenset(value for value in wanted if len(value) < SHORTEST)
        self._forms = sorted(
            {(form, value, spread) for value in wanted if len(value) >= SHORTEST for form, spread in _forms(value)},
            key=lambda known_form: -len(known_form[0]),
        )
        self.shortest = min((len(form) for form, _, _ in self._forms), default=0)

    def __bool__(self) -> bool:
        return bool(self._forms or self.short)

    def may_hold(self, text: str) -> bool:
        if text in self.short:
            return True
        return bool(self._forms) and len(text) >= self.shortest and any(form[0] in text for form in self._forms)

    def mask(self, text: str, marks: Marks) -> str:
        for form, value, spread in self._forms:
            if form in text:
                text = _replace(text, form, marks.mark("known", value), spread)
        return text


def _replace(text: str, form: str, mark: str, spread: bool) -> str:
    """One form of a value masked; in base64 the whole run, whose ends would give away a letter or two."""
    out, done = [], 0
    at = text.find(form)
    while at >= 0:
        stop = at + len(form)
        if spread:
            before = text[done:at]
            at = done + len(before.rstrip(_BASE64))
            run = _BASE64_RUN.match(text, stop)
            stop = run.end() if run else stop
        out += [text[done:at], mark]
        done = stop
        at = text.find(form, done)
    return "".join([*out, text[done:]])


def _forms(value: str) -> Iterable[tuple[str, bool]]:
    """The shapes in which a known value may stand, and whether the whole base64 run around it goes too."""
    yield value, False
    once = {quote(value, safe=""), quote_plus(value), quote(value)}
    twice = {quote(form, safe="") for form in once}
    escaped = json.dumps(value)[1:-1]
    for form in (*once, *twice, escaped, escaped.replace("/", "\\/"), html.escape(value)):
        yield form, False
        if "%" in form:
            yield _ESCAPE.sub(lambda m: m[0].lower(), form), False
    raw = value.encode("utf-8", "surrogatepass")
    for offset in range(3):  # the letters that depend on this value alone, wherever it begins in a group of three
        encoded = base64.b64encode(bytes(offset) + raw).decode().rstrip("=")
        first = (offset * 8 + 5) // 6
        last = (offset + len(raw)) * 8 // 6
        stable = encoded[first:last]
        if len(stable) >= SHORTEST:
            yield stable, True
            yield stable.replace("+", "-").replace("/", "_"), True
            yield quote(stable, safe=""), True
