"""One frame's text -> Event, Noise or Rejected. No frame raises, and none is dropped without a reason.

The digest is taken here, on the unmasked content: a keyed hash of the canonical form (sorted keys, normalised numbers),
so that it neither changes with the masking rules nor lets anyone guess a secret from it.

Most frames are ordinary JSON, which a fast reader reads. What that one would lose or change (a key that stands there
twice, numbers that are not written as they are kept, escapes that no database can carry) goes through a careful one.
"""

import json
import math
import re
from hashlib import blake2b
from typing import Any

import msgspec

from runs.core import events
from runs.core.events import Event

MAX_DEPTH = 64
MAX_INTEGER_DIGITS = 4300  # Python's own limit for reading an integer
EXACT_INTEGER = 2**53  # beyond it JavaScript, and so a browser, cannot hold an integer exactly

DUPLICATE_KEYS, ESCAPED, BIG_INTEGER = "duplicate-keys", "escaped", "big-integer"

_NOISE_TYPES = ("keepalive", "ping", "pong", "system")
_NOISE_TEXT = ("echoing:", "connection established")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(\\|u[0-9a-f]{4})")
_MAYBE_UNSTORABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_TELLING_ESCAPE = re.compile(r"\\u(?:00(?:00|22)|[dD][89a-fA-F])")

_ordered = msgspec.json.Encoder(order="deterministic")
_KEY_END = '":'  # within a string the quote is escaped, with a backslash or as \u0022
_ODD_KEY_END = re.compile(r'"\s+:')
_LONG_INTEGER = re.compile(rb"[:,\[]-?[0-9]{16}")
_WHOLE_FLOAT = re.compile(rb"\.0[,\]}]")


class Noise(msgspec.Struct, frozen=True):
    """A frame that keeps the connection alive and says nothing of the run. Never stored."""


class Rejected(msgspec.Struct, frozen=True):
    """A frame that can be no event of this run. `reason` is a fixed word, `detail` a sentence for a person."""

    reason: str
    detail: str
    text: str  # the unmasked frame; only its masked preview may be kept
    digest: str
    size: int  # bytes


class Address(msgspec.Struct, frozen=True):
    """What a frame must agree with to belong to the run, and the key of its digests."""

    flow_name: str
    run_name: str
    key: bytes  # at most 64 bytes, secret, one a run


class _Refused(ValueError):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def digest(content: Any, key: bytes) -> str:
    """Keyed hash of a JSON value's canonical form, 32 hexadecimal digits."""
    return _hashed(_canonical(content), key)


def _canonical(content: Any) -> bytes:
    try:
        return _ordered.encode(content)
    except UnicodeEncodeError:  # a lone surrogate
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _hashed(canonical: bytes, key: bytes) -> str:
    return blake2b(canonical, key=key, digest_size=16).hexdigest()


def rejected(frame: str | bytes, reason: str, detail: str, key: bytes, size: int | None = None) -> Rejected:
    raw = frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")
    text = raw.decode("utf-8", "backslashreplace")
    hashed = blake2b(raw, key=key, digest_size=16).hexdigest()
    return Rejected(reason=reason, detail=detail, text=text, digest=hashed, size=len(raw) if size is None else size)


def decode(frame: str | bytes, address: Address, received_at: float) -> Event | Noise | Rejected:
    """What this frame is. `received_at` in epoch seconds."""
    if isinstance(frame, bytes):
        return rejected(frame, "binary", "a binary frame; the upstream's events are text", address.key)
    try:
        payload, canonical, flags = _ordinary(frame) or _careful(frame)
    except _Refused as refused:
        if refused.reason == "invalid-json" and any(word in frame[:200].lower() for word in _NOISE_TEXT):
            return Noise()
        return rejected(frame, refused.reason, str(refused), address.key)
    if _is_noise(payload):
        return Noise()
    for name, expected in (("flow_name", address.flow_name), ("run_name", address.run_name)):
        if payload.get(name, expected) != expected:
            return rejected(frame, "other-run", f"{name} is another run's", address.key)
    if not isinstance(payload.get("event_type"), str) or not payload["event_type"]:
        return rejected(frame, "no-event-type", "event_type is missing or no text", address.key)
    event = events.typed(
        payload, digest=_hashed(canonical, address.key), received_at=received_at, flags=tuple(sorted(flags))
    )
    if isinstance(event, events.TaskStarted | events.TaskCompleted | events.TaskFailed) and not (
        event.task_id or event.task_name
    ):
        return rejected(frame, "no-task", "a task event with neither task_id nor task_name", address.key)
    return event


def _is_noise(payload: dict[str, Any]) -> bool:
    if "event_type" in payload:
        return payload["event_type"] in ("keepalive", "ping", "pong")
    return payload.get("type") in _NOISE_TYPES


def _ordinary(frame: str) -> tuple[dict[str, Any], bytes, set[str]] | None:
    """What _careful would give, where it is certain that this is the same; else None."""
    if _deep(frame):
        return None
    try:
        payload = msgspec.json.decode(frame)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    if type(payload) is not dict:
        return None
    canonical = _ordered.encode(payload)
    if "\\u" in frame and _TELLING_ESCAPE.search(frame):
        return None
    if canonical.count(_KEY_END.encode()) != frame.count(_KEY_END) or _ODD_KEY_END.search(frame):
        return None  # perhaps a key stands there twice
    if _WHOLE_FLOAT.search(canonical) or _LONG_INTEGER.search(canonical):
        return None
    return payload, canonical, set()


def _careful(frame: str) -> tuple[dict[str, Any], bytes, set[str]]:
    """The payload, its canonical form, and what is unusual about it. Raises _Refused."""
    flags: set[str] = set()
    if frame.startswith("\ufeff"):
        raise _Refused("bom", "the frame starts with a byte order mark")
    if _deep(frame):
        raise _Refused("too-deep", f"nested deeper than {MAX_DEPTH}")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            flags.add(DUPLICATE_KEYS)
            found = _keep_duplicates(items)
        return found

    def integer(digits: str) -> int:
        if len(digits) > 16:
            if len(digits) > MAX_INTEGER_DIGITS:
                raise _Refused("huge-integer", f"an integer of {len(digits)} digits")
            if abs(int(digits)) > EXACT_INTEGER:
                flags.add(BIG_INTEGER)
        return int(digits)

    try:
        payload = json.loads(
            frame, object_pairs_hook=pairs, parse_float=_float, parse_int=integer, parse_constant=_constant
        )
    except _Refused:
        raise
    except ValueError as error:
        where = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise _Refused("invalid-json", f"not JSON: {where}") from None
    if not isinstance(payload, dict):
        raise _Refused("not-an-object", f"a JSON {type(payload).__name__} where an object is expected")
    if (_MAYBE_UNSTORABLE.search(frame) or _UNSTORABLE.search(frame)) and _unstorable(payload):
        flags.add(ESCAPED)
        payload = _escaped(payload)
    return payload, _canonical(payload), flags


def _deep(frame: str) -> bool:
    """Whether the brackets nest deeper than MAX_DEPTH; counted before parsing, which would recurse."""
    if frame.count("[") + frame.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for character in re.findall(r"[\[\]{}]", _STRING.sub("", frame)):
        depth += 1 if character in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _float(digits: str) -> float | int:
    """Whole numbers become integers, so that 5, 5.0 and 5e0 are the same content."""
    value = float(digits)
    if math.isinf(value):
        raise _Refused("infinite-number", f"a number too large to hold: {digits[:40]}")
    return int(value) if value.is_integer() and abs(value) <= EXACT_INTEGER else value


def _constant(word: str) -> float:
    raise _Refused("not-a-number", f"{word} is not JSON")


def _keep_duplicates(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """The last of equal keys keeps the name, as every JSON reader has it; earlier ones stay beside it, renamed."""
    found: dict[str, Any] = {}
    last = {key: place for place, (key, _) in enumerate(items)}
    count: dict[str, int] = {}
    for place, (key, value) in enumerate(items):
        if last[key] == place:
            found[key] = value
        else:
            count[key] = count.get(key, 0) + 1
            found[f"{key} [duplicate {count[key]}]"] = value
    return found


def _unstorable(value: Any) -> bool:
    """Whether a NUL or a lone surrogate stands anywhere in it: SQLite would keep them, PostgreSQL refuses them."""
    if isinstance(value, str):
        return _UNSTORABLE.search(value) is not None
    if isinstance(value, dict):
        return any(_unstorable(key) or _unstorable(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_unstorable, value))


def _escaped(value: Any) -> Any:
    """NUL and lone surrogates as \\uXXXX, and every backslash of the whole frame doubled: so it can be reversed."""
    if isinstance(value, str):
        return _UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", value.replace("\\", "\\\\"))
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value


def unescaped(value: Any) -> Any:
    """What came, of a payload that is flagged ESCAPED."""
    if isinstance(value, str):
        return _ESCAPE.sub(lambda found: "\\" if found[1] == "\\" else chr(int(found[1][1:], 16)), value)
    if isinstance(value, dict):
        return {unescaped(key): unescaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unescaped(item) for item in value]
    return value
