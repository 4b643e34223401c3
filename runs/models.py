"""The tables and the named queries. Rows of runs, tasks, events and streams are written by runs/store.py alone.

Times of what the upstream reports (Event, Task, Gap) are epoch seconds as floats, as the upstream sends them; times of
what happens here (created, beaten, leased) are datetimes or epoch seconds by the database's clock.
"""

from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Func, Q
from django.urls import reverse

from runs.fields import JSONText


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
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upstream", "flow_name"], name="workflow_name")]

    def __str__(self) -> str:
        return self.flow_name

    def get_absolute_url(self) -> str:
        return reverse("workflow", args=[self.pk])


class RunQuerySet(models.QuerySet["Run"]):
    def listed(self) -> Self:
        """Newest first, with what a list row needs and nothing else."""
        return self.select_related("upstream", "created_by").order_by("-id")

    def matching(
        self,
        *,
        statuses: list[str] | None = None,
        flow_name: str = "",
        text: str = "",
        since: Any = None,
        until: Any = None,
    ) -> Self:
        """The filters of the runs list; text is looked for in flow name, run name and the error's message."""
        runs = self
        if statuses:
            runs = runs.filter(status__in=statuses)
        if flow_name:
            runs = runs.filter(flow_name=flow_name)
        if text:
            runs = runs.filter(Q(flow_name__icontains=text) | Q(run_name__icontains=text) | Q(error__icontains=text))
        if since:
            runs = runs.filter(created_at__gte=since)
        if until:
            runs = runs.filter(created_at__lt=until)
        return runs


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

    ENDED = (Status.SUCCEEDED, Status.FAILED, Status.LOST, Status.STOPPED, Status.REJECTED)

    upstream = models.ForeignKey(Upstream, models.PROTECT, related_name="runs")
    workflow = models.ForeignKey(Workflow, models.SET_NULL, null=True, related_name="runs")
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
    stop_requested = models.BooleanField(default=False)
    deadline_at = models.FloatField(null=True, help_text="Epoch seconds; after it an unfinished run is lost")

    started_at = models.FloatField(null=True, help_text="Epoch seconds, from the events")
    finished_at = models.FloatField(null=True, help_text="Epoch seconds, from the events")
    execution_time = models.FloatField(null=True, help_text="Seconds")
    inferred = models.BooleanField(default=False, help_text="The end comes from task-status, not from an event")
    conflict = models.BooleanField(default=False, help_text="Contradictory terminal events came")
    error = JSONText(null=True, help_text="{type, message, code}, shortened; the whole stands in the event error_seq")
    error_seq = models.IntegerField(null=True)
    output_seq = models.IntegerField(null=True)

    planned = models.BooleanField(default=False, help_text="The number of tasks is known from the definition")
    tasks_total = models.IntegerField(default=0)
    tasks_pending = models.IntegerField(default=0)
    tasks_running = models.IntegerField(default=0)
    tasks_succeeded = models.IntegerField(default=0)
    tasks_failed = models.IntegerField(default=0)
    tasks_skipped = models.IntegerField(default=0)
    tasks_unknown = models.IntegerField(default=0)
    current_task = models.CharField(max_length=300, blank=True)

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
            models.Index(fields=["status", "-id"], name="run_by_status"),
            models.Index(fields=["flow_name", "-id"], name="run_by_flow"),
            models.Index(fields=["created_at"], name="run_by_created"),
        ]

    def __str__(self) -> str:
        return f"{self.flow_name} / {self.run_name}"

    def get_absolute_url(self) -> str:
        return reverse("run", args=[self.pk])

    @property
    def ended(self) -> bool:
        return self.status in self.ENDED

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
        ]

    def __str__(self) -> str:
        return self.name


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

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "digest", "reason"], name="rejected_content")]

    def __str__(self) -> str:
        return f"{self.reason} x{self.count}"


class StreamQuerySet(models.QuerySet["Stream"]):
    def claimable(self) -> Self:
        """Streams that want a follower and have none whose lease is good. No lease at all counts as expired."""
        return self.filter(Q(lease_until=None) | Q(lease_until__lt=EpochNow()), active=True).order_by("run_id")

    def held(self, owner: str, epoch: int) -> Self:
        """The fence: matches only while this owner's claim of this epoch stands."""
        return self.filter(owner=owner, epoch=epoch)


class Stream(models.Model):
    """The lease: who follows a run."""

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True, related_name="stream")
    active = models.BooleanField(default=True, help_text="Somebody should follow this run")
    owner = models.CharField(max_length=100, blank=True)
    epoch = models.IntegerField(default=0)
    lease_until = models.FloatField(null=True, help_text="Epoch seconds by the database's clock")
    alive_at = models.FloatField(null=True, help_text="When the last follower was last known to be connected")

    objects = StreamQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["lease_until"], name="stream_claimable", condition=Q(active=True)),
            models.Index(fields=["owner"], name="stream_owner", condition=Q(active=True)),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} by {self.owner or 'nobody'}"


class Worker(models.Model):
    """A worker process; readiness looks at its beat."""

    name = models.CharField(max_length=100, primary_key=True)
    started_at = models.FloatField()
    beat_at = models.FloatField(help_text="Epoch seconds by the database's clock")

    def __str__(self) -> str:
        return self.name
