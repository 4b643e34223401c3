"""The outbox and who empties it: at least once, under one key, one worker at a time, for as long as it takes."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from django.db import OperationalError

from alerts import actions, delivering, fanning, outbox
from alerts.delivering import Deliverer
from alerts.models import Alert, Delivery, Kind
from alerts.sending import Answer
from runs.models import EpochNow, Happening
from runs.worker.db import on_thread
from tests.alerts.making import flow, happen, make_channel, make_rule, said
from tests.factories import make_run, make_user
from tests.receiver import Receiver
from tests.scripted import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("soon")]

NO, YES = Answer(False, "Answered 500"), Answer(True, "Answered 200")


def one_waiting() -> Delivery:
    make_rule(Kind.RUN_FAILED)
    happen(make_run(), Happening.Kind.FAILED)
    said()
    return Delivery.objects.get()


def now_due() -> None:
    Delivery.objects.update(next_at=EpochNow() - 1)


# --- the outbox ---------------------------------------------------------------------------------------------------


def test_what_one_worker_has_claimed_no_other_gets_until_the_lease_runs_out() -> None:
    one_waiting()
    (first,) = outbox.claim("one", 10)
    assert outbox.claim("other", 10) == []
    Delivery.objects.update(lease_until=EpochNow() - 1)
    (second,) = outbox.claim("other", 10)
    assert (first.attempt, second.attempt, second.key) == (1, 2, first.key)
    assert outbox.note(first, NO) is False
    assert outbox.note(second, YES) is True
    assert Delivery.objects.get().state == "delivered"


def test_of_two_that_claim_at_once_one_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one_waiting()
    seen = Delivery.objects.due
    stolen: list[outbox.Claimed] = []

    def steal() -> Any:
        found = seen()
        if not stolen:  # after the first look, before its update
            stolen.append(None)  # type: ignore[arg-type]
            list(found)
            stolen[:] = outbox.claim("thief", 10)
        return found

    monkeypatch.setattr(Delivery.objects, "due", steal)
    assert outbox.claim("late", 10) == []
    assert len(stolen) == 1


def test_attempts_are_spaced_and_end_and_the_last_answer_stays() -> None:
    one_waiting()
    for number in range(len(outbox.PAUSES)):
        (claimed,) = outbox.claim("w", 10)
        assert outbox.note(claimed, NO)
        row = Delivery.objects.get()
        assert (row.state, row.attempts, row.answer) == ("waiting", number + 1, "Answered 500")
        assert row.tried_at is not None
        assert 0 < row.next_at - row.tried_at < 2 * outbox.PAUSES[number] + 0.01
        now_due()
    (claimed,) = outbox.claim("w", 10)
    outbox.note(claimed, NO)
    assert Delivery.objects.get().state == "failed"
    now_due()
    assert outbox.claim("w", 10) == []


def test_the_pauses_in_earnest_grow_and_last_for_half_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert list(outbox.PAUSES) == sorted(outbox.PAUSES)
    assert 10 * 3600 < sum(outbox.PAUSES) < 24 * 3600


def test_a_failed_one_is_sent_again_by_hand_for_another_round_under_its_old_key() -> None:
    key = one_waiting().key
    Delivery.objects.update(state="failed", attempts=6)
    actions.send_again(Delivery.objects.get(), make_user("admin"))
    (claimed,) = outbox.claim("w", 10)
    assert (claimed.key, claimed.attempt) == (key, 7)
    outbox.note(claimed, NO)
    assert Delivery.objects.get().state == "waiting"


@pytest.mark.parametrize("state", ["waiting", "delivered"])
def test_nothing_else_is_sent_again_by_hand(state: str) -> None:
    one_waiting()
    Delivery.objects.update(state=state)
    with pytest.raises(actions.Refused):
        actions.send_again(Delivery.objects.get(), make_user("admin"))


def test_what_waits_for_a_deleted_channel_is_dropped() -> None:
    delivery = one_waiting()
    (claimed,) = outbox.claim("w", 10)
    assert delivery.channel
    assert actions.delete_channel(delivery.channel, make_user("admin")) == 1
    assert outbox.note(claimed, YES) is False
    row = Delivery.objects.get()
    assert (row.state, row.channel, row.channel_name) == ("dropped", None, delivery.channel_name)
    with pytest.raises(actions.Refused):
        actions.send_again(row, make_user("admin"))


def test_the_log_forgets_what_is_old_and_keeps_what_waits(settings: Any) -> None:
    settings.ALERT_LOG_DAYS = 1
    one_waiting()
    happen(make_run(), Happening.Kind.FAILED)
    said()
    Delivery.objects.filter(pk=Delivery.objects.latest("pk").pk).update(state="delivered")
    outbox.prune()
    assert Delivery.objects.count() == 2
    Alert.objects.update(created_at="2020-01-01T00:00:00Z")
    outbox.prune()
    assert Delivery.objects.get().state == "waiting"


# --- who empties it -------------------------------------------------------------------------------------------------


type StartOne = Callable[[str], Awaitable[Deliverer]]


@pytest_asyncio.fixture
async def start() -> Any:
    """Starts a further deliverer of this process."""
    started: list[tuple[Deliverer, asyncio.Task[None]]] = []

    async def one(name: str) -> Deliverer:
        deliverer = Deliverer(name)
        started.append((deliverer, asyncio.create_task(deliverer.run())))
        return deliverer

    yield one
    for deliverer, _ in started:
        deliverer.stop()
    await asyncio.gather(*(task for _, task in started))


async def failing_runs(receiver: Receiver, number: int = 1, **rule: Any) -> list[str]:
    """A rule that tells the receiver of failed runs, and so many of them; their names."""

    def make() -> list[str]:
        make_rule(Kind.RUN_FAILED, to=[make_channel(receiver.url)], **rule)
        one = flow()
        runs = [one() for _ in range(number)]
        for run in runs:
            happen(run, Happening.Kind.FAILED)
        return [run.run_name for run in runs]

    return await on_thread(make)


def until(state: str, number: int = 1) -> Awaitable[bool]:
    async def so() -> bool:
        return await on_thread(Delivery.objects.filter(state=state).count) == number

    return eventually(so, 40)


def told(receiver: Receiver) -> list[str]:
    return sorted({heard.body["run"]["run_name"] for heard in receiver.heard})


async def test_what_happened_arrives(receiver: Receiver, start: StartOne) -> None:
    names = await failing_runs(receiver, 30)
    await start("w")
    await until("delivered", 30)
    assert told(receiver) == sorted(names)
    assert set(receiver.keys().values()) == {1}


async def test_a_receiver_that_fails_and_comes_back_gets_all_under_the_same_keys(
    receiver: Receiver, start: StartOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PAUSES", (0.2,) * 200)
    names = await failing_runs(receiver, 3)
    receiver.status = 500
    await start("w")
    await eventually(_that(lambda: len(receiver.heard) >= 6), 40)
    await receiver.stop()
    await asyncio.sleep(0.3)
    receiver.status = 200
    await receiver.start()
    await until("delivered", 3)
    assert told(receiver) == sorted(names)
    assert len(receiver.keys()) == 3
    assert max(receiver.keys().values()) >= 2, "no attempt was repeated: the fault never fired"


async def test_a_receiver_that_hangs_delays_nobody_else(receiver: Receiver, start: StartOne, settings: Any) -> None:
    settings.ALERT_TIMEOUT_SECONDS = 60.0
    hanging = Receiver()
    hanging.status = 0
    await hanging.start()
    await failing_runs(hanging, 3)
    await start("w")
    await eventually(_that(lambda: len(hanging.heard) == 3), 40)
    await failing_runs(receiver, 1)
    await eventually(_that(lambda: bool(receiver.heard)), 40)
    await hanging.stop()


async def test_two_workers_share_the_work_and_double_nothing(receiver: Receiver, start: StartOne) -> None:
    receiver.pause = 0.02
    await failing_runs(receiver, 40)
    await start("one")
    await start("other")
    await until("delivered", 40)
    assert (len(receiver.keys()), len(receiver.heard)) == (40, 40)


async def test_one_that_ends_hears_what_is_on_its_way(receiver: Receiver, start: StartOne) -> None:
    receiver.pause = 0.5
    await failing_runs(receiver)
    deliverer = await start("w")
    await eventually(_that(lambda: bool(receiver.heard)), 40)
    deliverer.stop()
    await until("delivered")


async def test_one_that_ends_while_a_receiver_hangs_gives_the_delivery_back(
    receiver: Receiver, start: StartOne, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.ALERT_TIMEOUT_SECONDS = 60.0
    monkeypatch.setattr(delivering, "DRAIN_SECONDS", 0.1)
    receiver.status = 0
    await failing_runs(receiver)
    deliverer = await start("w")
    await eventually(_that(lambda: bool(receiver.heard)), 40)
    deliverer.stop()
    await eventually(lambda: on_thread(Delivery.objects.filter(owner="", attempts=1, state="waiting").exists))
    receiver.status = 200
    await start("heir")
    await until("delivered")
    assert [*receiver.keys().values()] == [2]


async def test_a_database_that_is_away_is_waited_for(
    receiver: Receiver, start: StartOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, failures = fanning.fan_out, list[int]()

    def fails_twice() -> int:
        if len(failures) < 2:
            failures.append(1)
            raise OperationalError("gone")
        return really()

    monkeypatch.setattr(fanning, "fan_out", fails_twice)
    await failing_runs(receiver)
    await start("w")
    await until("delivered")
    assert len(failures) == 2


async def test_an_attempt_that_cannot_be_noted_is_repeated_under_its_key(
    receiver: Receiver, start: StartOne, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(outbox, "LEASE_MARGIN", 0.0)
    settings.ALERT_TIMEOUT_SECONDS = 1.0
    really, failures = outbox.note, list[int]()

    def fails_once(claimed: outbox.Claimed, answer: Answer) -> bool:
        if not failures:
            failures.append(1)
            raise OperationalError("gone")
        return really(claimed, answer)

    monkeypatch.setattr(outbox, "note", fails_once)
    await failing_runs(receiver)
    await start("w")
    await until("delivered")
    assert failures
    assert [*receiver.keys().values()] == [2]


def _that(true: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return true()

    return partial(look)
