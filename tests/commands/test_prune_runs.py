"""`prune_runs`: what ended long ago goes with all that hangs on it; what is followed never does."""

import io
import json
import time
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEntry
from alerts.fanning import fan_out
from alerts.models import Alert, Delivery
from api.models import LaunchKey
from runs import actions, keeping, store
from runs.models import Event, Gap, Launch, Rejected, Run, Stream, Task
from tests.alerts.making import happen, make_rule
from tests.factories import (
    make_definition,
    make_event,
    make_gap,
    make_rejected,
    make_run,
    make_stream,
    make_task,
    make_upstream,
    make_user,
)

pytestmark = pytest.mark.django_db
DAY = 86_400.0


def make_old(days: float, **fields: Any) -> Run:
    """A run that was let go so many days ago."""
    then = time.time() - days * DAY
    fields = {"status": "succeeded", "connection": "closed", "connection_since": then, **fields}
    run = make_run(**fields)
    Run.objects.filter(pk=run.pk).update(created_at=time_of(then - 60))
    make_stream(run, lease=None, active=False)
    return run


def time_of(epoch: float) -> Any:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC)


def prune(*arguments: str) -> str:
    out = io.StringIO()
    call_command("prune_runs", *arguments, stdout=out)
    return out.getvalue().strip()


def there() -> set[int]:
    return set(Run.objects.values_list("pk", flat=True))


@pytest.mark.parametrize("status", Run.ENDED)
def test_a_run_that_ended_longer_ago_goes_and_a_younger_one_stays(status: str) -> None:
    make_old(91, status=status)
    young = make_old(89, status=status)
    assert prune("--older-than", "90d") == "1 runs with 0 events removed"
    assert there() == {young.pk}


def test_what_goes_on_or_is_followed_stays_however_old(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {make_old(99, status=status).pk for status in Run.GOING_ON}
    followed = make_old(99)
    Stream.objects.filter(run=followed).update(active=True)
    lingering = make_old(99, connection_since=time.time())
    assert prune("--older-than", "1h") == "0 runs with 0 events removed"
    assert there() == kept | {followed.pk, lingering.pk}


def test_a_run_that_is_taken_up_while_others_go_stays() -> None:
    """It was seen as removable, and is followed again before its own rows are touched."""
    run = make_old(99)
    ids = list(keeping.removable(time.time() - DAY).values_list("pk", flat=True))
    assert ids == [run.pk]
    Stream.objects.filter(run=run).update(active=True)
    assert keeping._locked(time.time() - DAY, ids) == []


def test_all_that_hangs_on_a_run_goes_along() -> None:
    upstream = make_upstream()
    run = actions.launch(flow_name="F", run_name="r", definition=make_definition(), upstream=upstream)
    make_event(run), make_gap(run), make_rejected(run)
    make_rule()
    happen(run, "run-failed")
    fan_out()
    assert Delivery.objects.exists()
    happen(run, "run-failed")
    LaunchKey.objects.create(user=make_user("operator"), key="k", digest="d", run=run)
    again = make_old(1, retry_of=run, upstream=upstream)
    Stream.objects.filter(run=run).update(active=False)
    Run.objects.filter(pk=run.pk).update(
        status="failed", connection="closed", connection_since=1.0, created_at=time_of(0.0)
    )
    assert prune("--older-than", "2d") == "1 runs with 1 events removed"
    assert there() == {again.pk}
    for table in (Launch, Task, Event, Gap, Rejected, Alert, Delivery, LaunchKey):
        assert not table.objects.exists(), table
    again.refresh_from_db()
    assert again.retry_of is None


def test_a_dry_run_counts_and_removes_nothing() -> None:
    run = make_old(99)
    make_event(run), make_event(run)
    make_task(run)
    assert prune("--older-than", "90d", "--dry-run") == "1 runs with 2 events would be removed"
    said = json.loads(prune("--older-than", "90d", "--dry-run", "--json"))
    assert (said["runs"], said["events"], said["removed"]) == (1, 2, False)
    assert there() == {run.pk}
    assert not AuditEntry.objects.filter(deed="runs-removed").exists()
    said = json.loads(prune("--older-than", "90d", "--json"))
    assert (said["runs"], said["events"], said["removed"]) == (1, 2, True)
    assert AuditEntry.objects.get(deed="runs-removed").about == "1 runs"


def test_many_runs_and_long_ones_go_in_short_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "RUNS_AT_ONCE", 2)
    monkeypatch.setattr(keeping, "EVENTS_AT_ONCE", 3)
    for _ in range(5):
        make_old(99)
    long = make_old(98)
    for _ in range(8):
        make_event(long)
    gone = list(keeping.remove(time.time() - DAY))
    assert [(one.runs, one.events) for one in gone] == [(2, 0), (2, 0), (0, 3), (0, 3), (2, 2)]
    assert there() == set()


def test_a_removal_that_is_interrupted_goes_on_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "EVENTS_AT_ONCE", 3)
    run = make_old(99)
    for _ in range(8):
        make_event(run)
    next(iter(keeping.remove(time.time() - DAY)))
    run.refresh_from_db()
    assert (run.last_seq, run.events.count()) == (5, 5)
    assert prune("--older-than", "1d") == "1 runs with 5 events removed"


def test_the_setting_says_how_old_where_the_command_does_not(settings: Any) -> None:
    run = make_old(10)
    with pytest.raises(CommandError, match="RETENTION_DAYS"):
        prune()
    settings.RETENTION_DAYS = 30
    assert prune() == "0 runs with 0 events removed"
    settings.RETENTION_DAYS = 5
    assert prune() == "1 runs with 0 events removed"
    assert run.pk not in there()


@pytest.mark.parametrize("age", ["90", "d", "-1d", "1y", "90 d", "1.5d", "9999999d"])
def test_what_is_no_age_is_told(age: str) -> None:
    with pytest.raises(CommandError, match="expected a number"):
        prune(f"--older-than={age}")


def test_a_claim_cannot_come_between(monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(99)
    assert store.claim("me", 9) == []
    assert prune("--older-than", "1d").startswith("1 runs")
