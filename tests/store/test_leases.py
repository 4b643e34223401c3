"""Who follows a run: claims, renewals, releases, all by the database's clock."""

from collections.abc import Callable
from functools import partial
from time import sleep

import pytest

from runs import store
from runs.models import EpochNow, Stream, Worker
from tests.store.conftest import Create, Hand, in_threads, started

pytestmark = pytest.mark.django_db


def lease(run_id: int, *, ends_in: float) -> None:
    Stream.objects.filter(run_id=run_id).update(lease_until=EpochNow() + ends_in)


def test_a_claim_names_owner_and_the_next_epoch_and_holds_for_the_lease(create: Create) -> None:
    run = create()
    assert store.claim("anna", 10) == [store.Claim(run.pk, "anna", 1)]
    stream = Stream.objects.annotate(now=EpochNow()).get(run=run)
    assert (stream.owner, stream.epoch) == ("anna", 1)
    assert stream.lease_until is not None
    assert 10 < stream.lease_until - stream.now <= store.LEASE_SECONDS  # type: ignore[attr-defined]


def test_what_one_worker_holds_no_other_can_claim(create: Create) -> None:
    create()
    assert store.claim("anna", 10)
    assert store.claim("bert", 10) == []
    assert store.claim("anna", 10) == []


def test_an_expired_lease_is_anybodys(create: Create) -> None:
    run = create()
    store.claim("anna", 10)
    lease(run.pk, ends_in=-0.01)
    assert store.claim("bert", 10) == [store.Claim(run.pk, "bert", 2)]


def test_an_owner_without_a_lease_counts_as_gone(create: Create) -> None:
    run = create()
    store.claim("anna", 10)
    Stream.objects.filter(run=run).update(lease_until=None)
    assert [claim.epoch for claim in store.claim("bert", 10)] == [2]


def test_a_run_that_nobody_needs_to_follow_is_not_claimed(create: Create) -> None:
    Stream.objects.filter(run=create()).update(active=False)
    assert store.claim("anna", 10) == []


def test_no_more_are_claimed_than_asked_for_and_none_of_those_passed_over(create: Create) -> None:
    runs = [create() for _ in range(4)]
    claims = store.claim("anna", 2, passing_over=[runs[0].pk])
    assert [claim.run_id for claim in claims] == [runs[1].pk, runs[2].pk]


@pytest.mark.django_db(transaction=True)
def test_of_several_workers_that_claim_at_once_each_run_has_one(create: Create) -> None:
    runs = {create().pk for _ in range(12)}
    won = in_threads(*(partial(store.claim, name, 12) for name in ("anna", "bert", "carl")))
    claims = [claim for of_one in won for claim in of_one]
    assert sorted(claim.run_id for claim in claims) == sorted(runs)
    rows = {row.run_id: row for row in Stream.objects.all()}
    assert all((rows[claim.run_id].owner, rows[claim.run_id].epoch) == (claim.owner, 1) for claim in claims)


def test_renewing_lengthens_all_leases_of_a_worker_and_no_others(create: Create) -> None:
    mine, theirs = create(), create()
    store.claim("anna", 1)
    store.claim("bert", 1)
    lease(mine.pk, ends_in=1)
    lease(theirs.pk, ends_in=1)
    assert store.renew("anna", [mine.pk, theirs.pk], []).held == {mine.pk}
    left = {row.run_id: row.lease_until - row.now for row in Stream.objects.annotate(now=EpochNow())}  # type: ignore
    assert left[mine.pk] > 10
    assert left[theirs.pk] <= 1


def test_a_lease_that_ran_out_can_be_renewed_until_somebody_takes_it(create: Create) -> None:
    run = create()
    store.claim("anna", 1)
    lease(run.pk, ends_in=-0.01)
    assert store.renew("anna", [run.pk], []).held == {run.pk}
    assert store.claim("bert", 1) == []
    lease(run.pk, ends_in=-0.01)
    assert store.claim("bert", 1)
    assert store.renew("anna", [run.pk], []).held == frozenset()


def test_a_lease_that_no_follower_stands_behind_is_left_to_run_out(create: Create) -> None:
    followed, forgotten = create(), create()
    store.claim("anna", 2)
    for run in (followed, forgotten):
        lease(run.pk, ends_in=0.05)
    assert store.renew("anna", [followed.pk], []).held == {followed.pk}
    sleep(0.1)
    assert [claim.run_id for claim in store.claim("bert", 2)] == [forgotten.pk]


def test_renewing_says_which_runs_a_person_wants_stopped(create: Create) -> None:
    first, second = create(), create()
    store.claim("anna", 2)
    store.request_stop(second.pk)
    assert store.renew("anna", [first.pk, second.pk], []) == store.Renewal(
        frozenset({first.pk, second.pk}), frozenset({second.pk})
    )


def test_only_runs_whose_socket_is_up_count_as_alive(create: Create) -> None:
    up, down = create(), create()
    store.claim("anna", 2)
    store.renew("anna", [up.pk, down.pk], [up.pk])
    assert Stream.objects.get(run=up).alive_at is not None
    assert Stream.objects.get(run=down).alive_at is None


def test_a_worker_beats_with_each_renewal_until_it_signs_off(db: None) -> None:
    store.renew("anna", [], [])
    first = Worker.objects.get(name="anna")
    store.renew("anna", [], [])
    second = Worker.objects.get(name="anna")
    assert second.started_at == first.started_at
    assert second.beat_at >= first.beat_at
    store.sign_off("anna")
    assert not Worker.objects.exists()


def test_a_worker_that_was_killed_long_ago_is_forgotten(db: None) -> None:
    for name, ago in (("dead", store.FORGET_SECONDS + 9), ("frozen", store.FORGET_SECONDS - 9)):
        Worker.objects.create(name=name, started_at=0.0, beat_at=EpochNow() - ago)
    store.renew("alive", [], [])
    assert set(Worker.objects.values_list("name", flat=True)) == {"frozen", "alive"}


def test_a_released_run_can_be_claimed_at_once(hand: Callable[..., Hand]) -> None:
    claim = hand().claim
    store.release(claim)
    assert store.claim("bert", 1) == [store.Claim(claim.run_id, "bert", claim.epoch + 1)]


def test_a_release_that_comes_after_a_takeover_takes_nothing_away(hand: Callable[..., Hand]) -> None:
    stale = hand().claim
    lease(stale.run_id, ends_in=-0.01)
    (taken,) = store.claim("bert", 1)
    store.release(stale)
    stream = Stream.objects.get(run_id=stale.run_id)
    assert (stream.owner, stream.epoch) == ("bert", taken.epoch)
    assert stream.lease_until is not None


def test_a_worker_of_the_same_name_with_an_old_epoch_is_stale_too(hand: Callable[..., Hand]) -> None:
    first = hand()
    lease(first.claim.run_id, ends_in=-0.01)
    (again,) = store.claim("first", 1)
    assert store.commit([first.change()]) == {first.claim.run_id}
    assert store.commit([Hand(again).change()]) == set()


def test_leases_that_are_forgotten_can_be_claimed_at_once_and_shut_their_owner_out(hand: Callable[..., Hand]) -> None:
    before = hand()
    store.renew("first", [before.claim.run_id], [])
    store.forget_leases()
    assert not Worker.objects.exists()
    assert store.commit([before.change()]) == {before.claim.run_id}
    (claim,) = store.claim("first", 1)
    assert store.commit([Hand(claim).change()]) == set()


@pytest.mark.django_db(transaction=True)
def test_renewing_and_writing_the_same_runs_never_wait_for_each_other_in_a_circle(create: Create) -> None:
    runs = [create().pk for _ in range(40)]
    hands = [Hand(claim) for claim in store.claim("busy", 100)]

    def write() -> None:
        for number in range(40):  # group commits bring runs in any order
            store.commit([hand.change(started(f"task {number}")) for hand in hands[::-1]])

    def renew() -> None:
        for _ in range(200):
            assert store.renew("busy", runs, runs).held == set(runs)

    in_threads(write, renew)
    assert [hand.seq for hand in hands] == [40] * 40
