"""Masks secrets in payloads and texts before anything else sees them: the one place that does.

It makes new values and never raises: what it cannot mask it replaces whole. Longer than most modules, so that the
rules stand together.

A secret becomes `[masked:KIND#FFFFFF]`; FFFFFF is a keyed fingerprint, so equal secrets stay visibly equal.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote

MAX_DEPTH: Final = 64  # containers inside each other; JSON inside a string counts on
MAX_NAMES: Final = 8192  # cached names
MAX_PLACES: Final = 20_000  # places looked at by one rule in one text; a fuller text is masked whole
SHORTEST_KNOWN: Final = 6  # a shorter known value is masked only where it is the whole string

_FAILED: Final = "[masked:json-error#000000]"
_MARKER: Final = re.compile(r"\[masked:[a-z][a-z-]{0,15}#[0-9a-f]{6}\]")

_MARKER_KEPT: Final = re.compile(f"({_MARKER.pattern})")

# --- names. Compared after lower-casing and dropping these characters, a duplicate mark and trailing digits.

_DROPPED: Final = str.maketrans("", "", "_-. :")
_DUPLICATE: Final = re.compile(r" \[duplicate \d{1,9}\]\Z")
_CARRIES: Final = re.compile(
    r"pass(?:word|wort|wd|phrase|code)|^pass$|pwd$|(?:db|user|smtp|imap|mail|ftp|ssh|mysql|pg|redis|root|admin|proxy)pass$"
    r"|secret(?!ar[yi])|tokens?$|token(?:value|string|key|header)"
    r"|(?:api|private|access|service)key"
    r"|(?:signing|encryption|master|subscription|shared|account|storage|integration|routing|licen[sc]e|ssh|hmac|auth"
    r"|session|client|server|app|application|consumer|deploy|function|webhook|bearer|openai|anthropic|lyzr|azure"
    r"|google|gemini|stripe|slack|sendgrid|twilio|pagerduty|datadog)keys?$"
    r"|credential|authorization|^authentication$|auth$|auth(?:header|data|code|info|string)$"
    r"|connectionstring|connstr|webhookurl|(?:slack|teams|discord|incoming)webhook|bearer$|dsn$"
    r"|cookies?$|cookie(?:jar|header)$|^session$|session(?:data|cookie)$|sessid$|jsessionid$|connectsid$"
    r"|csrf|xsrf|^otp$|otpcode$|^jwt$"
)
# Names that speak about a secret and do not hold it.
_SPEAKS_ABOUT: Final = re.compile(
    r"(?:count|counts|limit|limits|length|type|kind|policy|expiry|expires|expiresin|expiration|ttl|usage|name|names"
    r"|field|required|enabled|valid|status|scheme|method|mode|provider|scopes?|strength|age|version|format|path|less"
    r"|(?:expires|expired|changed|updated|created|rotated|issued|used)at|tokensused)$"
    r"|(?:auth|authorization|token)(?:url|uri|endpoint)$|secret(?:ref|arn)$"
    r"|^(?:max|min|total|prompt|completion|input|output|cached|reasoning|num|used|remaining|stop)tokens$"
    r"|^(?:eos|bos|pad|unk|sep|cls|mask|stop|special|max|min|num|startof|endof)token$"
)
_NUMBER_IS_FINE: Final = re.compile(r"tokens$|^pass$")  # 512 tokens, 14 tests pass
_PLAIN, _ID, _SECRET_UNLESS_NUMBER, _SECRET = 0, 1, 2, 3  # the stricter the higher
_LABELS: Final = ("name", "key", "header", "field", "variable", "parameter", "Name", "Key")
_HELD: Final = frozenset({"value", "values", "val", "default", "Value"})

# --- values. Each repeat is possessive and takes its whole run whether or not it turns out to be a secret, so
# that a failed try is never started again inside the same run: linear time on any text.

_VALUES: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?P<jwt>eyJ[\w-]*+(?:\.[\w-]{4,}+(?:\.[\w-]*+)?)?)"
    r"|(?P<key>sk-[\w-]*+)"
    r"|(?P<stripe>(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]*+)"
    r"|(?P<aws>(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9]))"
    r"|(?P<github>gh[pousr]_[A-Za-z0-9]*+|github_pat_\w*+)"
    r"|(?P<slack>xox[a-z]-[\w-]*+|hooks\.slack\.com/[\w/%-]*+)"
    r"|(?P<google>AIza[\w-]*+)"
    r"|(?P<bearer>(?:Bearer|bearer|BEARER)(?:[ \t]{1,4}+|%20|\+)[\w\-.~+/]*+={0,2}+)"
    r"|(?P<basic>(?:Basic|basic|BASIC)(?:[ \t]{1,4}+|%20|\+)[A-Za-z0-9+/]*+={0,2}+)"
    r")"
)
# What each of them needs: cheap to look for, since every branch begins with a letter that is rare in prose.
_HINT: Final = re.compile(
    r"k[-_]|k(?<=slack)\.com|whsec_|AKIA|ASIA|gh[pousr]_|github_pat|xox|AIza|J(?<=eyJ)|-----B"
    r"|bearer|Bearer|BEARER|basic|Basic|BASIC"
).search
_LEAST: Final = {"jwt": 20, "key": 19, "stripe": 16, "aws": 20, "github": 24, "slack": 15, "google": 30}
_NO_BEARER: Final = frozenset(
    "authentication authorization tokens credentials scheme header headers instead method".split()
)
_SCHEME: Final = re.compile(r"(?:bearer|basic|token|digest|apikey|negotiate)[ \t]{1,4}+", re.I)
_USERINFO: Final = re.compile(r"://([^\s/?#\"'<>]{1,1024})@")
_SIGNED_QUERY: Final = re.compile(
    r"[?&;]((?:sig|signature|x-(?:amz|goog)-(?:signature|credential)|key|code)=)([^&\s#\"'<>\[]{16,}+)", re.I
)
_EMAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,5}+")
_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40}+)-----")

# --- `name=value` in texts, whole or broken JSON included.

_STEMS: Final = "pass pwd secret token key auth cred sess cookie dsn conn webhook bearer csrf xsrf otp jwt".split()
_PAIR_TAIL: Final = (
    r"(?:[\w.\-]|%5f|%2[de]){0,40}+(?: (?:key|token|string|url|phrase|code)\b)?)"
    r"(?: \[duplicate \d{1,9}\])?(?:[\"'`\\]|%22|&quot;|&#(?:34|39|x27);){0,8}+[ \t]{0,8}+"
    r"(?:=>|:=|==?|:|%3[ad])(?:\s{0,32}+(?=\\{0,7}[\"'{\[])|[ \t]{0,8}+)"
)
_LABELLED: Final = re.compile(
    r"\"(?:name|key|header)\\{0,7}\"\s{0,8}+:\s{0,8}+\\{0,7}\"([\w.\- ]{1,64}+)\\{0,7}\"\s{0,8}+,\s{0,8}+"
    r"\\{0,7}\"value\\{0,7}\"\s{0,8}+:\s{0,8}+",
    re.I,
)
_OPENING: Final = re.compile(r"(\\{0,15}+)([\"'`]|&(?:quot|#34|#39|#x27);)")
_RUN: Final = re.compile(r"(?:[^\s&\"'<>\\]|\\(?![nrtu\"'\\]))++")
_LINE: Final = re.compile(r"[^\r\n\"'<>\\]++")
_ENCODED_RUN: Final = re.compile(r"[^\s&?#=\"'<>]++")
_ENCODED_DEPTH: Final = 16  # so that what is encoded again and again is opened three times
_BRACKETS: Final = re.compile(r"\"(?:[^\"\\]|\\.)*+\"?+|[\[\]{}]", re.S)
_NAME_CHARACTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.%"
_NOTHING: Final = frozenset({"true", "false", "null", "none", "undefined", ""})
_NUMBER: Final = re.compile(r"[+-]?\d{1,12}(?:\.\d{1,12})?")
_INPUT_NAME: Final = re.compile(r"[A-Za-z]{1,30}(?:[_.-][A-Za-z]{1,30}){0,5}")
_OPAQUE: Final = re.compile(r"(?=[^\d]*\d)(?=[^A-Za-z]*[A-Za-z])[\w+/=.%-]{40,}")


def is_marker(text: object) -> bool:
    """Whether the value is one marker of ours and nothing else."""
    return type(text) is str and _MARKER.fullmatch(text) is not None


def has_marker(text: str) -> bool:
    """Whether a marker of ours stands anywhere in the text."""
    return "[masked:" in text and _MARKER.search(text) is not None


class Masker:
    """Masks by name and by value; built once for a process, and safe to use from several threads.

    `key` is the secret of the fingerprints (at most 64 bytes are used). `extra_names` are compared like the built-in
    ones, whole; `extra_patterns` are regular expressions whose every match is masked (their speed is their author's
    affair; a wrong one raises ValueError naming it). `known_values` are masked wherever they stand, also in base64
    and URL form.

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
        self._key = key[:64]
        self._names: dict[str, int] = {}
        self._extra = frozenset(_normal(name) for name in extra_names) - {""}
        loose = ["[_. -]?".join(map(re.escape, name)) for name in sorted(self._extra)]
        stems = "|".join(_STEMS + loose)
        self._stem = re.compile(stems).search
        self._pair = re.compile(f"((?:{stems}){_PAIR_TAIL}")
        self._mask_email = mask_email
        self._patterns: list[re.Pattern[str]] = []
        for pattern in extra_patterns:
            try:
                self._patterns.append(re.compile(pattern))
            except re.error as error:
                raise ValueError(f"masking pattern {pattern!r} is no regular expression: {error}") from None
        known = {value for value in known_values if value}
        self._short = frozenset(value for value in known if len(value) < SHORTEST_KNOWN)
        self._known = sorted(
            {
                (form, value, spread)
                for value in known
                if len(value) >= SHORTEST_KNOWN
                for form, spread in _forms(value)
            },
            key=lambda known_form: -len(known_form[0]),
        )
        self._choosy = bool(self._patterns or self._known or self._short or mask_email)
        self._shortest = min((len(form) for form, _, _ in self._known), default=0)

    # --- what others call

    def value(self, value: Any) -> Any:
        """A masked copy of any JSON value. Where masking fails: `{"masked": "[masked:json-error#000000]"}`."""
        try:
            return self._walk(value, 0)
        except Exception:
            return {"masked": _FAILED}

    def text(self, text: str) -> str:
        """A masked copy of free text, which may be broken JSON. Where masking fails: one marker."""
        try:
            return self._string(text, 0)
        except Exception:
            return _FAILED

    # --- the walk over JSON

    def _walk(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self._string(value, depth)
        if kind is dict:
            if depth >= MAX_DEPTH:
                return self._mark("deep", "")
            return self._object(value, depth + 1)
        if kind is list or kind is tuple:
            if depth >= MAX_DEPTH:
                return self._mark("deep", "")
            if len(value) == 2 and type(value[0]) is type(value[1]) is str and self._header_pair(*value):
                return [value[0], self._under(value[1], self._mark_secret, depth)]
            return [self._walk(item, depth + 1) for item in value]
        if value is None or kind is bool or kind is int or kind is float:
            return value
        raise TypeError(f"{kind.__name__} is no JSON value")

    def _object(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        names = self._names
        labelled = _PLAIN if _HELD.isdisjoint(value) else self._labelled(value)
        masked: dict[str, Any] = {}
        for name, inner in value.items():
            rule = names.get(name)
            key = name
            if rule is None:
                rule = self._rule(name)
                key = self._string(name, MAX_DEPTH)
                if key is name or key == name:
                    self._remember(name, rule)
                else:
                    rule = max(rule, self._rule(key))
                    while key in masked:
                        key += "'"
            if labelled and rule == _PLAIN and name in _HELD:
                rule = labelled
            if rule == _PLAIN:
                kind = type(inner)
                if kind is str:
                    masked[key] = self._string(inner, depth)
                elif kind is dict or kind is list:
                    masked[key] = self._walk(inner, depth)
                elif inner is None or kind is bool or kind is int or kind is float:
                    masked[key] = inner
                else:
                    masked[key] = self._walk(inner, depth)
            elif rule == _ID:
                masked[key] = self._identifier(inner, depth)
            elif rule == _SECRET_UNLESS_NUMBER:
                masked[key] = self._under(inner, self._mark_unless_number, depth)
            else:
                masked[key] = self._under(inner, self._mark_secret, depth)
        return masked

    def _under(self, value: Any, mark: Callable[[Any], Any], depth: int) -> Any:
        """Everything below a secret name: `mark` for each string and number."""
        kind = type(value)
        if kind is str or kind is int or kind is float:
            return mark(value)
        if value is None or kind is bool:
            return value
        if depth >= MAX_DEPTH:
            return self._mark("deep", "")
        if kind is dict:
            alone = len(value) == 1
            below: dict[str, Any] = {}
            for name, inner in value.items():
                key = self._string(name, MAX_DEPTH)
                while key in below:
                    key += "'"
                if self._is_reference(name, inner, alone):
                    below[key] = inner
                    continue
                strict = mark == self._mark_secret or self._rule_of(name) == _SECRET
                below[key] = self._under(inner, self._mark_secret if strict else mark, depth + 1)
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

    def _mark_secret(self, value: str | float) -> str:
        if type(value) is not str:
            return self._mark("name", repr(value))
        if value == "" or _MARKER.fullmatch(value):
            return value
        scheme = _SCHEME.match(value)
        if scheme is None:
            return self._mark("name", value)
        if _MARKER.fullmatch(value, scheme.end()):
            return value
        word = value[:6].rstrip().lower()
        return self._mark(word if word in {"bearer", "basic"} else "name", value[scheme.end() :])

    def _mark_unless_number(self, value: str | float) -> str | float:
        if type(value) is not str or _NUMBER.fullmatch(value):
            return value
        return self._mark_secret(value)

    def _identifier(self, value: Any, depth: int) -> Any:
        if type(value) is str and _OPAQUE.fullmatch(value):
            return self._mark("name", value)
        return self._walk(value, depth)

    def _labelled(self, value: dict[str, Any]) -> int:
        """The rule for the value in `{"name": "Authorization", "value": …}`."""
        for label in _LABELS:
            name = value.get(label)
            if type(name) is str and len(name) <= 128 and not name.strip(_NAME_CHARACTERS + " "):
                rule = self._rule_of(name)
                if rule >= _SECRET_UNLESS_NUMBER:
                    return rule
        return _PLAIN

    def _header_pair(self, name: str, value: str) -> bool:
        """Whether two strings are a header, `["Authorization", "Bearer …"]`, and not two words of a list."""
        if name.strip(_NAME_CHARACTERS + " ") or self._rule_of(name) != _SECRET:
            return False
        return len(value) >= 16 or not value.replace("_", "").replace("-", "").isalpha()

    # --- names

    def _rule_of(self, name: str) -> int:
        rule = self._names.get(name)
        if rule is None:
            rule = self._rule(name)
            self._remember(name, rule)
        return rule

    def _remember(self, name: str, rule: int) -> None:
        if len(name) <= 128:
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            self._names[name] = rule

    def _rule(self, name: str) -> int:
        normal = _normal(name)
        if normal in self._extra:
            return _SECRET
        if normal == "sessionid":
            return _ID
        if "webhookurl" in normal:
            return _SECRET
        if not _CARRIES.search(normal) or _SPEAKS_ABOUT.search(normal):
            return _PLAIN
        return _SECRET_UNLESS_NUMBER if _NUMBER_IS_FINE.search(normal) else _SECRET

    # --- strings

    def _string(self, text: str, depth: int) -> str:
        size = len(text)
        if size < SHORTEST_KNOWN - 1:
            return self._mark("known", text) if text in self._short else text
        paired = ":" in text or "=" in text or "%3" in text
        hinted = _HINT(text) is not None or (self._choosy and self._suspects(text, size))
        if paired and not hinted:
            low = text.lower()
            hinted = (
                self._stem(low) is not None
                or "%2f%2f" in low
                or "\\u" in text
                or ("://" in text and ("@" in text or "?" in text))
            )
        if not hinted or ("[masked:" in text and _MARKER.fullmatch(text)):
            return text
        if depth < MAX_DEPTH and text[:64].lstrip()[:1] in ("{", "["):
            inside = self._json(text, depth)
            if inside is not None:
                return inside
        for _ in range(4):  # what one rule leaves may show another rule something: go on until nothing changes
            masked = self._once(text, depth)
            if masked == text:
                break
            text = masked
        return text

    def _suspects(self, text: str, size: int) -> bool:
        """Whether what this masker alone looks for may be there."""
        return (
            bool(self._patterns)
            or (self._known != [] and size >= self._shortest and any(form[0] in text for form in self._known))
            or (self._mask_email and "@" in text)
            or text in self._short
        )

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
        return json.dumps(
            masked, ensure_ascii=text.isascii(), separators=(", ", ": ") if wide else (",", ":"), allow_nan=True
        )

    def _once(self, text: str, depth: int) -> str:
        if text in self._short:
            return self._mark("known", text)
        for form, value, spread in self._known:
            if form in text:
                text = self._replace_known(text, form, value, spread)
        if "-----BEGIN" in text:
            text = self._pem(text)
        if ("%2" in text or "%3" in text) and depth + _ENCODED_DEPTH < MAX_DEPTH:
            text = self._encoded(text, depth + _ENCODED_DEPTH)
        if ":" in text or "=" in text or "%3" in text:
            text = self._labels(self._pairs(text))
        text = self._every(_VALUES, self._found, text)
        if "://" in text:
            text = self._every(_USERINFO, self._userinfo, text)
            text = self._every(_SIGNED_QUERY, lambda m: m[0][: -len(m[2])] + self._mark("url", m[2]), text)
        if self._mask_email and "@" in text:
            text = self._outside(text, _EMAIL, "email")
        for pattern in self._patterns:
            text = self._outside(text, pattern, "pattern")
        return text

    def _every(self, pattern: re.Pattern[str], mask: Callable[[re.Match[str]], str], text: str) -> str:
        masked, places = pattern.subn(mask, text, count=MAX_PLACES)
        return masked if places < MAX_PLACES else self._mark("many", text)

    def _found(self, match: re.Match[str]) -> str:
        kind, found = str(match.lastgroup), match[0]
        if kind in _LEAST:
            if len(found) < _LEAST[kind] or (kind == "jwt" and "." not in found):
                return found
            return self._mark(kind, found)
        split = re.match(r"\w{5,6}?(?:[ \t]+|%20|\+)", found)
        head = found[: split.end()] if split else ""
        secret = found[len(head) :].rstrip(".")
        looks = _is_bearer(found, secret) if kind == "bearer" else _is_basic(secret)
        return head + self._mark(kind, secret) + found[len(head) + len(secret) :] if looks else found

    def _userinfo(self, match: re.Match[str]) -> str:
        user, colon, password = match[1].partition(":")
        if colon and password and "[masked:" not in password:
            return f"://{user}:{self._mark('url', password)}@"
        if not colon and len(user) >= 16 and "[masked:" not in user:
            return f"://{self._mark('url', user)}@"
        return match[0]

    def _pem(self, text: str) -> str:
        out, done = [], 0
        while begin := _PEM.search(text, done):
            end = text.find("-----END", begin.end())
            close = text.find("-----", end + 8) if end >= 0 else -1
            stop = close + 5 if close >= 0 else len(text)
            open_to_all = "CERTIFICATE" in begin[1] or "PUBLIC" in begin[1]
            out += [text[done : begin.start()]]
            out += [text[begin.start() : stop] if open_to_all else self._mark("pem", text[begin.start() : stop])]
            done = stop
        return "".join([*out, text[done:]])

    def _encoded(self, text: str, depth: int) -> str:
        """Percent-encoded runs, as in URLs, masked inside."""

        def mask(run: re.Match[str]) -> str:
            if "%" not in run[0]:
                return run[0]
            plain = unquote(run[0])
            masked = self._string(plain, depth)
            return run[0] if masked == plain else quote(masked, safe="[]:#/@", errors="replace")

        pieces = _MARKER_KEPT.split(text)
        pieces[::2] = [_ENCODED_RUN.sub(mask, piece) for piece in pieces[::2]]
        return "".join(pieces)

    def _outside(self, text: str, pattern: re.Pattern[str], kind: str) -> str:
        """`pattern` masked, but never inside a marker."""
        pieces = _MARKER_KEPT.split(text)
        pieces[::2] = [
            self._every(pattern, lambda m: self._mark(kind, m[0]) if m[0] else "", piece) for piece in pieces[::2]
        ]
        return "".join(pieces)

    def _replace_known(self, text: str, form: str, value: str, spread: bool) -> str:
        """Masks one form of a known value; in base64 the whole run, whose ends would give away a letter or two."""
        mark = self._mark("known", value)
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

    # --- pairs in texts

    def _pairs(self, text: str) -> str:
        low = text.replace("\u0130", "I").lower()  # the one letter whose lower case is longer
        out: list[str] = []
        done = position = looked = 0
        while pair := self._pair.search(low, position):
            looked += 1
            if looked > MAX_PLACES:
                return self._mark("many", text)
            position = pair.end()
            name, rule = self._name_before(text, pair.start(1), pair.end(1))
            if rule < _SECRET_UNLESS_NUMBER:
                continue
            place = _secret_at(text, position, _normal(name).endswith(("cookie", "cookies")))
            if place is None:
                continue
            start, stop, resume = place
            secret = text[start:stop]
            position = resume
            if rule == _SECRET_UNLESS_NUMBER and _NUMBER.fullmatch(secret):
                continue
            out += [text[done:start], self._mark_secret(secret)]
            done = stop
        return "".join([*out, text[done:]]) if out else text

    def _name_before(self, text: str, start: int, stop: int) -> tuple[str, int]:
        """The whole name that ends at `stop`, with one word more (`api key`) where that makes it a secret's name."""
        back = text[max(0, start - 48) : start]
        rest = back.rstrip(_NAME_CHARACTERS)
        name = back[len(rest) :] + text[start:stop]
        if "%" in name:
            name = unquote(name)
            name = name[len(name.rstrip(_NAME_CHARACTERS)) :]
        rule = self._rule_of(name)
        if rule == _PLAIN and rest.endswith(" ") and not _SPEAKS_ABOUT.search(_normal(name)):
            word = rest[:-1][len(rest[:-1].rstrip(_NAME_CHARACTERS)) :]
            if word:
                name = f"{word} {name}"
                rule = self._rule_of(name)
        return name, rule

    def _labels(self, text: str) -> str:
        """`"name": "Authorization", "value": "…"` in JSON that cannot be parsed."""
        if "value" not in text and "Value" not in text:
            return text
        out: list[str] = []
        done = position = 0
        while label := _LABELLED.search(text, position):
            position = label.end()
            if self._rule_of(label[1]) < _SECRET_UNLESS_NUMBER:
                continue
            place = _secret_at(text, position, False)
            if place is not None:
                out += [text[done : place[0]], self._mark_secret(text[place[0] : place[1]])]
                done = place[1]
                position = place[2]
        return "".join([*out, text[done:]]) if out else text

    def _mark(self, kind: str, secret: str) -> str:
        digest = blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=3, key=self._key)
        return f"[masked:{kind}#{digest.hexdigest()}]"


# --- parts without a masker

_BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/_=-]*+")
_BASE64: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/_-="


def _normal(name: str) -> str:
    return _DUPLICATE.sub("", name).lower().translate(_DROPPED).rstrip("0123456789")


def _secret_at(text: str, start: int, whole_line: bool) -> tuple[int, int, int] | None:
    """Where the value at `start` lies: first and last position of the secret, and where to go on reading.

    None when there is nothing to mask: no value, a marker already, true, false, null.
    """
    if start >= len(text) or text.startswith("//", start) or _MARKER.match(text, start):
        return None
    opening = _OPENING.match(text, start)
    if opening:
        start = opening.end()
        stop = resume = _closing(text, start, len(opening[1]), opening[2])
    elif text[start] in "{[":
        stop = resume = _balanced(text, start)
    else:
        scheme = _SCHEME.match(text, start)
        if scheme and _MARKER.match(text, scheme.end()):
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
    if secret.lower() in _NOTHING or _MARKER.fullmatch(secret):
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


def _is_bearer(found: str, word: str) -> bool:
    if len(word) < 6 or word.lower() in _NO_BEARER:
        return False
    return found[0] == "B" or len(word) >= 20 or any(letter.isdigit() or letter in "_." for letter in word)


def _is_basic(secret: str) -> bool:
    if len(secret) < 6:
        return False
    core = secret.rstrip("=")
    try:
        return b":" in base64.b64decode(core + "=" * (-len(core) % 4))
    except (binascii.Error, ValueError):
        return False


def _forms(value: str) -> Iterable[tuple[str, bool]]:
    """The shapes in which a known value may stand, and whether the whole base64 run around it goes too."""
    yield value, False
    for form in (quote(value, safe=""), quote_plus(value), quote(value), json.dumps(value)[1:-1]):
        yield form, False
        if "%" in form:
            yield re.sub(r"%[0-9A-F]{2}", lambda m: m[0].lower(), form), False
    raw = value.encode("utf-8", "surrogatepass")
    for offset in range(3):  # the letters that depend on this value alone, wherever it begins in a group of three
        encoded = base64.b64encode(bytes(offset) + raw).decode().rstrip("=")
        first = (offset * 8 + 5) // 6
        last = (offset + len(raw)) * 8 // 6
        stable = encoded[first:last]
        if len(stable) >= SHORTEST_KNOWN:
            yield stable, True
            yield stable.replace("+", "-").replace("/", "_"), True


def _keep_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        key, count = name, 0
        while key in made:
            count += 1
            key = f"{name} [duplicate {count}]"
        made[key] = value
    return made


# --- putting secrets back


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
        markers = _MARKER.findall(masked)
        if 0 < len(markers) <= 8:  # the surroundings were edited: find what each marker stands for
            found = re.fullmatch("(.+?)".join(map(re.escape, _MARKER.split(masked))), original, re.S)
            known = dict(zip(markers, found.groups(), strict=True)) if found else {}
            if all(marker in known for marker in _MARKER.findall(edited)):
                return _MARKER.sub(lambda m: known[m[0]], edited)
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
