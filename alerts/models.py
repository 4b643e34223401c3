"""Rules and channels, the outbox of what is to be said, and what has to be remembered to decide that.

Times that are compared (next tries, leases, debounce) are epoch seconds by the database's clock.
"""

from typing import Self

from django.db import models
from django.db.models import Count, Q

from runs.fields import JSONText
from runs.models import EpochNow, Run, Upstream


class Kind(models.TextChoices):
    """What a rule can ask for."""

    TASK_FAILED = "task-failed", "A task failed"
    RUN_FAILED = "run-failed", "A run failed, or the upstream refused to launch it"
    RUN_LOST = "run-lost", "A run was lost"
    SILENT = "run-silent", "A run is silent"
    OVERDUE = "run-overdue", "A run is overdue"
    RECOVERED = "recovered", "A flow recovered: its first success after a failure"
    NEW_FAILURE = "new-failure", "A kind of failure that the flow never had before"


class Channel(models.Model):
    """Where messages go. Its address and its secret are sealed; pages show `hint` only."""

    class Means(models.TextChoices):
        WEBHOOK = "webhook", "Signed webhook"
        APPRISE = "apprise", "Apprise"

    name = models.CharField(max_length=100, unique=True)
    means = models.CharField(max_length=10, choices=Means.choices)
    sealed = models.TextField(help_text="Encrypted {url, secret}; secret signs the requests of a webhook")
    hint = models.CharField(max_length=200, help_text="So much of the address as anybody may see")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Rule(models.Model):
    """Which happenings of which flows are said, and where."""

    name = models.CharField(max_length=100, unique=True)
    enabled = models.BooleanField(default=True)
    flows = JSONText(default=list, help_text="Flow names, * stands for anything; empty: all flows")
    kinds = JSONText(default=list, help_text="Values of Kind")
    channels = models.ManyToManyField(Channel, related_name="rules")
    debounce_minutes = models.IntegerField(
        default=10, help_text="At most one message for a flow and kind in so many minutes; 0: every one"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


# --- what has to be remembered --------------------------------------------------------------------------------


class FailingFlow(models.Model):
    """A flow whose last ended run was no success: the next success is its recovery."""

    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="+")
    flow_name = models.CharField(max_length=300)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["upstream", "flow_name"], name="failing_flow")]

    def __str__(self) -> str:
        return self.flow_name


class KnownFailure(models.Model):
    """A kind of failure that a flow has had before."""

    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="+")
    flow_name = models.CharField(max_length=300)
    fingerprint = models.CharField(max_length=32)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["fingerprint", "upstream", "flow_name"], name="known_failure"),
        ]

    def __str__(self) -> str:
        return f"{self.fingerprint} of {self.flow_name}"


class Said(models.Model):
    """When a rule last spoke of a flow and kind, and how much it has held back since."""

    rule = models.ForeignKey(Rule, models.CASCADE, related_name="said")
    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="+")
    flow_name = models.CharField(max_length=300)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    said_at = models.FloatField()
    held_back = models.IntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule", "upstream", "flow_name", "kind"], name="said_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.flow_name}"


# --- the outbox -----------------------------------------------------------------------------------------------


class Alert(models.Model):
    """One message of one rule about one happening."""

    rule = models.ForeignKey(Rule, models.SET_NULL, null=True, related_name="alerts")
    rule_name = models.CharField(max_length=100)
    run = models.ForeignKey(Run, models.CASCADE, related_name="alerts")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    body = JSONText(help_text="The message as webhooks get it, masked; never changed afterwards")
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    def __str__(self) -> str:
        return f"{self.kind} of run {self.run_id}"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def due(self) -> Self:
        """Those that want a try now and that nobody is trying."""
        return self.filter(
            Q(lease_until=None) | Q(lease_until__lt=EpochNow()), state=Delivery.State.WAITING, next_at__lte=EpochNow()
        )

    def unsent(self) -> dict[str, int]:
        """How many wait, and how many have failed for good: state -> deliveries."""
        states = (Delivery.State.WAITING, Delivery.State.FAILED)
        counted = self.filter(state__in=states).order_by().values_list("state").annotate(Count("pk"))
        return {state.value: 0 for state in states} | dict(counted)


class Delivery(models.Model):
    """An alert on its way to one channel. `attempts` is its epoch, too: it goes up with every claim."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Failed"
        DROPPED = "dropped", "Dropped"  # its rule or its channel was deleted before it went out

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="deliveries")
    channel = models.ForeignKey(Channel, models.SET_NULL, null=True, related_name="deliveries")
    channel_name = models.CharField(max_length=100)
    key = models.CharField(max_length=36, unique=True, help_text="The idempotency key: the same at every attempt")
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    attempts = models.IntegerField(default=0)
    counted_from = models.IntegerField(default=0, help_text="Attempts before somebody asked for another round")
    next_at = models.FloatField(help_text="Epoch seconds: when the next attempt is due")
    owner = models.CharField(max_length=100, blank=True)
    lease_until = models.FloatField(null=True, help_text="Epoch seconds: until then `owner` is trying")
    answer = models.CharField(max_length=500, blank=True, help_text="What the last attempt came to, masked")
    tried_at = models.FloatField(null=True, help_text="Epoch seconds of the last attempt's end")

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["next_at"], name="delivery_due", condition=Q(state="waiting")),
            models.Index(fields=["state", "-id"], name="delivery_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.key} to {self.channel_name}"
