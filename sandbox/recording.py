"""A recorded stream: NDJSON -> frames and the second at which each is due.

A line is a frame as it was sent, paced by its `timestamp`, or {"at": seconds, "frame": "raw text"}, which can
hold what no line can, such as a line feed or text that looks like this form. Frames go out byte for byte, in
the file's order.
"""

import json
import math
from typing import Any, NamedTuple

MAX_BYTES = 16 * 1024 * 1024
# A silence longer than this is played as this: a stray timestamp must not keep a recording going for years.
LONGEST_SILENCE_SECONDS = 600.0


class BadRecording(ValueError):
    """It cannot be played; the message names the line."""


class Recording(NamedTuple):
    frames: list[tuple[float, str]]  # (seconds after the start, raw text)
    flow_name: str | None  # as the first event says that names them
    run_name: str | None

    @property
    def seconds(self) -> float:
        return self.frames[-1][0]


def read(content: bytes) -> Recording:
    """Parse a recording of at most MAX_BYTES. Raises BadRecording."""
    if len(content) > MAX_BYTES:
        raise BadRecording(f"The recording has {len(content)} bytes; at most {MAX_BYTES} are played.")
    frames: list[tuple[float, str]] = []
    names: dict[str, str] = {}
    due = 0.0
    previous: float | None = None
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise BadRecording(f"Line {number} is not UTF-8: {error.reason} at byte {error.start}.") from None
        value = _json(text)
        if value.keys() == {"at", "frame"}:
            if _seconds(value["at"]) is None or not isinstance(value["frame"], str):
                raise BadRecording(f'Line {number}: "at" must be a number of seconds and "frame" a text.')
            text = value["frame"]
            moment = _seconds(value["at"])
            previous = 0.0 if previous is None else previous
        else:
            moment = _seconds(value.get("timestamp"))
        if moment is not None:
            # A frame that was late in the recording is late here too: it goes out right after the one before
            # it.
            if previous is not None:
                due += min(max(0.0, moment - previous), LONGEST_SILENCE_SECONDS)
            previous = moment if previous is None else max(previous, moment)
        frames.append((due, text))
        for key in ("flow_name", "run_name"):
            if isinstance(name := _json(text).get(key), str):
                names.setdefault(key, name)
    if not frames:
        raise BadRecording("The recording has no frame: every line is empty.")
    return Recording(frames, names.get("flow_name"), names.get("run_name"))


def _json(text: str) -> dict[str, Any]:
    """The object in this text, or {}: what is not one is played all the same."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
