"""What befell a run is noted in the transaction of the change that brings it: once, and at no cost otherwise."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs import store
from runs.models import EpochNow, Happening, Stream
from runs.store import Happened
from tests.store.conftest import Hand, completed, started

pytestmark = pytest.mark.django_db

type Hands = Callable[..., Hand]


def statements(one: Hand, **fields: Any) -> int:
    change = one.change(started("a"), completed("a"), **fields)
    with CaptureQueriesContext(connection) as captured:
        assert store.commit([change]) == set()
    return len(captured)


def test_events_of_which_nobody_need_be_told_cost_no_statement_more(hand: Hands) -> None:
    plain = statements(hand())
    told = statements(hand(), happened=[Happened("task-failed", 1.0, "a", 1), Happened("run-failed", 2.0)])
    assert told == plain + 1


def test_all_that_happens_to_the_runs_of_one_write_goes_with_one_statement(hand: Hands) -> None:
    hands = [hand() for _ in range(5)]

    def count(task: str, happened: list[Happened]) -> int:
        changes = [one.change(started(task), happened=happened) for one in hands]
        with CaptureQueriesContext(connection) as captured:
            store.commit(changes)
        return len(captured)

    assert count("a", [Happened("task-failed", 1.0)]) == count("b", []) + 1
    assert Happening.objects.count() == 5


def test_a_worker_that_lost_its_lease_leaves_nothing(hand: Hands) -> None:
    one = hand()
    Stream.objects.filter(run_id=one.claim.run_id).update(lease_until=EpochNow() - 1)
    store.claim("second", 100)
    change = one.change(started("a"), happened=[Happened("task-failed", 1.0)])
    assert store.commit([change]) == {one.claim.run_id}
    assert not Happening.objects.exists()


def test_a_try_whose_outcome_was_not_known_leaves_nothing_twice(hand: Hands) -> None:
    one = hand()
    change = one.change(started("a"), happened=[Happened("task-failed", 1.0)])
    store.commit([change])
    store.commit([change], again=True)
    assert Happening.objects.count() == 1
