"""What the calls take and answer, for validation and for OpenAPI. Rows are mapped by runs/facts.py."""

import re
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


def _no_number(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?[\d_.]+\s*", value):  # taken as seconds or milliseconds, else
        raise ValueError("a time is written as in 2026-01-31T12:00:00Z")
    return value


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


Plain = Annotated[str, AfterValidator(_plain), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})]
Name = Annotated[Plain, Field(max_length=300)]
Address = Annotated[Name, Field(min_length=1)]  # a name that has to be there
When = Annotated[
    datetime,
    BeforeValidator(_no_number),
    AfterValidator(_utc),
    Field(description="ISO 8601; UTC when no zone is given"),
]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="ISO 8601, UTC")]
RunStatus = Literal["queued", "launching", "running", "succeeded", "failed", "lost", "stopped", "rejected"]
Connection = Literal["waiting", "connecting", "live", "reconnecting", "closed"]
TaskStatus = Literal["pending", "running", "succeeded", "failed", "skipped", "unknown"]
assert set(RunStatus.__args__) == set(Run.Status.values)  # type: ignore[attr-defined]


class Strict(Schema):
    """A body in which a field that nobody reads is a mistake."""

    model_config = ConfigDict(extra="forbid")


# --- what calls take -----------------------------------------------------------------------------------


class LaunchHeaders(Schema):
    key: str = Field(
        "",
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description="Any text that is new for each launch. The same request with the same key within 24 hours makes no "
        "second run and is answered with the first; another request with it is refused",
    )


class LaunchIn(Strict):
    flow_name: Address = Field(description="The workflow to launch; with `definition`, the name of the flow")
    run_name: Name = Field("", description="Must be new for this flow; without it one is made up")
    inputs: dict[str, JsonValue] | None = Field(None, description="Merged over the definition's default_inputs")
    upstream: Plain | None = Field(None, description="Name of the upstream; without it the default one")
    definition: dict[str, JsonValue] | None = Field(None, description="Launched in place of a stored workflow")


class AttachIn(Strict):
    flow_name: Address
    run_name: Address
    upstream: Plain | None = Field(None, description="Name of the upstream; without it the default one")


class RetryIn(Strict):
    inputs: dict[str, JsonValue] | None = Field(None, description="Merged over those of the run")
    run_name: Name = Field("", description="Without it one is made up")


class LinkIn(Strict):
    name: Annotated[Plain, Field(max_length=100)] = Field("", description="What it is for")
    days: Annotated[int, Field(ge=1, le=3650)] | None = Field(
        None, description="For how long it is good; null: until it is revoked"
    )


class Watching(Strict):
    """How the runs of a workflow are watched. What is left out stays as it is; of a new workflow it is the default."""

    deadline_seconds: float | None = Field(
        None, description="A run that has not ended by then, counted from its launch, is overdue; null: no deadline"
    )
    retry_limit: int = Field(0, description="How often a run that failed is launched again by itself, at most 20")
    retry_pause: float = Field(30.0, description="Seconds before the first retry; doubled before each next")
    retry_on: list[Plain] = Field(
        [], description="Types of errors, of the run or of one of its tasks, after which it is launched again"
    )


class WorkflowIn(Watching):
    flow_name: Name = Field("", description="Without it the definition's own flow_name")
    upstream: Plain | None = Field(
        None, description="Name of the upstream; without it the default one, or the one that the workflow has"
    )
    definition: dict[str, JsonValue] = Field(description="A masked secret may come back masked: it stays what it was")
    input_schema: dict[str, JsonValue] | None = Field(
        None,
        description="A JSON Schema of the inputs; it takes the place of an input_schema in the definition",
    )
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
    q: Plain = Field(
        "",
        description="Words, each of which stands in the flow's name, the run's name, the inputs or the error; one of a "
        "letter or two stands at the beginning of a word there",
    )
    failure: int | None = Field(None, ge=1, le=2**63 - 1, description="Runs that failed in the way with this number")
    since: When | None = Field(None, description="Created at this time or later; ISO 8601")
    until: When | None = Field(None, description="Created before this time; ISO 8601")


class ComparisonFilter(TaskPage):
    only_differences: bool = Field(False, description="Without tasks that ended alike in about the same time")


class RejectedFilter(Page):
    reason: Plain = Field("", description="Exactly this reason")
    flow_name: Plain = Field("", description="Exactly this flow")


class StreamPage(Page):
    limit: int = Field(200, ge=1, le=1000)


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
    eta_seconds: float | None = Field(description="Seconds left, from the medians of past runs; null under three")
    eta_low: float | None = Field(description="The same")
    eta_high: float | None = Field(description="Seconds left, from the 90th percentiles")
    overrunning: bool = Field(description="The run, or one of its tasks, takes longer than nine in ten did")


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
    connection: Connection
    silent_since: Moment | None = Field(
        description="The last event, where none has come for longer than usual; of weight only while connection is live"
    )
    overdue: bool = Field(description="It had not ended by due_at; it is followed all the same")
    due_at: Moment | None = Field(description="The deadline of its workflow, counted from the launch")
    gaps: int = Field(description="How many times nobody was connected")
    rejected: int = Field(description="How many frames are in quarantine")
    conflict: bool = Field(description="Contradictory terminal events came")
    inferred: bool = Field(description="The end comes from task-status, not from an event")
    attached: bool = Field(description="Started elsewhere")
    notice: str
    retry_of: int | None = Field(description="The run that this one was launched again for")
    retry_number: int = Field(description="Which retry of retry_of this is that was launched by itself; 0: by somebody")
    workflow_version: int | None = Field(description="The version of its workflow that was launched")
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
    usual_duration: float | None = Field(description="Seconds, the median of past runs; null under three")
    inferred: bool
    error: Any


class TasksOut(Schema):
    items: list[TaskOut]
    next_cursor: str | None


class SideOut(Schema):
    key: str
    status: TaskStatus
    attempts: int
    duration: float | None = Field(description="Seconds, of the last attempt; null while it has not ended")


class PairOut(Schema):
    name: str
    change: Literal["state", "before", "after", "attempts", "longer", "shorter"] | None = Field(
        description="What differs, of several things the first of these: the state; a task that only one run has; the "
        "number of attempts; a duration by a tenth and by 0.1 seconds or more"
    )
    difference: float | None = Field(description="Seconds that it took longer in `after`; null where that is not known")
    before: SideOut | None
    after: SideOut | None


class PlaceOut(Schema):
    place: str = Field(description="As `inputs.day` or `tasks[fetch].params.url`")
    change: Literal["added", "removed", "changed"]
    before: Any
    after: Any


class LaunchedOut(Schema):
    places: list[PlaceOut] = Field(description="Where inputs and definitions are not the same, masked; at most 500")
    more: bool = Field(description="There are others")


class ComparisonOut(Schema):
    before: RunOut
    after: RunOut
    launched: LaunchedOut | None = Field(description="null where not both were launched here")
    items: list[PairOut] = Field(description="The tasks of both, in the order of the plan")
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


class LinkOut(Schema):
    id: int
    name: str
    prefix: str = Field(description="How its text begins")
    made_by: str | None
    created_at: Moment
    expires_at: Moment | None
    last_used_at: Moment | None


class NewLinkOut(LinkOut):
    url: str
    embed_url: str
    badge_url: str


class LinksOut(Schema):
    items: list[LinkOut]


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


class RejectedAnywhereOut(RejectedOut):
    run: int
    upstream: str
    flow_name: str
    run_name: str


class RejectedPageOut(Schema):
    items: list[RejectedAnywhereOut]
    next_cursor: str | None


class StreamOut(Schema):
    run: int
    upstream: str
    flow_name: str
    run_name: str
    status: RunStatus
    place: Literal["unfollowed", "waiting", "followed"] = Field(
        description="unfollowed: no worker has a good lease; waiting: a retry in its pause; followed: a worker has one"
    )
    worker: str | None = Field(description="Who has, or had last, the lease")
    epoch: int
    lease_until: Moment | None
    claim_after: Moment | None = Field(description="Of a retry: when its pause is over")
    connection: Connection
    connection_since: Moment | None
    last_frame_at: Moment | None = Field(description="When a frame was last kept, as an event or in quarantine")
    alive_at: Moment | None = Field(description="When a follower was last known to be connected")


class WorkerOut(Schema):
    name: str
    started_at: Moment
    beat_at: Moment
    beat_age: float = Field(description="Seconds since then, by the database's clock; workers beat every 5")
    following: int = Field(description="How many runs it has the lease of")


class StreamsOut(Schema):
    items: list[StreamOut]
    next_cursor: str | None
    workers: list[WorkerOut]


class WorkflowOut(Schema):
    id: int
    flow_name: str
    upstream: str
    description: str
    definition: Any = Field(description="Masked; null in lists")
    input_schema: Any = Field(description="The JSON Schema of the inputs, masked; null without one, and in lists")
    version: int = Field(description="Goes up by one with every change of the definition")
    tasks_total: int
    deadline_seconds: float | None
    retry_limit: int
    retry_pause: float
    retry_on: list[str]
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
