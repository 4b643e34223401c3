"""Who tries a delivery, and what came of it. Claimed by conditional update with a lease, as streams are; a note counts
only while the claim stands, so that of two workers one decides.
"""

from datetime import timedelta

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from alerts.messages import Body
from alerts.models import Alert, Channel, Delivery
from alerts.sending import Answer
from runs.models import EpochNow

# Seconds before the 2nd, 3rd… attempt: half a day in all, so that a night without the receiver costs nothing.
PAUSES = (10.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 14400.0)
LEASE_MARGIN = 15.0  # on top of an attempt's own limit


class Claimed(msgspec.Struct, frozen=True):
    delivery_id: int
    owner: str
    attempt: int
    key: str
    body: Body
    channel: Channel | None


def claim(owner: str, limit: int) -> list[Claimed]:
    """Take up to `limit` deliveries that are due, oldest first."""
    lease = EpochNow() + (settings.ALERT_TIMEOUT_SECONDS + LEASE_MARGIN)
    won = []
    for pk, attempts in list(Delivery.objects.due().order_by("next_at").values_list("pk", "attempts")[:limit]):
        mine = Delivery.objects.due().filter(pk=pk, attempts=attempts)
        if mine.update(owner=owner, attempts=attempts + 1, lease_until=lease):
            won.append(pk)
    rows = Delivery.objects.filter(pk__in=won, owner=owner).select_related("alert", "channel") if won else ()
    return [Claimed(row.pk, owner, row.attempts, row.key, row.alert.body, row.channel) for row in rows]


def _held(claimed: Claimed) -> QuerySet[Delivery]:
    return Delivery.objects.filter(
        pk=claimed.delivery_id, owner=claimed.owner, attempts=claimed.attempt, state=Delivery.State.WAITING
    )


def note(claimed: Claimed, answer: Answer) -> bool:
    """Write down what the attempt came to. False where somebody else has the delivery by now, or it was dropped."""
    ended = {"answer": answer.words, "tried_at": EpochNow(), "owner": "", "lease_until": None}
    if answer.delivered:
        return bool(_held(claimed).update(state=Delivery.State.DELIVERED, **ended))
    with transaction.atomic():
        counted_from = _held(claimed).values_list("counted_from", flat=True).first()
        if counted_from is None:
            return False
        tried = claimed.attempt - counted_from
        if tried > len(PAUSES):
            return bool(_held(claimed).update(state=Delivery.State.FAILED, **ended))
        return bool(_held(claimed).update(next_at=EpochNow() + PAUSES[tried - 1], **ended))


def give_back(claimed: Claimed) -> None:
    """An attempt that was broken off: another worker may try at once."""
    _held(claimed).update(owner="", lease_until=None)


def try_again(delivery_id: int) -> bool:
    """Another round of attempts for one that failed or was dropped, while its channel is there."""
    return bool(
        Delivery.objects.filter(
            pk=delivery_id, state__in=(Delivery.State.FAILED, Delivery.State.DROPPED), channel__isnull=False
        ).update(
            state=Delivery.State.WAITING,
            next_at=EpochNow(),
            counted_from=F("attempts"),
            owner="",
            lease_until=None,
        )
    )


def drop(why: str, **waiting_for: object) -> int:
    """Whatever still waits for this rule or channel is not sent. `why`: a sentence for the log."""
    waiting = Delivery.objects.filter(state=Delivery.State.WAITING, **waiting_for)
    return waiting.update(state=Delivery.State.DROPPED, answer=why, owner="", lease_until=None)


def prune() -> int:
    """Remove alerts that are older than ALERT_LOG_DAYS and of which nothing waits. Returns how many rows went."""
    before = timezone.now() - timedelta(days=settings.ALERT_LOG_DAYS)
    old = Alert.objects.filter(created_at__lt=before).exclude(deliveries__state=Delivery.State.WAITING)
    return Alert.objects.filter(pk__in=list(old.order_by("pk").values_list("pk", flat=True)[:1000])).delete()[0]
