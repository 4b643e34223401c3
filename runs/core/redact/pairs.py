"""Secrets in texts that are known by the name before them: `name=value`, headers, elements, whole or broken JSON."""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from runs.core.redact.markers import MARKER, MAX_PLACES, NUMBER, SCHEME, Marks
from runs.core.redact.names import LETTERS, PLAIN, SECRET_UNLESS_NUMBER, STEMS, Names, normal, speaks_about

_TAIL: Final = (
    r"(?:[\w.\-]|%5f|%2[de]){0,40}+(?: (?:key|token|string|url|phrase|code)\b)?)"
    r"(?: \[duplicate \d{1,9}\])?(?:[\"'`\\]|%22|&quot;|&#(?:34|39|x27);){0,8}+[ \t]{0,8}+"
    r"(?:=>|:=|==?|:|%3[ad])(?:\s{0,32}+(?=\\{0,7}[\"'{\[])|[ \t]{0,8}+)"
)
# `"name": "Authorization", "value": "…"` in JSON that cannot be parsed.
_LABELLED: Final = re.compile(
    r"\"(?:name|key|header)\\{0,7}\"\s{0,8}+:\s{0,8}+\\{0,7}\"([\w.\- ]{1,64}+)\\{0,7}\"\s{0,8}+,\s{0,8}+"
    r"\\{0,7}\"value\\{0,7}\"\s{0,8}+:\s{0,8}+",
    re.I,
)
# `name="password" value="…"` of a form, and what follows `name="password"` in a body of several parts.
_FIELD: Final = re.compile(r"\bname=[\"']([\w.\- ]{1,64}+)[\"']", re.I)
_FIELD_VALUE: Final = re.compile(r"[^<>\r\n]{0,60}?\bvalue=(?=[\"'])|\r?\n\r?\n", re.I)
_ELEMENT: Final = re.compile(r"<([\w.:-]{1,64}+)>([^<>]++)(?=</)")
_OPENING: Final = re.compile(r"(?:[bBrRuU]{1,2}(?=[\"']))?+(\\{0,15}+)([\"'`]|&(?:quot|#34|#39|#x27);)")
_RUN: Final = re.compile(r"(?:[^\s&\"'<>\\]|\\(?![nrtu\"'\\]))++")
_LINE: Final = re.compile(r"[^\r\n\"'<>\\]++")
_BRACKETS: Final = re.compile(r"\"(?:[^\"\\]|\\.)*+\"?+|[\[\]{}]", re.S)
_NOTHING: Final = frozenset({"true", "false", "null", "none", "undefined", ""})


class Pairs:
    """Finds them by the rules of `names`; what it finds becomes a marker of `marks`."""

    def __init__(self, names: Names, marks: Marks) -> None:
        self._names, self._marks = names, marks
        loose = ["[_. -]?".join(map(re.escape, name)) for name in sorted(names.extra)]
        stems = "|".join(STEMS + loose)
        self._pair = re.compile(f"((?:{stems}){_TAIL}")
        self.has_stem: Callable[[str], re.Match[str] | None] = re.compile(stems).search

    def mask(self, text: str) -> str:
        """The text with each of these secrets masked; one marker for all of it when there are too many."""
        text = self._pairs(text)
        if "alue" in text:
            text = self._labelled(_LABELLED, text)
        if "name=" in text:
            text = self._labelled(_FIELD, text, _FIELD_VALUE)
        return self._marks.every(_ELEMENT, self._element, text) if "</" in text else text

    def _pairs(self, text: str) -> str:
        low = text.replace("\u0130", "I").lower()  # the one letter whose lower case is longer
        out: list[str] = []
        done = position = looked = 0
        while pair := self._pair.search(low, position):
            looked += 1
            if looked > MAX_PLACES:
                return self._marks.mark("many", text)
            position = pair.end()
            name, rule = self._name_before(text, pair.start(1), pair.end(1))
            if rule < SECRET_UNLESS_NUMBER:
                continue
            place = _secret_at(text, position, normal(name).endswith(("cookie", "cookies")))
            if place is None:
                continue
            start, stop, resume = place
            secret = text[start:stop]
            position = resume
            if rule == SECRET_UNLESS_NUMBER and NUMBER.fullmatch(secret):
                continue
            out += [text[done:start], self._marks.secret(secret)]
            done = stop
        return "".join([*out, text[done:]]) if out else text

    def _name_before(self, text: str, start: int, stop: int) -> tuple[str, int]:
        """The whole name that ends at `stop`, with one word more (`api key`) where that makes it a secret's name."""
        back = text[max(0, start - 48) : start]
        rest = back.rstrip(LETTERS)
        name = back[len(rest) :] + text[start:stop]
        if "%" in name:
            name = unquote(name)
            name = name[len(name.rstrip(LETTERS)) :]
        rule = self._names.rule_of(name)
        if rule == PLAIN and rest.endswith(" ") and not speaks_about(name):
            word = rest[:-1][len(rest[:-1].rstrip(LETTERS)) :]
            if word:
                name = f"{word} {name}"
                rule = self._names.rule_of(name)
        return name, rule

    def _labelled(self, pattern: re.Pattern[str], text: str, between: re.Pattern[str] | None = None) -> str:
        """The value that follows a label which gives its name, with `between` in between."""
        out: list[str] = []
        done = position = looked = 0
        while label := pattern.search(text, position):
            looked += 1
            if looked > MAX_PLACES:
                return self._marks.mark("many", text)
            position = label.end()
            if self._names.rule_of(label[1]) < SECRET_UNLESS_NUMBER:
                continue
            if between is not None:
                gap = between.match(text, position)
                if gap is None:
                    continue
                position = gap.end()
            place = _secret_at(text, position, text[position - 1] == "\n")
            if place is not None:
                out += [text[done : place[0]], self._marks.secret(text[place[0] : place[1]])]
                done = place[1]
                position = place[2]
        return "".join([*out, text[done:]]) if out else text

    def _element(self, match: re.Match[str]) -> str:
        name, inside = match[1].rpartition(":")[2], match[2]
        secret = inside.strip()
        if self._names.rule_of(name) < SECRET_UNLESS_NUMBER or secret.lower() in _NOTHING:
            return match[0]
        return f"<{match[1]}>{self._marks.secret(secret)}"


def _secret_at(text: str, start: int, whole_line: bool) -> tuple[int, int, int] | None:
    """Where the value at `start` lies: first and last position of the secret, and where to go on reading.

    None when there is nothing to mask: no value, a marker already, true, false, null.
    """
    if start >= len(text) or text.startswith("//", start) or MARKER.match(text, start):
        return None
    opening = _OPENING.match(text, start)
    if opening:
        start = opening.end()
        stop = resume = _closing(text, start, len(opening[1]), opening[2])
    elif text[start] in "{[":
        stop = resume = _balanced(text, start)
    else:
        scheme = SCHEME.match(text, start)
        if scheme and MARKER.match(text, scheme.end()):
            return None
        run = (_LINE if whole_line else _RUN).match(text, scheme.end() if scheme else start)
        if not run:
            return None
        kept = run[0].rstrip(",;)}].")
        stop = run.start() + len(kept)
        resume = run.end()
        if "[masked:" in kept and whole_line:
            return None
    secret = text[start:stop]
    if secret.lower() in _NOTHING or MARKER.fullmatch(secret):
        return None
    return start, stop, resume


def _closing(text: str, start: int, escapes: int, mark: str) -> int:
    """The end of a quoted text whose opening quote has `escapes` backslashes before it (JSON in JSON doubles them)."""
    at = text.find(mark, start)
    while at >= 0:
        run = at
        while run > start and text[run - 1] == "\\":
            run -= 1
        if (at - run) % (2 * (escapes + 1)) == escapes:
            return at - escapes
        at = text.find(mark, at + 1)
    return len(text)


def _balanced(text: str, start: int) -> int:
    depth = 0
    for token in _BRACKETS.finditer(text, start):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
            if depth == 0:
                return token.end()
    return len(text)
