"""What runs teach is kept with the transaction that ends them: once each, bounded, whoever ends at the same time."""

import json
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs import store
from runs.core import times
from runs.core.times import Usual, lesson
from runs.models import Run, Task, UsualTimes
from tests.factories import START
from tests.store.conftest import Hand, completed, flow_completed, in_threads, started

type Hands = Callable[..., Hand]

pytestmark = pytest.mark.django_db


def live(one: Hand, seconds: float, name: str = "fetch") -> None:
    """All of the run but its end: this task took so long."""
    one.write(
        {"event_type": "flow_started", "timestamp": START},
        started(name),
        completed(name, START + seconds),
        flow_completed(START + seconds + 1),
    )


def end(one: Hand) -> None:
    one.write(lesson=lesson(one.state), done=True)


def taken(hand: Hands, *seconds: float) -> list[Hand]:
    hands = [hand("fetch") for _ in seconds]
    for one, took in zip(hands, seconds, strict=True):
        live(one, took)
        end(one)
    return hands


def known(one: Hand) -> times.Times:
    run = Run.objects.get(pk=one.claim.run_id)
    return store.usual_times(run.upstream_id, run.flow_name)


def test_three_runs_tell_how_long_the_flow_and_its_tasks_usually_take(hand: Hands) -> None:
    *_, last = taken(hand, 10.0, 30.0)
    assert known(last) == times.Times()
    *_, last = taken(hand, 20.0)
    assert known(last) == times.Times(Usual(21.0, 31.0, 21.0, 3), {"fetch": Usual(20.0, 30.0, 20.0, 3)})


def test_what_has_not_ended_well_teaches_nothing(hand: Hands) -> None:
    one = hand("fetch")
    one.write(started("fetch"), {"event_type": "flow_error", "timestamp": START + 1, "error": {"message": "no"}})
    one.write(done=True)
    assert UsualTimes.objects.count() == 0


def test_an_end_that_is_written_again_counts_once(hand: Hands) -> None:
    one = hand("fetch")
    live(one, 10.0)
    change = one.change(lesson=lesson(one.state), done=True)
    assert store.commit([change]) == set()
    assert store.commit([change], again=True) == set(), "its outcome was not known, and it had been written"
    end(one)
    assert UsualTimes.objects.get().whole == [[one.claim.run_id, 11.0]]


def test_an_end_of_which_nothing_was_written_teaches_nothing(hand: Hands) -> None:
    one = hand("fetch")
    live(one, 10.0)
    change = one.change(lesson=lesson(one.state), done=True)
    change.claim = store.Claim(one.claim.run_id, "somebody else", 9)
    assert store.commit([change]) == {one.claim.run_id}
    assert UsualTimes.objects.count() == 0


def test_a_rebuilt_run_teaches_nothing_and_keeps_what_it_was_measured_by(hand: Hands) -> None:
    taken(hand, 10.0, 20.0, 30.0)
    [one] = taken(hand, 40.0)
    row = UsualTimes.objects.get()
    Task.objects.filter(run_id=one.claim.run_id).update(status="failed")
    assert store.rebuild(one.claim.run_id, fix=True)
    assert store.rebuild(one.claim.run_id) == []
    assert UsualTimes.objects.get().whole == row.whole
    task = Task.objects.get(run_id=one.claim.run_id)
    assert (task.status, task.usual_p50, task.usual_p90) == ("succeeded", 20.0, 30.0)


def test_a_new_run_has_what_was_usual_when_it_was_made(hand: Hands) -> None:
    taken(hand, 10.0, 20.0, 30.0)
    one = hand("fetch", "new")
    taken(hand, 99.0, 99.0, 99.0)
    one.write(started("fetch"), completed("fetch"))
    rows = Task.objects.filter(run_id=one.claim.run_id).order_by("position")
    assert list(rows.values_list("name", "usual_p50", "usual_p90")) == [("fetch", 20.0, 30.0), ("new", None, None)]


def test_flows_do_not_learn_from_each_other(hand: Hands, create: Callable[..., Run]) -> None:
    taken(hand, 10.0)
    other = hand("fetch")
    Run.objects.filter(pk=other.claim.run_id).update(flow_name="Other")
    live(other, 5.0)
    end(other)
    assert {row.flow_name: len(row.whole) for row in UsualTimes.objects.all()} == {"Nightly": 1, "Other": 1}


def test_runs_that_end_in_one_transaction_all_count(hand: Hands) -> None:
    hands = [hand("fetch") for _ in range(4)]
    for one in hands:
        live(one, 10.0)
    store.commit([one.change(lesson=lesson(one.state), done=True) for one in hands])
    assert sorted(run for run, _ in UsualTimes.objects.get().whole) == [one.claim.run_id for one in hands]


@pytest.mark.parametrize("before", [3, 60])
def test_learning_costs_the_same_after_few_and_many_runs(hand: Hands, before: int) -> None:
    taken(hand, *[10.0] * before)
    one = hand("fetch")
    live(one, 10.0)
    change = one.change(lesson=lesson(one.state), done=True)
    with CaptureQueriesContext(connection, ) as seen:  # fmt: skip
        store.commit([change])
    about = [query["sql"] for query in seen if "usualtimes" in query["sql"]]
    assert len(about) == 2, "read, written"
    assert not any(word in query["sql"] for query in seen for word in ('FROM "runs_task"', "COUNT("))
    row = UsualTimes.objects.get()
    assert len(row.whole) == min(before + 1, times.SAMPLE)
    assert len(json.dumps(row.tasks)) < 500


@pytest.mark.django_db(transaction=True)
def test_runs_that_end_at_the_same_moment_at_different_workers_all_count(hand: Hands) -> None:
    hands = [hand("fetch") for _ in range(8)]
    flows = ["Nightly", "Daily"]
    for number, one in enumerate(hands):
        Run.objects.filter(pk=one.claim.run_id).update(flow_name=flows[number % 2])
        live(one, 10.0)
    ends = [one.change(lesson=lesson(one.state), done=True) for one in hands]
    # Each of these writes to both flows, in one order and the other.
    pairs = [(0, 1), (3, 2), (4, 5), (7, 6)]
    in_threads(*[lambda pair=pair: store.commit([ends[number] for number in pair]) for pair in pairs])  # type: ignore[misc]
    rows = {row.flow_name: sorted(run for run, _ in row.whole) for row in UsualTimes.objects.all()}
    ids = [one.claim.run_id for one in hands]
    assert rows == {"Nightly": ids[::2], "Daily": ids[1::2]}
