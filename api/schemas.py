"""What the calls take and answer, for validation and for OpenAPI. Rows are mapped by runs/facts.py."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue

from runs.models import Run


def _plain(text: str) -> str:
    # PostgreSQL has no NUL, and UTF-8 has no half of a surrogate pair.
    if "\0" in text or any(0xD800 <= ord(character) < 0xE000 for character in text):
        raise ValueError("NUL characters and broken text cannot be used here")
    return text


def _split(value: Any) -> Any:
    """`?status=running,queued` means the same as `?status=running&status=queued`."""
    return [part for one in value for part in str(one).split(",") if part] if isinstance(value, list) else value


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


Plain = Annotated[str, AfterValidator(_plain)]
Name = Annotated[Plain, Field(max_length=300)]
When = Annotated[datetime, AfterValidator(_utc), Field(description="ISO 8601; UTC when no zone is given")]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="ISO 8601, UTC")]
RunStatus = Literal["queued", "launching", "running", "succeeded", "failed", "lost", "stopped", "rejected"]
TaskStatus = Literal["pending", "running", "succeeded", "failed", "skipped", "unknown"]
assert set(RunStatus.__args__) == set(Run.Status.values)  # type: ignore[attr-defined]


class Strict(Schema):
    """A body in which a field that nobody reads is a mistake."""

    model_config = ConfigDict(extra="forbid")


# --- what calls take -----------------------------------------------------------------------------------


class LaunchIn(Strict):
    flow_name: Name = Field(description="The workflow to launch; with `definition`, the name of the flow")
    run_name: Name = Field("", description="Must be new for this flow; without it one is made up")
    inputs: dict[str, JsonValue] | None = Field(None, description="Merged over the definition's default_inputs")
    upstream: Plain | None = Field(None, description="Name of the upstream; without it the default one")
    definition: dict[str, JsonValue] | None = Field(None, description="Launched in place of a stored workflow")


class AttachIn(Strict):
    flow_name: Name
    run_name: Name
    upstream: Plain | None = Field(None, description="Name of the upstream; without it the default one")


class RetryIn(Strict):
    inputs: dict[str, JsonValue] | None = Field(None, description="Merged over those of the run")
    run_name: Name = Field("", description="Without it one is made up")


class WorkflowIn(Strict):
    flow_name: Name = Field("", description="Without it the definition's own flow_name")
    upstream: Plain | None = Field(
        None, description="Name of the upstream; without it the default one, or the one that the workflow has"
    )
    definition: dict[str, JsonValue] = Field(description="A masked secret may come back masked: it stays what it was")
    description: Plain = ""


class Page(Schema):
    cursor: str | None = Field(None, description="next_cursor of the page before")
    limit: int = Field(50, ge=1, le=200)


class TaskPage(Page):
    limit: int = Field(200, ge=1, le=1000)


class RunFilter(Page):
    status: Annotated[list[RunStatus], BeforeValidator(_split)] = Field(
        [], description="May be repeated, or separated by commas"
    )
    flow_name: Plain = Field("", description="Exactly this flow")
    q: Plain = Field("", description="Text in the flow's name, the run's name or the error")
    since: When | None = Field(None, description="Created at this time or later; ISO 8601")
    until: When | None = Field(None, description="Created before this time; ISO 8601")


class EventFilter(Schema):
    after: int = Field(0, ge=0, le=2**31 - 1, description="Only events with a greater seq")
    limit: int | None = Field(None, ge=1, le=1000, description="200 when absent; with NDJSON all when absent")


class ListFilter(Schema):
    after: int = Field(0, ge=0, le=2**63 - 1, description="Only items with a greater id")
    limit: int = Field(200, ge=1, le=200)


# --- what calls answer ---------------------------------------------------------------------------------


class StepOut(Schema):
    current: int
    total: int | None = Field(description="null while the number of tasks is not known")
    name: str | None


class ProgressOut(Schema):
    completed: int
    total: int | None
    fraction: float | None = Field(description="0 to 1")
    eta_seconds: float | None
    eta_low: float | None
    eta_high: float | None


class RunOut(Schema):
    id: int
    upstream: str
    flow_name: str
    run_name: str
    status: RunStatus
    step: StepOut
    progress: ProgressOut
    last_seq: int
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    execution_time: float | None = Field(description="Seconds")
    error: Any = Field(description="{type, message, code}, or null")
    output: Any = Field(description="null in lists, and until the run has succeeded")
    connection: Literal["waiting", "connecting", "live", "reconnecting", "closed"]
    gaps: int = Field(description="How many times nobody was connected")
    rejected: int = Field(description="How many frames are in quarantine")
    conflict: bool = Field(description="Contradictory terminal events came")
    inferred: bool = Field(description="The end comes from task-status, not from an event")
    attached: bool = Field(description="Started elsewhere")
    notice: str
    retry_of: int | None
    created_by: str | None
    url: str


class RunsOut(Schema):
    items: list[RunOut]
    next_cursor: str | None


class AttemptOut(Schema):
    started_at: Moment | None
    finished_at: Moment | None
    status: TaskStatus
    inferred: bool


class TaskOut(Schema):
    key: str
    name: str
    status: TaskStatus
    attempts: list[AttemptOut]
    started_at: Moment | None
    finished_at: Moment | None
    duration: float | None = Field(description="Seconds, of the last attempt")
    usual_duration: float | None
    inferred: bool
    error: Any


class TasksOut(Schema):
    items: list[TaskOut]
    next_cursor: str | None


class EventOut(Schema):
    seq: int
    event_type: str
    task_id: str
    task_name: str
    timestamp: Moment | None = Field(description="As the upstream gave it; null where that is no time")
    received_at: Moment
    receipts: int
    payload: Any = Field(description="The masked frame")


class EventsOut(Schema):
    items: list[EventOut]
    next_after: int | None = Field(description="`after` for the next page; null when nothing more is stored now")


class GapOut(Schema):
    id: int
    reason: Literal["disconnected", "late", "takeover"]
    detail: str
    after_seq: int
    started_at: Moment | None = Field(description="null: since before the run was known")
    ended_at: Moment | None = Field(description="null: still open")


class RejectedOut(Schema):
    id: int
    reason: str
    detail: str
    preview: str = Field(description="Masked, at most 64 KB")
    size: int = Field(description="Bytes")
    count: int
    first_at: Moment
    last_at: Moment


class WorkflowOut(Schema):
    id: int
    flow_name: str
    upstream: str
    description: str
    definition: Any = Field(description="Masked; null in lists")
    tasks_total: int
    created_at: Moment
    updated_at: Moment
    url: str


class WorkflowsOut(Schema):
    items: list[WorkflowOut]
    next_cursor: str | None


class UpstreamOut(Schema):
    name: str


class UpstreamsOut(Schema):
    items: list[UpstreamOut]
