"""Who follows what: claimed on a hint, kept by renewals, handed over at the end, taken over from the dead."""

import asyncio
import functools
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from channels.layers import InMemoryChannelLayer
from django.db import InternalError, OperationalError

from runs import publish, store
from runs.models import Event, Gap, Run, Stream, Upstream, Worker
from runs.worker import follow, supervisor
from runs.worker.db import on_thread
from runs.worker.supervisor import Supervisor
from tests import seed
from tests.scripted import ScriptedUpstream, eventually, hold, saying
from tests.store.conftest import Hand
from tests.worker.conftest import Ended, attach
from tests.worker.test_follow import SUPPORT, SUPPORT_DEFINITION, TICKET, launch

pytestmark = pytest.mark.django_db(transaction=True)

NEVER = 10_000.0  # seconds

type Start = Callable[[str], Awaitable[Supervisor]]


@pytest_asyncio.fixture
async def start(transactional_db: None) -> AsyncIterator[Start]:
    """Starts a further worker of this process."""
    started: list[tuple[Supervisor, asyncio.Task[None]]] = []

    async def one(name: str) -> Supervisor:
        working = Supervisor(name)
        started.append((working, asyncio.create_task(working.run())))
        return working

    yield one
    for working, _ in started:
        working.stop()
    await asyncio.gather(*(task for _, task in started))


async def stream_of(run: Run) -> Stream:
    return await on_thread(Stream.objects.get, run_id=run.pk)


def until_followed_by(run: Run, name: str) -> Awaitable[bool]:
    return eventually(lambda: on_thread(Stream.objects.filter(run_id=run.pk, owner=name).exists))


def until_events(run: Run, number: int) -> Awaitable[bool]:
    return eventually(lambda: on_thread(Run.objects.filter(pk=run.pk, last_seq=number).exists))


async def gaps(run: Run) -> list[tuple[str, bool]]:
    rows = await on_thread(lambda: list(Gap.objects.filter(run_id=run.pk).order_by("pk")))
    return [(gap.reason, gap.ended_at is not None) for gap in rows]


def rest_for_the_second_visitor(upstream: ScriptedUpstream, before: int) -> None:
    """The first to connect gets so many frames of the support run, whoever comes later gets the rest."""
    frames = seed.frames("customer_support")

    async def visit(socket: Any, number: int) -> None:
        await saying(*(frames[:before] if number == 0 else frames[before:]), then=hold)(socket, number)

    upstream.visit = visit


async def test_the_run_of_a_dead_worker_is_taken_over_when_its_lease_ends_and_shows_the_gap(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = seed.frames("customer_support")
    monkeypatch.setattr(store, "LEASE_SECONDS", 1.0)
    run = await attach(upstream_row, SUPPORT, TICKET)

    def live_and_die() -> None:
        (claim,) = store.claim("dead", 1)
        store.renew("dead", [run.pk], [run.pk])
        assert store.commit([Hand(claim).change({"event_type": "flow_started", "timestamp": 1_756_800_000.0})]) == set()

    await on_thread(live_and_die)
    upstream.visit = saying(*frames, then=hold)
    await start("heir")
    assert (await stream_of(run)).owner == "dead"
    run = await ended(run)
    assert (run.status, run.last_seq) == ("succeeded", 1 + len(frames))
    assert ((await stream_of(run)).owner, (await stream_of(run)).epoch) == ("heir", 2)
    assert await gaps(run) == [("takeover", True)]


async def test_a_worker_that_ends_in_order_hands_over_at_once(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LEASE_SECONDS", NEVER)
    rest_for_the_second_visitor(upstream, 3)
    first = await start("first")
    run = await launch(upstream_row, SUPPORT_DEFINITION, TICKET)
    await until_events(run, 3)
    second = await start("second")
    first.stop()
    run = await ended(run)
    assert second.name == (await stream_of(run)).owner
    assert (run.status, run.last_seq, len(upstream.launches)) == ("succeeded", 7, 1)
    assert await gaps(run) == [("takeover", True)]
    await eventually(lambda: on_thread(lambda: not Worker.objects.filter(name="first").exists()))


async def test_a_worker_that_ends_writes_what_had_arrived_before_it_goes(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = seed.frames("customer_support")
    go = threading.Event()
    commit = store.commit

    def slow(changes: Any, **more: Any) -> set[int]:
        if any(change.events for change in changes):
            go.wait(20)
        return commit(changes, **more)

    async def visit(socket: Any, number: int) -> None:
        for frame in frames[:5] if number == 0 else frames[5:]:
            await socket.send(frame)
            await asyncio.sleep(0.05)  # so that each is a batch of its own
        sent.set()
        await hold(socket, number)

    sent = asyncio.Event()
    upstream.visit = visit
    working = Supervisor("first")
    working._writer._commit = slow
    task = asyncio.create_task(working.run())
    run = await attach(upstream_row, SUPPORT, TICKET)
    await sent.wait()
    working.stop()
    asyncio.get_running_loop().call_later(0.3, go.set)
    await task
    assert (await on_thread(Run.objects.get, pk=run.pk)).last_seq == 5
    await start("second")
    assert (await ended(run)).last_seq == 7


async def test_a_worker_that_stood_still_does_not_launch_what_another_may_follow_by_now(
    upstream: ScriptedUpstream, upstream_row: Upstream, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = Supervisor("slow")
    stood_still = True
    monkeypatch.setattr(working, "_may_act", lambda: not stood_still)
    monkeypatch.setattr(working, "_give_up", lambda: asyncio.sleep(0.1))
    task = asyncio.create_task(working.run())
    upstream.visit = hold
    run = await launch(upstream_row, SUPPORT_DEFINITION, TICKET)
    await eventually(lambda: on_thread(Run.objects.filter(pk=run.pk, status="launching").exists))
    await asyncio.sleep(0.3)
    assert upstream.launches == []
    # It notes that it sends, sees that it may not, and takes the note back, again and again.
    await eventually(lambda: on_thread(Run.objects.filter(pk=run.pk, launch__sent_at=None).exists))
    assert upstream.launches == []
    stood_still = False
    upstream.visit = saying(*seed.frames("customer_support"), then=hold)
    await eventually(lambda: told(upstream))
    working.stop()
    await task


async def told(upstream: ScriptedUpstream) -> bool:
    return len(upstream.launches) == 1


async def test_a_launch_that_is_on_its_way_is_waited_for_before_handing_over(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, ended: Ended
) -> None:
    upstream.launch_delay = 0.7
    first = await start("first")
    run = await launch(upstream_row, SUPPORT_DEFINITION, TICKET)

    async def asked() -> bool:
        return bool(upstream.launches)

    await eventually(asked)
    first.stop()
    await until_followed_by(run, "")
    row = await on_thread(Run.objects.select_related("launch").get, pk=run.pk)
    assert (row.launch.task_id, row.status, row.notice) == ("t-1", "running", "")
    upstream.visit = saying(*seed.frames("customer_support"), then=hold)
    await start("second")
    run = await ended(run)
    assert (run.status, len(upstream.launches)) == ("succeeded", 1)


async def test_a_launch_whose_answer_nobody_waits_for_any_more_is_handed_over_as_unconfirmed(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LAUNCH_GRACE_SECONDS", 0.1)
    upstream.launch_delay = 3.0
    first = await start("first")
    run = await launch(upstream_row, SUPPORT_DEFINITION, TICKET)

    async def asked() -> bool:
        return bool(upstream.launches)

    await eventually(asked)
    first.stop()
    await until_followed_by(run, "")
    await start("second")
    await eventually(lambda: on_thread(Run.objects.filter(pk=run.pk, notice__startswith="Launch unconfirmed").exists))
    assert len(upstream.launches) == 1


async def test_a_follower_that_was_taken_over_ends_quietly_and_writes_nothing(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    go = asyncio.Event()
    frames = seed.frames("customer_support")

    async def visit(socket: Any, number: int) -> None:
        await socket.send(frames[0])
        await go.wait()
        await saying(*frames[1:], then=hold)(socket, number)

    upstream.visit = visit
    working = await start("first")
    run = await attach(upstream_row, SUPPORT, TICKET)
    await until_events(run, 1)

    def steal() -> None:
        Stream.objects.filter(run_id=run.pk).update(owner="thief", epoch=9)

    await on_thread(steal)
    before = await on_thread(Run.objects.get, pk=run.pk)
    go.set()

    async def let_go() -> bool:
        return not working._followers

    await eventually(let_go)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == [f"run {run.pk}: another worker follows it now"]
    after = await on_thread(Run.objects.get, pk=run.pk)
    assert (after.last_seq, after.rev) == (before.last_seq, before.rev)
    assert ((await stream_of(run)).owner, await on_thread(Event.objects.count)) == ("thief", 1)


async def test_a_lease_that_another_worker_took_is_let_go_at_the_next_renewal(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RENEW_SECONDS", 0.05)
    working = await start("first")
    run = await attach(upstream_row, SUPPORT, TICKET)

    async def listening() -> bool:
        return bool(upstream.paths)

    await eventually(listening)
    await on_thread(lambda: Stream.objects.filter(run_id=run.pk).update(owner="thief", epoch=9))

    async def let_go() -> bool:
        return not working._followers

    await eventually(let_go)
    assert (await stream_of(run)).owner == "thief"


@pytest.mark.parametrize(
    ("error", "patience"),
    [(InternalError("no lease for this worker"), 60.0), (OperationalError("the database is away"), 0.1)],
    ids=["refused", "away for long"],
)
async def test_a_worker_whose_renewals_fail_lets_go_before_its_leases_end_and_comes_back(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    start: Start,
    ended: Ended,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    patience: float,
) -> None:
    monkeypatch.setattr(supervisor, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "ACT_SECONDS", 0.6)
    monkeypatch.setattr(supervisor, "AWAY_SECONDS", patience)
    monkeypatch.setattr(store, "LEASE_SECONDS", 4.0)
    rest_for_the_second_visitor(upstream, 2)
    working = await start("first")
    run = await attach(upstream_row, SUPPORT, TICKET)
    await until_events(run, 2)
    renew = store.renew

    def broken(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(store, "renew", broken)
    let_go_at: list[float | None] = []

    async def let_go() -> bool:
        if not working._followers:
            let_go_at.append((await stream_of(run)).lease_until)
        return bool(let_go_at)

    await eventually(let_go)
    assert "giving 1 runs up" in caplog.text
    assert let_go_at[0] is not None, "nobody released it"
    assert await on_thread(store.claim, "other", 1) == [], "it has let go while its lease still stood"
    monkeypatch.setattr(store, "renew", renew)
    run = await ended(run)
    assert (run.status, run.last_seq) == ("succeeded", 7)
    assert (await stream_of(run)).epoch == 2


@pytest.mark.parametrize(("alone", "patience"), [(True, 0.1), (False, 60.0)], ids=["alone", "one of several"])
async def test_a_worker_keeps_its_runs_and_what_has_arrived_while_the_database_is_away(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    ended: Ended,
    monkeypatch: pytest.MonkeyPatch,
    alone: bool,
    patience: float,
) -> None:
    monkeypatch.setattr(supervisor, "AWAY_SECONDS", patience)
    monkeypatch.setattr(store, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(supervisor, "ACT_SECONDS", 0.3)
    monkeypatch.setattr(supervisor, "RENEW_SECONDS", 0.1)
    frames = seed.frames("customer_support")
    away = threading.Event()
    commit, renew, tries = store.commit, store.renew, 0

    def absent(*arguments: Any, real: Callable[..., Any], **more: Any) -> Any:
        nonlocal tries
        if away.is_set():
            tries += 1
            raise OperationalError("the database is away")
        return real(*arguments, **more)

    monkeypatch.setattr(store, "renew", functools.partial(absent, real=renew))
    go = asyncio.Event()

    async def visit(socket: Any, number: int) -> None:
        assert number == 0, "it came back: what had arrived is lost"
        await saying(*frames[:2])(socket, number)
        await go.wait()
        await saying(*frames[2:], then=hold)(socket, number)

    upstream.visit = visit
    working = Supervisor("first", alone=alone)
    working._writer._commit = functools.partial(absent, real=commit)
    task = asyncio.create_task(working.run())
    run = await attach(upstream_row, SUPPORT, TICKET)
    await until_events(run, 2)
    away.set()
    go.set()
    await asyncio.sleep(2.0)  # the lease has run out long ago
    assert tries > 3
    away.clear()
    run = await ended(run)
    assert (run.status, run.last_seq, run.gap_count) == ("succeeded", 7, 0)
    working.stop()
    await task


async def test_a_hint_makes_it_look_at_once(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SWEEP_SECONDS", NEVER)
    monkeypatch.setattr(supervisor, "RENEW_SECONDS", NEVER)
    working = await start("first")

    async def looked() -> bool:
        return not working._wake.is_set()

    await eventually(looked)
    run = await on_thread(
        lambda: store.create_run(upstream=upstream_row, flow_name=SUPPORT, run_name=TICKET, user_id=None)
    )
    await publish.poke_workers()
    await until_followed_by(run, "first")
    await eventually(lambda: on_thread(Run.objects.filter(pk=run.pk, connection="live").exists))
    await on_thread(store.request_stop, run.pk)
    await publish.poke_workers()
    assert (await ended(run)).status == "stopped"


@pytest.mark.usefixtures("in_memory_layer")
async def test_a_channel_layer_that_fails_is_listened_to_again(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = False
    failures = 0
    receive = InMemoryChannelLayer.receive

    async def flaky(self: InMemoryChannelLayer, channel: str) -> Any:
        nonlocal failures
        listening = asyncio.create_task(receive(self, channel))
        while not listening.done():
            if away:
                failures += 1
                listening.cancel()
                raise ConnectionError("the layer is away")
            await asyncio.wait({listening}, timeout=0.02)
        return listening.result()

    monkeypatch.setattr(InMemoryChannelLayer, "receive", flaky)
    monkeypatch.setattr(supervisor, "SWEEP_SECONDS", NEVER)
    hints = 0

    def wake(self: Supervisor) -> None:
        nonlocal hints
        hints += 1
        self._wake.set()

    monkeypatch.setattr(Supervisor, "wake", wake)
    await start("first")

    async def heard() -> bool:
        before = hints
        await publish.poke_workers()
        await asyncio.sleep(0.05)
        return hints > before

    await eventually(heard)  # now a consumer listens as well
    away = True

    async def failed() -> bool:
        return failures > 1

    await eventually(failed)
    away = False
    await eventually(heard)
    run = await attach(upstream_row, SUPPORT, TICKET)
    await publish.poke_workers()
    await until_followed_by(run, "first")


async def test_what_no_hint_told_of_is_found_by_the_sweep(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(self: Any, channel: str) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(InMemoryChannelLayer, "receive", deaf)
    await start("first")
    run = await attach(upstream_row, SUPPORT, TICKET)
    await until_followed_by(run, "first")


async def test_a_run_whose_follower_fails_is_taken_up_again(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.visit = saying(*seed.frames("customer_support"), then=hold)
    run_it = follow.Follower.run
    failures = 2

    async def failing(self: follow.Follower) -> bool:
        nonlocal failures
        if failures:
            failures -= 1
            raise RuntimeError("a bug")
        return await run_it(self)

    monkeypatch.setattr(follow.Follower, "run", failing)
    await start("first")
    run = await ended(await attach(upstream_row, SUPPORT, TICKET))
    assert (run.status, run.last_seq, failures) == ("succeeded", 7, 0)
    assert (await stream_of(run)).epoch == 3


async def test_after_the_database_was_away_the_owners_come_first(
    start: Start, upstream_row: Upstream, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "YIELD_SECONDS", 3.0)
    claim, tries = store.claim, list[float]()

    def away(*arguments: Any) -> Any:
        tries.append(time.monotonic())
        if len(tries) == 1:
            raise OperationalError("the database is away")
        return claim(*arguments)

    monkeypatch.setattr(store, "claim", away)
    await start("first")
    await until_followed_by(await attach(upstream_row, SUPPORT, TICKET), "first")
    assert tries[1] - tries[0] >= 3.0


async def test_nothing_new_is_claimed_while_the_database_takes_no_writes(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = await start("first")
    working._writer.failing = True
    claims = 0
    claim = store.claim

    def counted(*args: Any) -> Any:
        nonlocal claims
        claims += 1
        return claim(*args)

    monkeypatch.setattr(store, "claim", counted)
    run = await attach(upstream_row, SUPPORT, TICKET)
    await asyncio.sleep(0.3)
    assert claims == 0
    working._writer.failing = False
    await until_followed_by(run, "first")


async def test_no_more_runs_are_followed_than_a_worker_can(
    upstream: ScriptedUpstream, upstream_row: Upstream, start: Start, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CAPACITY", 2)
    go = asyncio.Event()

    async def visit(socket: Any, number: int) -> None:
        await go.wait()
        await saying('{"event_type": "flow_completed", "timestamp": 1756800000.5}', then=hold)(socket, number)

    upstream.visit = visit
    runs = [await attach(upstream_row, SUPPORT, f"run {number}") for number in range(5)]
    working = await start("first")
    await until_followed_by(runs[1], "first")
    await asyncio.sleep(0.3)
    assert len(working._followers) == 2
    assert await on_thread(Stream.objects.filter(owner="").count) == 3
    go.set()
    for run in runs:
        assert (await ended(run)).status == "succeeded"


async def test_a_worker_beats_and_leaves_no_beat_behind(start: Start) -> None:
    working = await start("first")
    await eventually(lambda: on_thread(Worker.objects.filter(name="first").exists))
    working.stop()
    await eventually(lambda: on_thread(lambda: not Worker.objects.exists()))
