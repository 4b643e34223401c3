"""One transaction for the changes of many runs: fenced, gapless, never doubled."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError

from runs import store
from runs.models import EpochNow, Event, Gap, Rejected, Run, Stream, Task
from runs.store import OpenGap, RejectedFrame
from tests.factories import START
from tests.store.conftest import Hand, completed, flow_completed, started

pytestmark = pytest.mark.django_db

type Hands = Callable[..., Hand]


def seqs(hand: Hand) -> list[int]:
    return list(Event.objects.filter(run_id=hand.claim.run_id).order_by("seq").values_list("seq", flat=True))


def row(hand: Hand) -> Run:
    return Run.objects.get(pk=hand.claim.run_id)


def take_over(hand: Hand) -> Hand:
    Stream.objects.filter(run_id=hand.claim.run_id).update(lease_until=EpochNow() - 1)
    return Hand(next(claim for claim in store.claim("second", 100) if claim.run_id == hand.claim.run_id))


def frame(digest: str = "d" * 32, reason: str = "invalid-json", at: float = START) -> RejectedFrame:
    return RejectedFrame(digest, reason, "x" * 400, "{", 1, at)


# --- events and tasks ---------------------------------------------------------------------------------------------


def test_events_and_the_rows_that_follow_from_them_are_written_together(hand: Hands) -> None:
    one = hand("fetch", "clean", "report")
    one.write(started("fetch"), completed("fetch", output={"n": 1}))
    assert seqs(one) == [1, 2]
    run = row(one)
    assert (run.last_seq, run.rev, run.tasks_succeeded, run.tasks_pending) == (2, 2, 1, 2)
    task = Task.objects.get(run=run, key="fetch")
    assert (task.status, task.rev, task.added_rev, task.output_seq, task.duration) == ("succeeded", 2, 1, 2, 1.0)
    assert Task.objects.get(run=run, key="clean").rev == 1


def test_a_task_that_changes_again_keeps_the_rev_at_which_it_came(hand: Hands) -> None:
    one = hand()
    one.write(started("fetch"))
    one.write(completed("fetch"))
    task = Task.objects.get(run_id=one.claim.run_id)
    assert (task.added_rev, task.rev, task.status) == (2, 3, "succeeded")


def test_the_numbers_of_a_runs_events_have_no_gap_over_many_changes(hand: Hands) -> None:
    one, two = hand(), hand()
    for number in range(7):
        store.commit([one.change(*[started(f"{number}-{n}") for n in range(number)]), two.change(started(str(number)))])
    assert seqs(one) == list(range(1, 22))
    assert seqs(two) == list(range(1, 8))
    assert (row(one).last_seq, row(two).last_seq) == (21, 7)


def test_the_same_number_cannot_be_given_twice(hand: Hands) -> None:
    one = hand()
    one.write(started("a"))
    one.seq = 0
    with pytest.raises(IntegrityError):
        store.commit([one.change(started("b"))])


def test_a_refused_change_takes_the_whole_transaction_with_it(transactional_db: None, hand: Hands) -> None:
    good, bad = hand(), hand()
    bad.write(started("a"))
    bad.seq = 0
    with pytest.raises(DatabaseError):
        store.commit([good.change(started("a")), bad.change(started("b"))])
    assert (seqs(good), row(good).rev) == ([], 1)


ODD: dict[str, Any] = {
    "beyond 2^53": 2**53 + 1,
    "beyond 64 bits": 2**64 + 1,
    "four hundred digits": -(10**400) + 7,
    "a tiny float": 5e-324,
    "escaped": "\\u0000 \\ud800 and a \\\\",
    "text": "ü – 漢字 🦉 \u2028",
    "quotes": "'\"; DROP TABLE runs_run; -- %s %(x)s",
    "nothing": None,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_payloads_come_back_exactly(hand: Hands, name: str) -> None:
    one = hand()
    payload = started("a", input={name: ODD[name]})
    one.write(payload)
    assert json.loads(Event.objects.get(run_id=one.claim.run_id).payload) == payload
    (event,) = store.read_events(one.claim.run_id)
    assert event.payload == payload
    assert store.rebuild(one.claim.run_id) == []


def test_the_longest_names_that_events_can_have_fit(hand: Hands) -> None:
    one = hand()
    name = "🦉" * 300
    one.write(started(name) | {"task_id": name}, {"event_type": "t" * 100, "timestamp": START})
    assert Task.objects.get(run_id=one.claim.run_id).key == name


def test_receipts_are_counted_up(hand: Hands) -> None:
    one = hand()
    one.write(started("a"), started("b"))
    one.write(receipts={1: 2})
    one.write(receipts={1: 1, 2: 1})
    assert list(Event.objects.order_by("seq").values_list("receipts", flat=True)) == [4, 2]
    assert row(one).last_seq == 2


def test_a_task_that_turned_out_to_be_another_goes_and_its_events_are_given_to_the_other(hand: Hands) -> None:
    one = hand()
    one.write({"event_type": "task_started", "task_name": "fetch", "timestamp": START})
    assert Task.objects.get(run_id=one.claim.run_id).key == "fetch"
    change = one.change(completed("fetch"))
    change.gone, change.rekeyed = ["fetch"], {"id-fetch": [1, 2]}
    store.commit([change])
    task = Task.objects.get(run_id=one.claim.run_id)
    assert (task.key, task.status) == ("id-fetch", "succeeded")
    assert set(Event.objects.values_list("task_key", flat=True)) == {"id-fetch"}
    assert row(one).reset_rev == change.rev
    assert store.rebuild(one.claim.run_id) == []


# --- fencing ------------------------------------------------------------------------------------------------------


def test_of_a_stale_follower_nothing_is_written_and_the_others_of_the_batch_are(hand: Hands) -> None:
    stale, other = hand("fetch"), hand("fetch")
    current = take_over(stale)
    change = stale.change(
        started("fetch"),
        flow_completed(),
        gap=OpenGap("disconnected", 0, START),
        rejected=[frame()],
        launch={"task_id": "stale"},
        done=True,
    )
    assert store.commit([change, other.change(started("fetch"))]) == {stale.claim.run_id}
    assert (seqs(stale), seqs(other)) == ([], [1])
    run = Run.objects.select_related("launch", "stream").get(pk=stale.claim.run_id)
    assert (run.status, run.rev, run.gap_count, run.rejected_count) == ("queued", 1, 0, 0)
    assert (run.launch.task_id, run.stream.active, run.stream.owner) == ("", True, "second")
    assert not Gap.objects.exists()
    assert not Rejected.objects.exists()
    current.write(started("fetch"))
    assert seqs(stale) == [1]


def test_a_follower_whose_lease_ran_out_may_write_until_somebody_takes_over(hand: Hands) -> None:
    one = hand()
    Stream.objects.update(lease_until=EpochNow() - 1)
    one.write(started("a"))
    take_over(one)
    assert store.commit([one.change(started("b"))]) == {one.claim.run_id}
    assert seqs(one) == [1]


def test_a_change_that_is_the_last_one_frees_the_run_for_good(hand: Hands) -> None:
    one = hand()
    one.write(flow_completed(), done=True)
    stream = Stream.objects.get(run_id=one.claim.run_id)
    assert (stream.active, stream.lease_until) == (False, None)
    assert store.claim("second", 10) == []


# --- an unknown outcome -------------------------------------------------------------------------------------------


def test_a_change_that_was_committed_already_is_not_written_again(hand: Hands) -> None:
    one, two = hand(), hand()
    change = one.change(
        started("a"), receipts={1: 3}, gap=OpenGap("disconnected", 1, START), rejected=[frame()], done=True
    )
    store.commit([change])
    other = two.change(started("b"))
    assert store.commit([change, other], again=True) == set()
    assert (seqs(one), seqs(two)) == ([1], [1])
    assert Event.objects.get(run_id=one.claim.run_id).receipts == 4
    assert (row(one).gap_count, row(one).rejected_count, row(one).rev) == (1, 1, change.rev)
    assert Gap.objects.count() == 1
    assert Rejected.objects.get().count == 1


def test_a_change_that_was_not_committed_is_written_at_the_second_try(hand: Hands) -> None:
    one = hand()
    assert store.commit([one.change(started("a"))], again=True) == set()
    assert seqs(one) == [1]


# --- gaps and quarantine ------------------------------------------------------------------------------------------


def test_a_gap_is_opened_counted_and_closed(hand: Hands) -> None:
    one = hand()
    one.write(started("a"), gap=OpenGap("disconnected", 1, START + 1, detail="1011"))
    gap = Gap.objects.get()
    assert (gap.reason, gap.after_seq, gap.started_at, gap.ended_at, gap.detail) == (
        "disconnected", 1, START + 1, None, "1011",
    )  # fmt: skip
    assert store.load(one.claim.run_id).open_gap
    one.write(close_gaps_at=START + 5)
    assert Gap.objects.get().ended_at == START + 5
    assert row(one).gap_count == 1
    assert not store.load(one.claim.run_id).open_gap


def test_closing_leaves_gaps_that_are_closed_and_those_of_other_runs_alone(hand: Hands) -> None:
    one, two = hand(), hand()
    one.write(gap=OpenGap("disconnected", 0, START, START + 1))
    two.write(gap=OpenGap("disconnected", 0, START))
    one.write(close_gaps_at=START + 9, gap=OpenGap("late", 0, START + 9))
    found = Gap.objects.order_by("pk").values_list("run_id", "ended_at")
    assert list(found) == [
        (one.claim.run_id, START + 1), (two.claim.run_id, None), (one.claim.run_id, None)
    ]  # fmt: skip


def test_the_same_bad_frame_is_one_row_that_counts(hand: Hands) -> None:
    one, two = hand(), hand()
    one.write(rejected=[frame(at=START), frame(at=START + 1), frame("e" * 32, at=START + 2)])
    one.write(rejected=[frame(at=START + 3), frame(reason="not-an-object", at=START + 4)])
    two.write(rejected=[frame()])
    mine = Rejected.objects.filter(run_id=one.claim.run_id)
    assert {(bad.digest[0], bad.reason, bad.count, bad.first_at, bad.last_at) for bad in mine} == {
        ("d", "invalid-json", 3, START, START + 3),
        ("e", "invalid-json", 1, START + 2, START + 2),
        ("d", "not-an-object", 1, START + 4, START + 4),
    }
    assert (row(one).rejected_count, row(two).rejected_count) == (5, 1)
    assert {len(bad.detail) for bad in mine} == {300}


def test_ever_new_nonsense_is_counted_and_from_some_number_on_not_kept(
    hand: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_REJECTED", 3)
    one, two = hand(), hand()
    one.write(rejected=[frame(f"{n:032x}", at=START + n) for n in range(6)])
    one.write(rejected=[frame(f"{1:032x}", at=START + 7), frame(f"{9:032x}", at=START + 8)])
    two.write(rejected=[frame()])
    kept = Rejected.objects.filter(run_id=one.claim.run_id).order_by("pk")
    assert [(bad.reason, bad.count) for bad in kept] == [*[("invalid-json", n) for n in (1, 2, 1)], ("more", 4)]
    assert kept[3].preview == ""
    assert store.rebuild(one.claim.run_id) == []
    assert row(one).rejected_count == 8


def test_the_fields_of_the_launch_are_written_with_the_rest(hand: Hands) -> None:
    one = hand("a")
    one.write(launch={"sent_at": START, "task_id": "t-9"}, run={"status": "launching"})
    run = Run.objects.select_related("launch").get(pk=one.claim.run_id)
    assert (run.status, run.launch.sent_at, run.launch.task_id) == ("launching", START, "t-9")
