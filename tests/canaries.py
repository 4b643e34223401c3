"""Sixty kinds of secrets, each made anew for each place, all with one word in them that must not be found anywhere."""

import base64
import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

WORD: Final = "Kanari7Q"  # never among what is shown; a kind that allows capitals only has it in capitals
OWN_KEY: Final = f"lyzr/{WORD}+own==key"  # the upstream's key: plain, or in a form that is known to be looked for
OTHER_KEY: Final = f"lyzr/{WORD}+other&key"  # another upstream's key

# By their looks; `T` is the place's mark of a few letters and digits. In two parts, so that no scanner takes them
# for a leak.
_LOOKS: Final = {
    "key": "sk-" + f"{WORD}T4f9aC3kQ",
    "project key": "sk-" + f"proj-{WORD}T_Cd34-Ef56",
    "aws": "AKIA" + f"{WORD.upper()}TTTTTTTT"[:16],
    "aws session": "ASIA" + f"{WORD.upper()}TTTTTTTT"[:16],
    "github": "ghp_" + f"{WORD}TQ7zLm2Xw8R4t6Y8u1I3o5P7a9S2",
    "github app": "ghs_" + f"{WORD}TQ7zLm2Xw8R4t6Y8u1I3o5P7a9S2",
    "github pat": "github_pat_" + f"11ABCDEFG0{WORD}T_R4t6Y8u1I3",
    "slack bot": "xoxb-" + f"123456789012-{WORD}T",
    "slack user": "xoxp-" + f"123456789012-{WORD}T",
    "slack app": "xapp-" + f"1-A0123-456-{WORD}T",
    "slack hook": "https://hooks.slack.com/services/" + f"T0/B0/{WORD}T",
    "google": "AIza" + f"SyD4{WORD}TQ7zLm2Xw8R4t6Y8u1I3",
    "stripe": "sk_live_" + f"{WORD}TQ7zLm2Xw8",
    "stripe restricted": "rk_live_" + f"{WORD}TQ7zLm2Xw8",
    "stripe hook": "whsec_" + f"{WORD}TQ7zLm2Xw8",
    "jwt": "eyJhbGciOiJIUzI1NiJ9." + f"eyJzdWIiOiJhIn0.{WORD}TQ7zLm2Xw8",
    "bearer": "Bearer " + f"{WORD}T.x",
    "bearer in small letters": "bearer " + f"{WORD}T_1",
    "rsa": f"-----BEGIN RSA PRIVATE KEY-----\n{WORD}T\nMIIE\n-----END RSA PRIVATE KEY-----",
    "ssh": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{WORD}T\nb3Bl\n-----END OPENSSH PRIVATE KEY-----",
    "database": f"postgres://robot:{WORD}T@db.internal:5432/main",
    "queue": f"amqps://robot:{WORD}T@queue.internal/v",
    "web": f"https://robot:{WORD}T@x.example/a",
}
_NAMES: Final = """password db_password passwd passphrase secret client_secret clientSecret token access_token
    refreshToken csrf_token apikey api_key X-API-Key authorization Proxy-Authorization auth credentials private_key
    access_key aws_secret_access_key service_key session cookie Set-Cookie dsn connection_string connectionString
    webhook_url bearer signing_key openai_api_key""".split()

type Shape = Callable[[str, str], Any]
NAMED: Final = tuple(f"name {name}" for name in _NAMES)
KINDS: Final = (*_LOOKS, "basic", "own key", "own key in base64", "own key in an address", "other key", *NAMED)

# Where a secret may stand: the kind's name for it and its text become a frame's own fields (None: any name).
PLACES: Final[dict[str, Shape]] = {
    "top": lambda name, text: {name: text},
    "nested": lambda name, text: {"input": _nested({name: text}, 10)},
    "list": lambda name, text: {"input": {"rows": ["a", {name: [text]}, 7]}},
    "message": lambda name, text: {"message": f"upstream said: {_worded(name, text)} is not valid"},
    "error": lambda name, text: {
        "error": {
            "type": "Refused",
            "message": f"rejected {_worded(name, text)}",
            "code": "E1",
            "details": {name: text},
        }
    },
    "url": lambda name, text: {"output": {"url": f"https://x.example/p?a=1&{name}={_quoted(text)}&b=2"}},
    "json": lambda name, text: {"output": {"body": json.dumps({"deep": [{name: text}]})}},
}
LOOK_NAME: Final = "note"  # an innocent name, for what is known by its looks


def canary(kind: str, mark: str) -> tuple[str, str]:
    """The name and the text of this kind's secret, with this mark in it."""
    if kind in _LOOKS:
        filled = mark.upper() if kind.startswith("aws") else mark
        text = _LOOKS[kind]
        if kind.startswith("aws"):
            return LOOK_NAME, text[: 4 + len(WORD)] + filled.rjust(8, "X")[-8:]
        return LOOK_NAME, text.replace(f"{WORD}T", f"{WORD}{filled}")
    match kind:
        case "basic":
            return LOOK_NAME, "Basic " + base64.b64encode(f"robot:{WORD}{mark}".encode()).decode()
        case "own key":
            return LOOK_NAME, OWN_KEY
        case "own key in base64":
            return LOOK_NAME, base64.b64encode(f"{mark}:{OWN_KEY}".encode()).decode()
        case "own key in an address":
            return LOOK_NAME, _quoted(OWN_KEY)
        case "other key":
            return LOOK_NAME, OTHER_KEY
        case _:
            return kind.removeprefix("name "), f"{WORD}{mark}"


def frame(kind: str, place: str, number: int, common: dict[str, Any]) -> str:
    """One frame with this secret at this place; `duplicate` and `quarantine` can be no dictionary."""
    name, text = canary(kind, f"{number:04d}")
    task = {"task_id": f"t-{number}", "task_name": f"task {number}", "timestamp": common["timestamp"] + number}
    event = {**common, **task, "event_type": "task_failed" if place == "error" else "task_completed"}
    if place in PLACES:
        return json.dumps(event | PLACES[place](name, text))
    pair = f"{json.dumps(name)}: {json.dumps(text)}"
    whole = json.dumps(event)[:-1]
    if place == "duplicate":
        return f"{whole}, {pair}, {pair}, {json.dumps(name)}: 1}}"
    assert place == "quarantine"
    return f"{whole}, {pair}, broken"


def odd_frames(kind: str, number: int, common: dict[str, Any]) -> list[str]:
    """Frames in which what is known by its looks is a name itself: of a key, a task, an id, an event type."""
    _, text = canary(kind, f"{number:04d}")
    event = {**common, "event_type": "task_started", "task_name": f"odd {number}", "timestamp": common["timestamp"]}
    return [
        json.dumps(event | {"input": {text: {text: 1}}}),
        json.dumps(event | {"task_name": text[:200]}),
        json.dumps(event | {"task_id": text[:200], "message": text}),
        json.dumps(event | {"event_type": text[:90]}),
    ]


def found_in(blob: bytes) -> list[str]:
    """Where the word stands in these bytes: in any case, or in base64; each with what is around it."""
    needles = [(WORD.lower().encode(), blob.lower())]
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + WORD.encode()).decode().rstrip("=")
        stable = encoded[(offset * 8 + 5) // 6 : (offset + len(WORD)) * 8 // 6]
        needles.append((stable.encode(), blob))
    hits = []
    for needle, hay in needles:
        at = hay.find(needle)
        while at >= 0 and len(hits) < 20:
            hits.append(blob[max(0, at - 100) : at + 60].decode("utf-8", "replace"))
            at = hay.find(needle, at + 1)
    return hits


def _nested(value: Any, depth: int) -> Any:
    for level in range(depth):
        value = {"inner": value} if level % 2 else [value]
    return value


def _worded(name: str, text: str) -> str:
    return text if name == LOOK_NAME else f"{name}={text}"


def _quoted(text: str) -> str:
    return quote(text, safe=" ")
