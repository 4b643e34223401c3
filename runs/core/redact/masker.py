"""The walk over a payload: each name and each text of it is shown to the rules, and a new payload comes out."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import quote, unquote

from runs.core.redact.known import SHORTEST, Known
from runs.core.redact.markers import FAILED, MANY, MARKER, Marks, outside_markers
from runs.core.redact.names import ID, LETTERS, PLAIN, SECRET, SECRET_UNLESS_NUMBER, Names
from runs.core.redact.pairs import Pairs
from runs.core.redact.values import EMAIL, OPAQUE, mask_pem, mask_values, may_hold

MAX_DEPTH: Final = 64  # containers inside each other; JSON inside a string counts on
CUT_MARGIN: Final = 2048  # characters before a cut in which a secret may stand that is cut, too
LONGEST_NAME: Final = 128  # a longer label is no name
MAX_LOOKED: Final = 5_000  # texts of one payload that are looked at closely; the rest of a fuller one is masked whole
MAX_DUPLICATES: Final = 1_000  # of one key; JSON in a string that has more is masked as plain text
MAX_CONTAINERS: Final = 50_000  # in JSON inside a string; one that has more, and may hold a secret, is masked whole
MAX_KEYS: Final = 8192  # keys that are remembered as harmless
MAX_HARMLESS: Final = 8192  # texts, likewise

_LABELS: Final = ("name", "key", "header", "field", "variable", "parameter", "Name", "Key")
_HELD: Final = frozenset({"value", "values", "val", "default", "Value"})
_INPUT_NAME: Final = re.compile(r"[A-Za-z]{1,30}(?:[_.-][A-Za-z]{1,30}){0,5}")
_LONE: Final = re.compile("[\ud800-\udfff]")
_ENCODED_RUN: Final = re.compile(r"[^\s&?#=\"'<>]++")
_ENCODED_DEPTH: Final = 16  # so that what is encoded again and again is opened three times


class Masker:
    """Masks by name and by value; built once for a process, and safe to use from several threads.

    `key` is the secret of the fingerprints. `extra_names` are compared like the built-in ones, whole;
    `extra_patterns` are regular expressions whose every match is masked (their speed is their author's affair; a
    wrong one raises ValueError naming it). `known_values` are masked wherever they stand, also in base64 and URL form.

    Under a secret name every string and number is masked, at any depth below it; booleans, nulls and "" are kept,
    and so are the references of a workflow, `{"depends": "task"}` and `{"input": "lyzr_key"}` (letters only).
    Decided in favour of the reader: `session` is masked, but `session_id` and `user_id` stay visible, since people
    search by them; a session id is masked when its value looks like a secret (a known pattern, or 40 and more opaque
    letters and digits, which no UUID is). Names that speak about a secret (`token_count`, `auth_url`,
    `password_policy`) and numeric `*_tokens` stay.
    """

    def __init__(
        self,
        key: bytes,
        *,
        extra_names: Iterable[str] = (),
        extra_patterns: Iterable[str] = (),
        known_values: Iterable[str] = (),
        mask_email: bool = False,
    ) -> None:
        self._marks = Marks(key)
        self._names = Names(extra_names)
        self._pairs = Pairs(self._names, self._marks)
        self._known = Known(known_values)
        self._mask_email = mask_email
        self._patterns = list(map(_compiled, extra_patterns))
        self._choosy = bool(self._patterns or self._known or mask_email)
        self._left = 0  # of MAX_LOOKED; threads that share a masker may get less or more, and no secret through
        self._harmless: set[str] = set()  # short texts that no rule has to look at: most come again and again
        self._keys: dict[str, int] = {}  # keys of objects that are no secret themselves -> the rule for what they hold

    # --- what others call

    def value(self, value: Any) -> Any:
        """A masked copy of any JSON value. Where masking fails: `{"masked": "[masked:json-error#000000]"}`."""
        self._left = MAX_LOOKED
        try:
            return self._walk(value, 0)
        except Exception:
            return {"masked": FAILED}

    def text(self, text: str) -> str:
        """A masked copy of free text, which may be broken JSON. Where masking fails: one marker."""
        self._left = MAX_LOOKED
        try:
            return self._string(text, 0)
        except Exception:
            return FAILED

    def preview(self, text: str, most: int) -> str:
        """The beginning of a text of any length, masked: at most `most` bytes of UTF-8.

        The text is cut before it is masked; half a secret at the cut would not be known, so what stands before the
        cut is dropped. Where masking leaves nothing beyond that, one marker stands for the whole.
        """
        self._left = MAX_LOOKED
        try:
            long = len(text) > 2 * most + CUT_MARGIN
            masked = self._string(text[: 2 * most + CUT_MARGIN] if long else text, 0)
            if long:
                masked = masked[:-CUT_MARGIN] or MANY
        except Exception:
            masked = FAILED
        return masked.encode("utf-8", "backslashreplace")[:most].decode("utf-8", "ignore")

    # --- the walk over JSON

    def _walk(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self._string(value, depth)
        if kind is dict:
            if depth >= MAX_DEPTH:
                return self._marks.mark("deep", "")
            return self._object(value, depth + 1)
        if kind is list or kind is tuple:
            if depth >= MAX_DEPTH:
                return self._marks.mark("deep", "")
            if len(value) == 2 and type(value[0]) is type(value[1]) is str and self._header_pair(*value):
                return [value[0], self._under(value[1], self._marks.secret, depth)]
            return [self._walk(item, depth + 1) for item in value]
        if value is None or kind is bool or kind is int or kind is float:
            return value
        raise TypeError(f"{kind.__name__} is no JSON value")

    def _object(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        keys = self._keys
        labelled = PLAIN if _HELD.isdisjoint(value) else self._labelled(value)
        masked: dict[str, Any] = {}
        again: dict[str, int] = {}
        for name, inner in value.items():
            rule = keys.get(name)
            key = name
            if rule is None:
                rule = self._names.rule_of(name)
                key = self._string(name, MAX_DEPTH)
                if key == name:
                    self._remember(name, rule)
                else:
                    rule = max(rule, self._names.rule_of(key))
                    key = _unused(key, masked, again)
            if labelled and rule == PLAIN and name in _HELD:
                rule = labelled
            if rule == PLAIN:
                kind = type(inner)
                if kind is str:
                    masked[key] = self._string(inner, depth)
                elif kind is dict or kind is list:
                    masked[key] = self._walk(inner, depth)
                elif inner is None or kind is bool or kind is int or kind is float:
                    masked[key] = inner
                else:
                    masked[key] = self._walk(inner, depth)
            elif rule == ID:
                masked[key] = self._identifier(inner, depth)
            elif rule == SECRET_UNLESS_NUMBER:
                masked[key] = self._under(inner, self._marks.unless_number, depth)
            else:
                masked[key] = self._under(inner, self._marks.secret, depth)
        return masked

    def _remember(self, key: str, rule: int) -> None:
        if len(key) <= LONGEST_NAME:
            if len(self._keys) >= MAX_KEYS:
                self._keys.clear()
            self._keys[key] = rule

    def _under(self, value: Any, mark: Callable[[Any], Any], depth: int) -> Any:
        """Everything below a secret name: `mark` for each string and number."""
        kind = type(value)
        if kind is str or kind is int or kind is float:
            return mark(value)
        if value is None or kind is bool:
            return value
        if depth >= MAX_DEPTH:
            return self._marks.mark("deep", "")
        if kind is dict:
            alone = len(value) == 1
            below: dict[str, Any] = {}
            again: dict[str, int] = {}
            for name, inner in value.items():
                key = _unused(self._string(name, MAX_DEPTH), below, again)
                if self._is_reference(name, inner, alone):
                    below[key] = inner
                    continue
                strict = mark == self._marks.secret or self._names.rule_of(name) == SECRET
                below[key] = self._under(inner, self._marks.secret if strict else mark, depth + 1)
            return below
        if kind is list or kind is tuple:
            return [self._under(item, mark, depth + 1) for item in value]
        raise TypeError(f"{kind.__name__} is no JSON value")

    def _is_reference(self, name: str, value: Any, alone: bool) -> bool:
        """`{"depends": "task"}` and `{"input": "name_of_an_input"}` say where a secret comes from.

        The stored, masked definition must still give the plan, so `depends` stays also beside other names.
        """
        if type(value) is not str:
            return False
        if name == "depends":
            return len(value) <= 300 and self._string(value, MAX_DEPTH) == value
        return alone and name == "input" and _INPUT_NAME.fullmatch(value) is not None

    def _identifier(self, value: Any, depth: int) -> Any:
        if type(value) is str and OPAQUE.fullmatch(value):
            return self._marks.mark("name", value)
        return self._walk(value, depth)

    def _labelled(self, value: dict[str, Any]) -> int:
        """The rule for the value in `{"name": "Authorization", "value": …}`."""
        for label in _LABELS:
            name = value.get(label)
            if type(name) is str and len(name) <= LONGEST_NAME and not name.strip(LETTERS + " "):
                rule = self._names.rule_of(name)
                if rule >= SECRET_UNLESS_NUMBER:
                    return rule
        return PLAIN

    def _header_pair(self, name: str, value: str) -> bool:
        """Whether two strings are a header, `["Authorization", "Bearer …"]`, and not two words of a list."""
        if name.strip(LETTERS + " ") or self._names.rule_of(name) != SECRET:
            return False
        return len(value) >= 16 or not value.replace("_", "").replace("-", "").isalpha()

    # --- strings

    def _string(self, text: str, depth: int) -> str:
        size = len(text)
        if size < SHORTEST - 1:
            return self._marks.mark("known", text) if text in self._known.short else text
        if self._left <= 0:
            return MANY
        if text in self._harmless:
            return text
        paired = ":" in text or "=" in text or "%3" in text or "</" in text
        hinted = may_hold(text) is not None or (self._choosy and self._suspects(text))
        if paired and not hinted:
            low = text.lower()
            hinted = (
                self._pairs.has_stem(low) is not None
                or "%2f%2f" in low
                or "\\u" in text
                or ("://" in text and ("@" in text or "?" in text))
            )
        if not hinted:
            if size <= LONGEST_NAME:
                if len(self._harmless) >= MAX_HARMLESS:
                    self._harmless.clear()
                self._harmless.add(text)
            return text
        if "[masked:" in text and MARKER.fullmatch(text):
            return text
        self._left -= 1
        if depth < MAX_DEPTH and text[:64].lstrip()[:1] in ("{", "["):
            if text.count("{") + text.count("[") > MAX_CONTAINERS:
                return MANY
            inside = self._json(text, depth)
            if inside is not None:
                return inside
        for _ in range(4):  # what one rule leaves may show another rule something: go on until nothing changes
            masked = self._once(text, depth)
            if masked == text:
                break
            text = masked
        return text

    def _suspects(self, text: str) -> bool:
        """Whether what this masker alone looks for may be there."""
        return bool(self._patterns) or self._known.may_hold(text) or (self._mask_email and "@" in text)

    def _json(self, text: str, depth: int) -> str | None:
        """The text with its JSON masked inside, unchanged where nothing was; None when it is no JSON container."""
        try:
            parsed = json.loads(text, object_pairs_hook=_keep_duplicates)
        except (ValueError, RecursionError):
            return None
        masked = self._walk(parsed, depth + 1)
        if masked == parsed:
            return text
        wide = '": ' in text
        separators = (", ", ": ") if wide else (",", ":")
        written = json.dumps(masked, ensure_ascii=text.isascii(), separators=separators)
        if _LONE.search(written):  # an escape in the text must not become what no database and no page can carry
            written = json.dumps(masked, separators=separators)
        return written

    def _once(self, text: str, depth: int) -> str:
        if text in self._known.short:
            return self._marks.mark("known", text)
        text = self._known.mask(text, self._marks)
        if "-----BEGIN" in text:
            text = mask_pem(text, self._marks)
        if ("%2" in text or "%3" in text) and depth + _ENCODED_DEPTH < MAX_DEPTH:
            text = self._encoded(text, depth + _ENCODED_DEPTH)
        if ":" in text or "=" in text or "%3" in text or "</" in text:
            text = self._pairs.mask(text)
        text = mask_values(text, self._marks)
        if self._mask_email and "@" in text:
            text = self._marks.outside(EMAIL, "email", text)
        for pattern in self._patterns:
            text = self._marks.outside(pattern, "pattern", text)
        return text

    def _encoded(self, text: str, depth: int) -> str:
        """Percent-encoded runs, as in URLs, masked inside."""

        def mask(run: re.Match[str]) -> str:
            if "%" not in run[0]:
                return run[0]
            plain = unquote(run[0])
            masked = self._string(plain, depth)
            return run[0] if masked == plain else quote(masked, safe="[]:#/@", errors="replace")

        return outside_markers(lambda piece: _ENCODED_RUN.sub(mask, piece), text)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"masking pattern {pattern!r} is no regular expression: {error}") from None


def _unused(key: str, taken: dict[str, Any], again: dict[str, int]) -> str:
    """The key, or where it is taken (two secrets may have one marker) the key with a number."""
    found = key
    while found in taken:
        again[key] = again.get(key, 1) + 1
        found = f"{key}'{again[key]}"
    return found


def _keep_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    count: dict[str, int] = {}
    for name, value in pairs:
        key = name
        while key in made:
            count[name] = count.get(name, 0) + 1
            if count[name] > MAX_DUPLICATES:
                raise ValueError(f"{name!r} stands there more than {MAX_DUPLICATES} times")
            key = f"{name} [duplicate {count[name]}]"
        made[key] = value
    return made
