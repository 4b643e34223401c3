"""The tables and the named queries. Rows of runs, tasks, events and streams are written by runs/store.py alone.

Times of what the upstream reports (Event, Task, Gap) are epoch seconds as floats, as the upstream sends them; times of
what happens here (created, beaten, leased) are datetimes or epoch seconds by the database's clock.
"""

from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Case, Count, F, Func, Min, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone

from runs.fields import JSONText, SearchField

NEWEST_FRAMES = 500  # of the quarantine tell which reasons there are


class EpochNow(Func):
    """The database's own clock in epoch seconds: leases are compared by it, never by a worker's clock."""

    output_field = models.FloatField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, tuple[Any, ...]]:
        return "((julianday('now') - 2440587.5) * 86400.0)", ()

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> tuple[str, tuple[Any, ...]]:
        return "EXTRACT(EPOCH FROM clock_timestamp())::double precision", ()


class Upstream(models.Model):
    """An orchestrator connection."""

    name = models.CharField(max_length=100, unique=True)
    api_url = models.CharField(max_length=500, help_text="Up to and without /run-dag/")
    socket_url = models.CharField(max_length=500, help_text="Up to and without /ws/…")
    studio_url = models.CharField(max_length=500, blank=True, help_text="Up to and without /v3/workflows")
    key_sealed = models.TextField(blank=True, editable=False)
    key_hint = models.CharField(max_length=4, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Workflow(models.Model):
    """A definition that can be launched. `definition` is masked; `sealed` is the encrypted original for launching."""

    upstream = models.ForeignKey(Upstream, models.PROTECT, related_name="workflows")
    flow_name = models.CharField(max_length=300)
    description = models.TextField(blank=True)
    definition = JSONText()
    sealed = models.TextField(editable=False)
    tasks_total = models.IntegerField()
    version = models.IntegerField(default=1, db_default=1, help_text="The number of this definition among its versions")
    deadline_seconds = models.FloatField(null=True, help_text="A run that takes longer is overdue")
    retry_limit = models.IntegerField(default=0, help_text="How often a run that failed is launched again by itself")
    retry_pause = models.FloatField(default=30.0, help_text="Seconds before the first retry; doubled before each next")
    retry_on = JSONText(default=list, help_text="Types of the errors after which a run is launched again")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upstream", "flow_name"], name="workflow_name")]

    def __str__(self) -> str:
        return self.flow_name

    def get_absolute_url(self) -> str:
        return reverse("workflow", args=[self.pk])


class WorkflowVersion(models.Model):
    """A definition that a workflow has or had; the highest number is the present one. Never changed, and in the end
    removed, by runs/catalogue.py.
    """

    workflow = models.ForeignKey(Workflow, models.CASCADE, related_name="versions", db_index=False)
    number = models.IntegerField()
    definition = JSONText(help_text="Masked")
    sealed = models.TextField(editable=False)
    change = models.TextField(blank=True, help_text="What is not as in the version before, and where it came from")
    saved_at = models.DateTimeField(default=timezone.now)
    saved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workflow", "number"], name="workflow_version")]

    def __str__(self) -> str:
        return f"version {self.number} of workflow {self.workflow_id}"

    def get_absolute_url(self) -> str:
        return reverse("workflow-version", args=[self.workflow_id, self.number])


class RunQuerySet(models.QuerySet["Run"]):
    def listed(self) -> Self:
        """Newest first, with what a list row needs and nothing else. Which ones a list shows: runs/listing.py."""
        return self.select_related("upstream", "created_by", "stream").order_by("-created_at", "-id")

    def unfinished(self) -> list[dict[str, Any]]:
        """How many have not ended: [{status, runs, are_silent, are_overdue}]; a status that none has is left out."""
        silent = Q(silent_since__isnull=False, connection=Run.Connection.LIVE)
        going = self.filter(status__in=Run.GOING_ON).order_by().values("status")
        counted = going.annotate(
            runs=Count("pk"), are_silent=Count("pk", filter=silent), are_overdue=Count("pk", filter=Q(overdue=True))
        )
        return [dict(row) for row in counted]

    def queued_since(self) -> float | None:
        """Epoch seconds since which the run waits that has waited longest for a worker; None when none does.

        The pause of a retry is no waiting for a worker.
        """
        queued = self.filter(status=Run.Status.QUEUED).exclude(stream__claim_after__gt=EpochNow())
        first = queued.aggregate(
            asked=Min("created_at", filter=Q(stream__claim_after=None)), paused=Min("stream__claim_after")
        )
        times = [first["asked"] and first["asked"].timestamp(), first["paused"]]
        return min(filter(None, times), default=None)


class Run(models.Model):
    """One execution, addressed by upstream, flow name and run name."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        LAUNCHING = "launching"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        LOST = "lost"
        STOPPED = "stopped"
        REJECTED = "rejected"

    class Connection(models.TextChoices):
        """What our own connection to the upstream is doing for this run."""

        WAITING = "waiting"  # no worker has taken the run yet
        CONNECTING = "connecting"
        LIVE = "live"
        RECONNECTING = "reconnecting"
        CLOSED = "closed"  # nothing more is expected

    UNCONFIRMED = "Launch unconfirmed"  # how the notice of such a run begins
    GOING_ON = (Status.QUEUED, Status.LAUNCHING, Status.RUNNING)
    ENDED = (Status.SUCCEEDED, Status.FAILED, Status.LOST, Status.STOPPED, Status.REJECTED)

    upstream = models.ForeignKey(Upstream, models.PROTECT, related_name="runs")
    workflow = models.ForeignKey(Workflow, models.SET_NULL, null=True, related_name="runs")
    workflow_version = models.IntegerField(null=True, help_text="The version of the workflow that was launched")
    flow_name = models.CharField(max_length=300)
    run_name = models.CharField(max_length=300)
    attached = models.BooleanField(default=False, help_text="Started elsewhere, followed here")
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.QUEUED)
    notice = models.TextField(blank=True, help_text="What a person should know now: refusal, unconfirmed launch…")
    connection = models.CharField(max_length=12, choices=Connection.choices, default=Connection.WAITING)
    connection_since = models.FloatField(null=True, help_text="Epoch seconds")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    retry_of = models.ForeignKey("self", models.SET_NULL, null=True, related_name="retries")
    retry_number = models.IntegerField(default=0, help_text="Nth retry that was launched by itself; 0: by somebody")
    stop_requested = models.BooleanField(default=False)
    due_at = models.FloatField(
        null=True, help_text="Epoch seconds by the database's clock; see Workflow.deadline_seconds"
    )
    overdue = models.BooleanField(default=False, help_text="It had not ended by due_at")
    silent_since = models.FloatField(
        null=True, help_text="Epoch seconds of the last event; null unless none came for longer than usual"
    )

    started_at = models.FloatField(null=True, help_text="Epoch seconds, from the events")
    finished_at = models.FloatField(null=True, help_text="Epoch seconds, from the events")
    execution_time = models.FloatField(null=True, help_text="Seconds")
    inferred = models.BooleanField(default=False, help_text="The end comes from task-status, not from an event")
    conflict = models.BooleanField(default=False, help_text="Contradictory terminal events came")
    error = JSONText(null=True, help_text="{type, message, code}, shortened; the whole stands in the event error_seq")
    error_seq = models.IntegerField(null=True)
    output_seq = models.IntegerField(null=True)
    failure = models.ForeignKey("Failure", models.SET_NULL, null=True, related_name="runs", db_index=False)
    failure_number = models.IntegerField(null=True, help_text="It was the Nth run of its flow that failed so")

    planned = models.BooleanField(default=False, help_text="The number of tasks is known from the definition")
    tasks_total = models.IntegerField(default=0)
    tasks_pending = models.IntegerField(default=0)
    tasks_running = models.IntegerField(default=0)
    tasks_succeeded = models.IntegerField(default=0)
    tasks_failed = models.IntegerField(default=0)
    tasks_skipped = models.IntegerField(default=0)
    tasks_unknown = models.IntegerField(default=0)
    current_task = models.CharField(max_length=300, blank=True)

    forecast = JSONText(null=True, help_text="core.progress.Forecast of a run that goes on; null where none is made")

    last_seq = models.IntegerField(default=0)
    rev = models.IntegerField(default=0, help_text="Raised by every write to the run; what the pages synchronise on")
    reset_rev = models.IntegerField(default=0, help_text="A page older than this must be drawn anew")
    gap_count = models.IntegerField(default=0)
    rejected_count = models.IntegerField(default=0)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["upstream", "flow_name", "run_name"], name="run_address"),
        ]
        indexes = [
            models.Index(fields=["flow_name", "-id"], name="run_by_flow"),
            # What runs/listing.py reads by, each in the order of the list.
            models.Index(fields=["created_at", "id"], name="run_listed"),
            models.Index(fields=["status", "created_at", "id"], name="run_listed_by_status"),
            models.Index(fields=["flow_name", "created_at", "id"], name="run_listed_by_flow"),
            models.Index(fields=["flow_name", "status", "created_at", "id"], name="run_listed_by_flow_status"),
            models.Index(
                fields=["failure", "created_at", "id"],
                name="run_listed_by_failure",
                condition=Q(failure__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.flow_name} / {self.run_name}"

    def get_absolute_url(self) -> str:
        return reverse("run", args=[self.pk])

    @property
    def ended(self) -> bool:
        return self.status in self.ENDED

    @property
    def disconnected(self) -> bool:
        """The connection to the upstream was lost, at `connection_since`, and is tried again."""
        return not self.ended and self.connection == self.Connection.RECONNECTING

    @property
    def silent(self) -> bool:
        """Connected, and no event since `silent_since`. Who is not connected hears nothing: that is no silence."""
        return not self.ended and self.connection == self.Connection.LIVE and self.silent_since is not None

    @property
    def unconfirmed(self) -> bool:
        """The launch went out, and nobody knows whether it arrived."""
        return self.status == self.Status.LAUNCHING and self.notice.startswith(self.UNCONFIRMED)

    @property
    def waits_until(self) -> float | None:
        """Epoch seconds until which a retry waits for its follower; None for a run that waits for nothing.

        Reads the stream of a retry that is queued, unless it came with the run.
        """
        if self.status != self.Status.QUEUED or not self.retry_number:
            return None
        stream: Stream | None = getattr(self, "stream", None)
        return stream.claim_after if stream else None

    @property
    def first_id(self) -> int:
        """The run that its retries lead back to: itself, unless it is one of them."""
        return self.retry_of_id if self.retry_number and self.retry_of_id else self.pk

    def first_failed_task(self) -> "Task | None":
        """The task that failed first, which is what made the run fail."""
        return self.tasks.filter(status=Task.Status.FAILED).order_by("finished_at", "position").first()

    @property
    def tasks_completed(self) -> int:
        return self.tasks_succeeded + self.tasks_failed + self.tasks_skipped + self.tasks_unknown


class Launch(models.Model):
    """What a run was launched with. Apart from Run, so that lists never read it."""

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True, related_name="launch")
    definition = JSONText(help_text="Masked")
    inputs = JSONText(help_text="Masked")
    sealed = models.TextField(help_text="The encrypted body of run-dag: {definition, inputs}")
    sent_at = models.FloatField(null=True, help_text="Epoch seconds; set before the request goes out: none goes twice")
    task_id = models.CharField(max_length=200, blank=True, help_text="The upstream's name of the run for task-status")

    def __str__(self) -> str:
        return f"launch of run {self.run_id}"


class Task(models.Model):
    """One node of a run."""

    class Status(models.TextChoices):
        PENDING = "pending"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        SKIPPED = "skipped"
        UNKNOWN = "unknown"

    run = models.ForeignKey(Run, models.CASCADE, related_name="tasks", db_index=False)
    key = models.CharField(max_length=300)
    name = models.CharField(max_length=300)
    tag = models.CharField(max_length=300, blank=True)
    function = models.CharField(max_length=100, blank=True)
    depends = JSONText(default=list)
    position = models.IntegerField(help_text="Order on the page: planned order, then order of first appearance")
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.PENDING)
    inferred = models.BooleanField(default=False)
    attempts = JSONText(default=list, help_text="[{started_at, finished_at, status, inferred}]")
    started_at = models.FloatField(null=True)
    finished_at = models.FloatField(null=True)
    duration = models.FloatField(null=True, help_text="Seconds of the last attempt")
    usual_p50 = models.FloatField(
        null=True, help_text="Seconds that it usually took when this row came; null under three runs"
    )
    usual_p90 = models.FloatField(null=True, help_text="The same of nine in ten runs")
    error = JSONText(null=True, help_text="{type, message, code}, shortened")
    input_seq = models.IntegerField(null=True)
    output_seq = models.IntegerField(null=True, help_text="The event that carries the output")
    error_seq = models.IntegerField(null=True)
    rev = models.IntegerField(default=0, help_text="The run's rev when this row last changed")
    added_rev = models.IntegerField(default=0, help_text="The run's rev when this row came")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "key"], name="task_key")]
        indexes = [
            models.Index(fields=["run", "position"], name="task_by_position"),
            models.Index(fields=["run", "rev"], name="task_by_rev"),
            models.Index(fields=["name", "run"], name="task_failed", condition=Q(status="failed")),
        ]

    def __str__(self) -> str:
        return self.name


class UsualTimesQuerySet(models.QuerySet["UsualTimes"]):
    def of_runs(self, limit: int) -> list[tuple[str, str, list[list[Any]]]]:
        """(upstream's name, flow name, `whole`) of so many flows, those known longest: whose series stay."""
        rows = self.order_by("pk").values_list("upstream__name", "flow_name", "whole")
        return list(rows[:limit])


class UsualTimes(models.Model):
    """How long the last good runs of a flow took, and their tasks: see core/times.py. One row a flow."""

    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="+")
    flow_name = models.CharField(max_length=300)
    whole = JSONText(default=list, help_text="Of the runs: [[run, seconds or null]], the last ones, oldest first")
    tasks = JSONText(default=dict, help_text="Of each task by its name: [[run, seconds, or null where skipped]]")

    objects = UsualTimesQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upstream", "flow_name"], name="usual_times_of_flow")]

    def __str__(self) -> str:
        return f"usual times of {self.flow_name}"


class Failure(models.Model):
    """One way in which runs of a flow fail, told by its fingerprint, and how many did. Counted, never recounted."""

    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="+", db_index=False)
    flow_name = models.CharField(max_length=300)
    fingerprint = models.CharField(max_length=32, help_text="See runs/core/fingerprints.py")
    task_name = models.CharField(max_length=300, blank=True, help_text="The task that failed first; '' when none did")
    error = JSONText(null=True, help_text="{type, message, code} of the first run that failed so, shortened")
    count = models.IntegerField(default=0)
    first_at = models.FloatField(help_text="Epoch seconds")
    last_at = models.FloatField(help_text="Epoch seconds")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["upstream", "flow_name", "fingerprint"], name="failure_of_flow"),
        ]

    def __str__(self) -> str:
        return f"{self.fingerprint} of {self.flow_name} x{self.count}"


class SearchText(models.Model):
    """What a run is found by: its names, inputs and error, masked, as runs/core/searching.py puts them together.

    On SQLite a virtual table of FTS5, whose key can have no other name than rowid.
    """

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True, related_name="+", db_column="rowid")
    text = SearchField()

    def __str__(self) -> str:
        return f"text of run {self.run_id}"


class SavedView(models.Model):
    """Filters of the runs list that somebody has given a name."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="saved_views")
    name = models.CharField(max_length=60)
    query = models.TextField(help_text="What stands behind ? in the address of the list")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="saved_view_name")]

    def __str__(self) -> str:
        return self.name


class ShareLinkQuerySet(models.QuerySet["ShareLink"]):
    def good(self) -> Self:
        """Links that still show something."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None)


class ShareLink(models.Model):
    """Shows one run, or no more than the badge of one workflow's latest run, to whoever knows its text. Of that only a
    SHA-256 is stored. Written by runs/sharing.py.
    """

    run = models.ForeignKey(Run, models.CASCADE, null=True, related_name="share_links")
    workflow = models.ForeignKey(Workflow, models.CASCADE, null=True, related_name="share_links")
    name = models.CharField(max_length=100, blank=True, help_text="What it is for")
    prefix = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    objects = ShareLinkQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(run=None, workflow__isnull=False) | Q(run__isnull=False, workflow=None),
                name="share_link_of_one",
            )
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…"

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


class EventQuerySet(models.QuerySet["Event"]):
    def after(self, run_id: int, seq: int, limit: int) -> Self:
        return self.filter(run_id=run_id, seq__gt=seq).order_by("seq")[:limit]

    def heads(self) -> Self:
        """Without payloads: what an event log shows."""
        return self.defer("payload")


class Event(models.Model):
    """One stored message of the stream; `seq` is gapless within a run, in order of receipt."""

    class Source(models.TextChoices):
        STREAM = "stream"
        STATUS = "status"  # an answer of task-status, kept as an event of our own

    pk = models.CompositePrimaryKey("run_id", "seq")
    run = models.ForeignKey(Run, models.CASCADE, related_name="events", db_index=False)
    seq = models.IntegerField()
    source = models.CharField(max_length=8, choices=Source.choices, default=Source.STREAM)
    event_type = models.CharField(max_length=100)
    task_key = models.CharField(max_length=300, blank=True)
    task_id = models.CharField(max_length=300, blank=True)
    task_name = models.CharField(max_length=300, blank=True)
    timestamp = models.FloatField(null=True, help_text="Epoch seconds as the upstream gave them; null when unusable")
    received_at = models.FloatField(help_text="Epoch seconds")
    digest = models.CharField(max_length=32, help_text="Keyed hash of the unmasked content, hexadecimal")
    occurrence = models.IntegerField(default=0, help_text="Nth genuine repeat; above 0 only without a timestamp")
    receipts = models.IntegerField(default=1)
    flags = models.CharField(max_length=100, blank=True, help_text="Comma-separated: duplicate-keys, escaped, cut…")
    payload = models.TextField(help_text="The masked frame as JSON text")

    objects = EventQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.seq} {self.event_type}"


class Gap(models.Model):
    """A time in which nobody was connected: what the upstream sent then may be missing."""

    class Reason(models.TextChoices):
        DISCONNECTED = "disconnected"
        LATE = "late"  # attached, or connected, after the run had begun
        TAKEOVER = "takeover"  # the worker that followed it went away

    run = models.ForeignKey(Run, models.CASCADE, related_name="gaps")
    reason = models.CharField(max_length=12, choices=Reason.choices)
    detail = models.CharField(max_length=300, blank=True)
    after_seq = models.IntegerField()
    started_at = models.FloatField(null=True, help_text="Epoch seconds; null: since before we knew of the run")
    ended_at = models.FloatField(null=True, help_text="Epoch seconds; null: still open")

    def __str__(self) -> str:
        return f"{self.reason} after {self.after_seq}"


class RejectedQuerySet(models.QuerySet["Rejected"]):
    def listed(self) -> Self:
        """Newest first, of all runs, with what says whose they are, and without what they held."""
        return self.select_related("run", "run__upstream").defer("preview").order_by("-id")

    def matching(self, *, reason: str = "", flow_name: str = "", text: str = "") -> Self:
        """The filters of the quarantine; text is looked for in the detail."""
        frames = self
        if reason:
            frames = frames.filter(reason=reason)
        if flow_name:
            frames = frames.filter(run__flow_name=flow_name)
        if text:
            frames = frames.filter(detail__icontains=text)
        return frames

    def reasons(self) -> list[str]:
        """The reasons among the newest frames, by name."""
        return sorted(set(self.order_by("-id").values_list("reason", flat=True)[:NEWEST_FRAMES]))


class Rejected(models.Model):
    """A frame kept in quarantine: it could not be an event of this run. One row for each distinct content."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="rejected")
    digest = models.CharField(max_length=32)
    reason = models.CharField(max_length=40)
    detail = models.CharField(max_length=300, blank=True)
    preview = models.TextField(help_text="Masked, at most 64 KB")
    size = models.IntegerField(help_text="Bytes")
    count = models.IntegerField(default=1)
    first_at = models.FloatField()
    last_at = models.FloatField()

    objects = RejectedQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "digest", "reason"], name="rejected_content")]
        indexes = [models.Index(fields=["reason", "-id"], name="rejected_by_reason")]

    def __str__(self) -> str:
        return f"{self.reason} x{self.count}"


def _place() -> Case:
    """The place of a stream in words, by the database's clock."""
    return Case(
        When(claim_after__gt=EpochNow(), then=Value("waiting")),
        When(lease_until__gte=EpochNow(), then=Value("followed")),
        default=Value("unfollowed"),
    )


class StreamQuerySet(models.QuerySet["Stream"]):
    def claimable(self) -> Self:
        """Streams that want a follower now and have none whose lease is good. No lease at all counts as expired."""
        return self.filter(
            Q(lease_until=None) | Q(lease_until__lt=EpochNow()),
            Q(claim_after=None) | Q(claim_after__lte=EpochNow()),
            active=True,
        ).order_by("run_id")

    def listed(self, place: str = "") -> Self:
        """The active ones (at this place), newest run first, each with its run and its `place`, one of PLACES."""
        found = (
            self.filter(active=True).select_related("run", "run__upstream").annotate(place=_place()).order_by("-run_id")
        )
        return found.filter(place=place) if place else found

    def kinds(self) -> list[dict[str, Any]]:
        """How many active ones there are: [{place, owner, connection, streams}]."""
        kinds = self.filter(active=True).order_by().values("owner", place=_place(), connection=F("run__connection"))
        return [dict(kind) for kind in kinds.annotate(streams=Count("pk"))]

    def held(self, owner: str, epoch: int) -> Self:
        """The fence: matches only while this owner's claim of this epoch stands."""
        return self.filter(owner=owner, epoch=epoch)


class Stream(models.Model):
    """The lease: who follows a run. What the follower's connection is doing stands in `Run.connection`."""

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True, related_name="stream")
    PLACES = ("unfollowed", "waiting", "followed")  # nobody has a good lease; a retry waits; somebody has one

    active = models.BooleanField(default=True, help_text="Somebody should follow this run")
    owner = models.CharField(max_length=100, blank=True)
    epoch = models.IntegerField(default=0)
    lease_until = models.FloatField(null=True, help_text="Epoch seconds by the database's clock")
    claim_after = models.FloatField(null=True, help_text="Epoch seconds: a retry waits until then for its follower")
    alive_at = models.FloatField(null=True, help_text="When the last follower was last known to be connected")
    last_frame_at = models.FloatField(null=True, help_text="When a frame was last kept, as an event or in quarantine")

    objects = StreamQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["lease_until"], name="stream_claimable", condition=Q(active=True)),
            models.Index(fields=["owner"], name="stream_owner", condition=Q(active=True)),
            models.Index(fields=["-run"], name="stream_active", condition=Q(active=True)),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} by {self.owner or 'nobody'}"


class WorkerQuerySet(models.QuerySet["Worker"]):
    def listed(self) -> Self:
        """By name, each with `age`, the seconds since its beat, and `following`, how many runs it has the lease of."""
        leases = Stream.objects.filter(active=True, owner=OuterRef("name"), lease_until__gte=EpochNow()).order_by()
        following = Subquery(leases.values("owner").annotate(runs=Count("pk")).values("runs"))
        return self.annotate(age=EpochNow() - F("beat_at"), following=Coalesce(following, 0)).order_by("name")


class Worker(models.Model):
    """A worker process; readiness looks at its beat."""

    LATEST_BEAT = 30.0  # seconds without one after which it counts as gone; workers beat every 5

    name = models.CharField(max_length=100, primary_key=True)
    started_at = models.FloatField()
    beat_at = models.FloatField(help_text="Epoch seconds by the database's clock")
    figures = JSONText(null=True, help_text="What it has written since it started: core.figures.Figures")

    objects = WorkerQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name


class Happening(models.Model):
    """What befell a run and somebody may want to be told of: written with the change that brings it, and removed by
    whoever has taken it up. Nothing in it says who is told, or how.
    """

    class Kind(models.TextChoices):
        TASK_FAILED = "task-failed"  # one failed attempt
        FAILED = "run-failed"
        REFUSED = "run-refused"  # the upstream would not launch it
        LOST = "run-lost"
        SUCCEEDED = "run-succeeded"
        SILENT = "run-silent"
        OVERDUE = "run-overdue"

    run = models.ForeignKey(Run, models.CASCADE, related_name="happenings")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    task_key = models.CharField(max_length=300, blank=True)
    seq = models.IntegerField(null=True, help_text="The event that says it; null where none does")
    error = JSONText(null=True, help_text="{type, message, code}, masked and shortened")
    at = models.FloatField(help_text="Epoch seconds, by the upstream's clock where an event says it")

    def __str__(self) -> str:
        return f"{self.kind} of run {self.run_id}"


class UnsentTraceQuerySet(models.QuerySet["UnsentTrace"]):
    def due(self) -> Self:
        """Those that want a try now and that nobody is trying."""
        return self.filter(Q(lease_until=None) | Q(lease_until__lt=EpochNow()), next_at__lte=EpochNow())

    def kinds(self) -> dict[str, int]:
        """How many there are: not tried yet, tried in vain, and refused, which are not tried again."""
        tried = Q(next_at__isnull=False, attempts__gt=0, answer__gt="")
        return self.aggregate(
            waiting=Count("pk", filter=Q(next_at__isnull=False) & ~tried),
            failing=Count("pk", filter=tried),
            refused=Count("pk", filter=Q(next_at=None)),
        )


class UnsentTrace(models.Model):
    """An ended run whose trace is still to be sent: written with the change that ends it, removed when somebody has
    taken it. `attempts` is its epoch, too: it goes up with every claim.
    """

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True, related_name="+")
    attempts = models.IntegerField(default=0)
    next_at = models.FloatField(null=True, help_text="Epoch seconds: when the next attempt is due; null: refused")
    owner = models.CharField(max_length=100, blank=True)
    lease_until = models.FloatField(null=True, help_text="Epoch seconds: until then `owner` is trying")
    answer = models.CharField(max_length=500, blank=True, help_text="What the last attempt came to")

    objects = UnsentTraceQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["next_at"], name="unsent_trace_due", condition=Q(next_at__isnull=False))]

    def __str__(self) -> str:
        return f"trace of run {self.run_id}"
