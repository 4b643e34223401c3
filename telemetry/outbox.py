"""Whose turn it is to be sent, and what came of it. Claimed by conditional update with a lease, as deliveries of alerts
are; a note counts only while the claim stands.

The rows are written by the store, with the change that ends a run. From then on they are this module's.
"""

import msgspec
from django.db.models import F, QuerySet

from runs.models import EpochNow, UnsentTrace

# Seconds before the 2nd, 3rd… attempt; the last one repeats. A receiver that is away is waited for as long as it takes.
PAUSES = (10.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
LEASE_SECONDS = 60.0


class Claimed(msgspec.Struct, frozen=True):
    run_id: int
    owner: str
    attempt: int


def claim(owner: str, limit: int) -> list[Claimed]:
    """Take up to `limit` traces that are due, oldest first."""
    won = []
    for run_id, attempts in list(UnsentTrace.objects.due().order_by("next_at").values_list("pk", "attempts")[:limit]):
        mine = UnsentTrace.objects.due().filter(pk=run_id, attempts=attempts)
        if mine.update(owner=owner, attempts=F("attempts") + 1, lease_until=EpochNow() + LEASE_SECONDS):
            won.append(Claimed(run_id, owner, attempts + 1))
    return won


def _held(claimed: Claimed) -> QuerySet[UnsentTrace]:
    return UnsentTrace.objects.filter(pk=claimed.run_id, owner=claimed.owner, attempts=claimed.attempt)


def note_sent(claimed: Claimed) -> None:
    _held(claimed).delete()


def note_failed(claimed: Claimed, why: str) -> float:
    """To be tried again. Returns after how many seconds."""
    pause = PAUSES[min(claimed.attempt, len(PAUSES)) - 1]
    _held(claimed).update(next_at=EpochNow() + pause, answer=why[:500], owner="", lease_until=None)
    return pause


def note_refused(claimed: Claimed, why: str) -> None:
    """Not to be tried again: the receiver would refuse the same once more. The row tells of it until its run goes."""
    _held(claimed).update(next_at=None, answer=why[:500], owner="", lease_until=None)


def give_back(claimed: Claimed) -> None:
    """An attempt that was broken off: another worker may try at once."""
    _held(claimed).update(owner="", lease_until=None)
