"""What can be said in a run's stream: one frozen, typed event for each of the upstream's types, and UnknownEvent.

An event is built from a frame's payload by `typed`, the same way whether the frame has just come or is read back from
the store. Nothing here changes a payload.
"""

from typing import Any

import msgspec

STATUS_REPORT = "stepline.task_status"
"""The type under which an answer of task-status is kept; a frame of the stream that claims it is an unknown event."""

# Outside of these a number is not a time in epoch seconds: 2001-09-09 to 2100-01-01.
EARLIEST, LATEST = 1e9, 4_102_444_800.0


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What all events share. `payload` is the frame as a dict; `flags` say what the decoder had to do to it."""

    event_type: str
    payload: dict[str, Any]
    digest: str  # hexadecimal, of the unmasked content
    received_at: float  # epoch seconds
    timestamp: float | None  # epoch seconds as the upstream gave them; None when absent or no time
    task_id: str = ""
    task_name: str = ""
    flags: tuple[str, ...] = ()
    occurrence: int = 0
    seq: int = 0  # 0 until the event has its place in the run

    @property
    def at(self) -> float:
        """The time that orders this event: the upstream's, else that of receipt. Epoch seconds."""
        return self.received_at if self.timestamp is None else self.timestamp

    @property
    def identity(self) -> tuple[str, int]:
        """Two events of a run with the same identity are one event."""
        return self.digest, self.occurrence


class FlowStarted(Event, frozen=True, kw_only=True):
    pass


class TaskStarted(Event, frozen=True, kw_only=True):
    pass


class TaskCompleted(Event, frozen=True, kw_only=True):
    execution_time: float | None = None  # seconds


class TaskFailed(Event, frozen=True, kw_only=True):
    execution_time: float | None = None
    error: Any = None


class FlowCompleted(Event, frozen=True, kw_only=True):
    execution_time: float | None = None
    outputs: frozenset[str] = frozenset()  # the names that `output` has a value for


class FlowError(Event, frozen=True, kw_only=True):
    execution_time: float | None = None
    error: Any = None


class StatusReport(Event, frozen=True, kw_only=True):
    """Not a frame: what task-status answered, kept in the run's events so that the state stays a fold of them."""

    status: str = ""
    error: Any = None
    outputs: frozenset[str] = frozenset()


class UnknownEvent(Event, frozen=True, kw_only=True):
    """A type that this version does not know: stored and shown as it is, without meaning for the state."""


TaskEvent = TaskStarted | TaskCompleted | TaskFailed
TerminalEvent = FlowCompleted | FlowError


def _text(value: Any) -> str:
    """An id or a name: strings as they are, numbers as text, anything else as absent."""
    if isinstance(value, str):
        return value[:300]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)[:300]
    return ""


def _seconds(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < LATEST:
        return float(value)
    return None


def time_of(value: Any) -> float | None:
    """Epoch seconds when the value is a number that can be a time, else None."""
    if isinstance(value, int | float) and not isinstance(value, bool) and EARLIEST <= value <= LATEST:
        return float(value)
    return None


def _names(value: Any) -> frozenset[str]:
    return frozenset(value) if isinstance(value, dict) else frozenset()


def typed(
    payload: dict[str, Any],
    *,
    digest: str,
    received_at: float,
    flags: tuple[str, ...] = (),
    occurrence: int = 0,
    seq: int = 0,
    from_status: bool = False,
) -> Event:
    """The event that this payload is. `from_status` tells our own report apart from a frame that imitates one."""
    event_type = _text(payload.get("event_type"))[:100]
    common: dict[str, Any] = {
        "event_type": event_type,
        "payload": payload,
        "digest": digest,
        "received_at": received_at,
        "timestamp": time_of(payload.get("timestamp")),
        "task_id": _text(payload.get("task_id")),
        "task_name": _text(payload.get("task_name")),
        "flags": flags,
        "occurrence": occurrence,
        "seq": seq,
    }
    match event_type:
        case "task_started":
            return TaskStarted(**common)
        case "task_completed":
            return TaskCompleted(**common, execution_time=_seconds(payload.get("execution_time")))
        case "task_failed":
            return TaskFailed(
                **common, execution_time=_seconds(payload.get("execution_time")), error=payload.get("error")
            )
        case "flow_started":
            return FlowStarted(**common)
        case "flow_completed":
            return FlowCompleted(
                **common,
                execution_time=_seconds(payload.get("total_execution_time")),
                outputs=_names(payload.get("output")),
            )
        case "flow_error":
            return FlowError(
                **common,
                execution_time=_seconds(payload.get("total_execution_time")),
                error=payload.get("error"),
            )
    if event_type == STATUS_REPORT and from_status:
        return StatusReport(
            **common,
            status=_text(payload.get("status")),
            error=payload.get("error"),
            outputs=_names(payload.get("results")),
        )
    return UnknownEvent(**common)
