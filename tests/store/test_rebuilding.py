"""The stored state is the fold of the stored events: loading finds it again, rebuilding mends what differs."""

from collections.abc import Callable
from typing import Any

import pytest

from runs import store
from runs.models import EpochNow, Event, Run, Stream, Task
from runs.store import OpenGap
from tests.factories import START
from tests.store.conftest import Hand, completed, flow_completed, started

pytestmark = pytest.mark.django_db

type Hands = Callable[..., Hand]


def ended(hand: Hands, *names: str) -> Hand:
    one = hand(*names)
    one.write(started("fetch"), completed("fetch"))
    one.write(started("clean", START + 2), gap=OpenGap("disconnected", 3, START + 3))
    one.write(
        {"event_type": "task_failed", "task_id": "id-clean", "timestamp": START + 4, "error": {"message": "no"}},
        flow_completed(output={"report": 1}),
        close_gaps_at=START + 5,
        done=True,
    )
    return one


@pytest.mark.parametrize("names", [(), ("fetch", "clean", "report")], ids=["attached", "planned"])
def test_what_is_loaded_is_the_state_that_was_written(hand: Hands, names: tuple[str, ...]) -> None:
    one = ended(hand, *names)
    loaded = store.load(one.claim.run_id)
    assert loaded.state.tasks == one.state.tasks
    assert loaded.state.seen == one.state.seen
    assert loaded.state.terminals == one.state.terminals
    assert (loaded.state.gapped, loaded.run.last_seq, loaded.run.rev) == (True, 5, one.rev)
    assert store.rebuild(one.claim.run_id) == []


def test_an_answer_of_task_status_is_told_from_a_frame_that_imitates_one(hand: Hands) -> None:
    one = hand("fetch")
    payload = {"event_type": "stepline.task_status", "status": "completed", "results": {"fetch": 1}}
    event = one.event(payload)
    change = one.change()
    change.events = [event]
    store.commit([change])
    assert store.load(one.claim.run_id).state.terminal is None
    report = one.event(payload | {"n": 2}, from_status=True)
    change = one.change()
    change.events = [report]
    store.commit([change])
    terminal = store.load(one.claim.run_id).state.terminal
    assert terminal is not None
    assert (terminal.inferred, terminal.seq) == (True, 2)


TAMPERED: dict[str, tuple[Callable[[int], Any], str]] = {
    "a status": (lambda pk: Run.objects.filter(pk=pk).update(status="failed"), "status is 'failed'"),
    "a counter": (lambda pk: Run.objects.filter(pk=pk).update(tasks_succeeded=9), "tasks_succeeded is 9"),
    "a task": (lambda pk: Task.objects.filter(run_id=pk, name="clean").update(status="running"), "status is 'running'"),
    "attempts": (lambda pk: Task.objects.filter(run_id=pk, name="fetch").update(attempts=[]), "attempts is []"),
    "a missing task": (lambda pk: Task.objects.filter(run_id=pk, name="fetch").delete(), "is missing"),
    "a task too many": (
        lambda pk: Task.objects.create(run_id=pk, key="ghost", name="ghost", position=9),
        "task 'ghost' is stored, no event speaks of it",
    ),
    "last_seq": (lambda pk: Run.objects.filter(pk=pk).update(last_seq=4), "last_seq is 4"),
    "the gaps": (lambda pk: Run.objects.filter(pk=pk).update(gap_count=0), "gap_count is 0"),
    "the quarantine": (lambda pk: Run.objects.filter(pk=pk).update(rejected_count=3), "rejected_count is 3"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_row_that_was_tampered_with_is_found_and_mended(hand: Hands, what: str) -> None:
    one = ended(hand, "fetch", "clean", "report")
    tamper, words = TAMPERED[what]
    tamper(one.claim.run_id)
    before = Run.objects.get(pk=one.claim.run_id)
    found = store.rebuild(one.claim.run_id)
    assert any(words in sentence for sentence in found), found
    assert store.rebuild(one.claim.run_id, fix=True) == found
    assert store.rebuild(one.claim.run_id) == []
    after = Run.objects.get(pk=one.claim.run_id)
    assert after.rev > before.rev
    assert after.reset_rev == after.rev


def test_a_lost_event_is_found_and_cannot_be_mended(hand: Hands) -> None:
    one = ended(hand)
    Event.objects.filter(run_id=one.claim.run_id, seq=2).delete()
    assert any("4 are stored" in sentence for sentence in store.rebuild(one.claim.run_id))
    store.rebuild(one.claim.run_id, fix=True)
    assert any("4 are stored" in sentence for sentence in store.rebuild(one.claim.run_id))


def test_what_somebody_follows_now_is_looked_at_and_left_alone(hand: Hands) -> None:
    one = hand("fetch")
    one.write(started("fetch"))
    Task.objects.filter(run_id=one.claim.run_id).update(status="pending")
    assert store.rebuild(one.claim.run_id, fix=True)
    assert store.rebuild(one.claim.run_id)
    Stream.objects.update(lease_until=EpochNow() - 1)  # its worker seems to have died
    assert store.rebuild(one.claim.run_id, fix=True)
    assert store.rebuild(one.claim.run_id) == []
    assert store.commit([one.change(completed("fetch"))]) == {one.claim.run_id}  # it has not, and must not write now


def test_a_run_that_does_not_exist_is_said_to_be_missing(db: None) -> None:
    with pytest.raises(Run.DoesNotExist):
        store.load(4711)
