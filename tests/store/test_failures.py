"""A failed run is counted once under its fingerprint, in the transaction that ends it, and found by its error."""

from collections.abc import Callable
from typing import Any

import pytest

from runs import actions, listing, store
from runs.listing import Filters
from runs.models import Failure, Run, SearchText, Stream, Upstream
from tests.factories import START, make_definition, make_upstream
from tests.store.conftest import Hand, flow_completed, in_threads, started

pytestmark = pytest.mark.django_db

type Hands = Callable[..., Hand]


def failed(name: str, message: str, at: float = START + 1, kind: str = "TimeoutError") -> dict[str, Any]:
    error = {"type": kind, "message": message, "code": None}
    return {
        "event_type": "task_failed", "task_id": f"id-{name}", "task_name": name, "timestamp": at, "error": error,
    }  # fmt: skip


def flow_error(message: str = "a task failed", at: float = START + 2) -> dict[str, Any]:
    return {"event_type": "flow_error", "timestamp": at, "error": {"type": "FlowError", "message": message}}


def fails(hand: Hand, message: str, task: str = "fetch") -> Run:
    """The run after this task failed in it, and it with it."""
    hand.write(started(task), failed(task, message), flow_error())
    return row(hand)


def row(hand: Hand) -> Run:
    return Run.objects.select_related("failure").get(pk=hand.claim.run_id)


def test_runs_that_fail_in_one_way_are_one_failure_and_know_which_they_were(hand: Hands) -> None:
    runs = [fails(hand("fetch"), f"no answer from http://10.0.0.{n}/ in {n} s") for n in range(3)]
    assert {run.failure_id for run in runs} == {Failure.objects.get().pk}
    assert [run.failure_number for run in runs] == [1, 2, 3]
    kind = Failure.objects.get()
    assert (kind.count, kind.task_name, kind.flow_name) == (3, "fetch", "Nightly")
    assert kind.error["message"] == "no answer from http://10.0.0.0/ in 0 s"
    assert kind.first_at == kind.last_at == START + 2


@pytest.mark.parametrize(
    ("message", "task", "kind"),
    [("quite another", "fetch", "TimeoutError"), ("slow", "clean", "TimeoutError"), ("slow", "fetch", "ValueError")],
)
def test_another_message_task_or_type_is_another_failure(hand: Hands, message: str, task: str, kind: str) -> None:
    fails(hand("fetch", "clean"), "slow")
    other = hand("fetch", "clean")
    other.write(started(task), failed(task, message, kind=kind), flow_error())
    assert row(other).failure_number == 1
    assert Failure.objects.count() == 2


def test_flows_and_upstreams_count_apart(hand: Hands, create: Callable[..., Run]) -> None:
    fails(hand("fetch"), "slow")
    there = create("fetch", upstream=make_upstream())
    (claim,) = (claim for claim in store.claim("first", 100) if claim.run_id == there.pk)
    assert fails(Hand(claim), "slow").failure_number == 1


def test_a_run_is_counted_once_however_much_comes_after_its_end(hand: Hands) -> None:
    one = hand("fetch")
    fails(one, "slow")
    one.write({"event_type": "note", "timestamp": START + 3})
    one.write(flow_error(at=START + 2.5))
    assert Failure.objects.get().count == 1
    assert row(one).failure_number == 1


def test_what_turns_out_to_have_failed_otherwise_is_counted_there(hand: Hands) -> None:
    one = hand("fetch")
    one.write(flow_error())
    assert row(one).failure.task_name == ""
    one.write(failed("fetch", "slow"))  # came late
    assert row(one).failure.task_name == "fetch"
    assert sorted(Failure.objects.values_list("task_name", "count")) == [("", 0), ("fetch", 1)]


def test_a_run_that_turns_out_not_to_have_failed_is_taken_out(hand: Hands) -> None:
    one = hand("fetch")
    fails(one, "slow")
    one.write(run={"status": "succeeded", "error": None})
    assert (row(one).failure, row(one).failure_number) == (None, None)
    assert Failure.objects.get().count == 0


@pytest.mark.parametrize("status", ["lost", "stopped", "rejected", "succeeded"])
def test_other_ends_are_no_failures(hand: Hands, status: str) -> None:
    one = hand("fetch")
    one.write(run={"status": status})
    assert not Failure.objects.exists()


def test_a_fenced_worker_counts_nothing(hand: Hands) -> None:
    one = hand("fetch")
    change = one.change(started("fetch"), failed("fetch", "slow"), flow_error())
    Stream.objects.filter(run_id=one.claim.run_id).update(epoch=99)
    assert store.commit([change]) == {one.claim.run_id}
    assert not Failure.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_workers_that_write_the_same_failures_at_once_lose_none(hand: Hands) -> None:
    hands = [hand("fetch", "clean") for _ in range(8)]
    changes = [
        one.change(started(task), failed(task, "slow"), flow_error())
        for one, task in zip(hands, ["fetch", "clean", "clean", "fetch"] * 2, strict=True)
    ]
    batches = [changes[:4], changes[4:]]
    assert in_threads(*(lambda changes=changes: store.commit(changes) for changes in batches)) == [set(), set()]
    assert sorted(Failure.objects.values_list("task_name", "count")) == [("clean", 4), ("fetch", 4)]
    numbers = sorted(Run.objects.values_list("failure__task_name", "failure_number"))
    assert numbers == [(task, n) for task in ("clean", "fetch") for n in range(1, 5)]


def test_a_rebuilt_run_is_counted_as_what_its_events_say(hand: Hands) -> None:
    one = hand("fetch")
    fails(one, "slow")
    Stream.objects.filter(run_id=one.claim.run_id).update(lease_until=None, owner="")
    Run.objects.filter(pk=one.claim.run_id).update(status="succeeded", error=None, failure=None, failure_number=None)
    Failure.objects.update(count=0)
    assert store.rebuild(one.claim.run_id, fix=True)
    assert row(one).failure_number == Failure.objects.get().count == 1


def test_a_run_is_found_by_its_error_from_the_moment_it_fails(hand: Hands) -> None:
    one = hand("fetch")

    def found(text: str) -> list[int]:
        return [place.run_id for place in listing.places(Filters(text=text), 9)]

    assert found("frobnicated") == []
    one.write(started("fetch"), failed("fetch", "slow"), flow_error("it frobnicated"))
    assert found("frobnicated nightly") == [one.claim.run_id]
    other = hand("fetch")
    other.write(flow_completed())
    assert found("nightly") == [other.claim.run_id, one.claim.run_id]


def test_a_run_is_found_by_its_inputs_as_they_are_kept_masked(upstream: Upstream) -> None:
    inputs = {"password": "hunter2-hunter2", "city": "Berlin"}
    run = actions.launch(flow_name="F", definition=make_definition("a"), inputs=inputs, upstream=upstream)
    assert [place.run_id for place in listing.places(Filters(text="berlin"), 9)] == [run.pk]
    assert listing.places(Filters(text="hunter2"), 9) == []
    assert "hunter2" not in SearchText.objects.get(run=run).text
