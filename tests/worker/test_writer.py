"""Group commit: what waits goes together, a refused change fails alone, a silent database is waited for."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from django.db import IntegrityError, OperationalError

from runs import store
from runs.models import Event, Run, Upstream
from runs.store import Change, Claim, Fenced
from runs.worker import writer
from runs.worker.db import on_thread
from runs.worker.writer import Writer
from tests.factories import make_upstream
from tests.store.conftest import Hand, started

type Rings = list[set[int]]
type Ring = Callable[[set[int]], Awaitable[None]]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", (0.0,))


def change(run_id: int) -> Change:
    return Change(Claim(run_id, "me", 1), 2)


class Database:
    """Takes batches; `script` may say what each try gives: a set of fenced runs, or an error to raise."""

    def __init__(self, *script: set[int] | Exception) -> None:
        self.script = list(script)
        self.batches: list[list[int]] = []
        self.again: list[bool] = []
        self.refuses: dict[int, Exception] = {}
        self.open = threading.Event()
        self.open.set()

    def commit(self, changes: Sequence[Change], *, again: bool = False) -> set[int]:
        self.open.wait(10)
        runs = [one.claim.run_id for one in changes]
        self.batches.append(runs)
        self.again.append(again)
        for run_id in runs:
            if run_id in self.refuses:
                raise self.refuses[run_id]
        answer = self.script.pop(0) if self.script else set()
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def running(commit: Callable[..., set[int]], ring: Ring) -> AsyncIterator[Writer]:
    working = Writer(commit, ring)
    task = asyncio.create_task(working.run())
    try:
        yield working
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def rings() -> Rings:
    return []


@pytest.fixture
def ring(rings: Rings) -> Ring:
    async def note(runs: set[int]) -> None:
        rings.append(runs)

    return note


async def rung(rings: Rings, runs: set[int]) -> None:
    """Wait until it has rung for exactly these."""
    async with asyncio.timeout(5):
        while set().union(*rings) != runs:
            await asyncio.sleep(0.01)


async def test_what_arrives_while_one_transaction_is_written_goes_with_the_next(ring: Ring, rings: Rings) -> None:
    database = Database()
    async with running(database.commit, ring) as working:
        database.open.clear()
        waiting = [asyncio.create_task(working.submit(change(1)))]
        await asyncio.sleep(0.05)
        waiting += [asyncio.create_task(working.submit(change(run))) for run in (2, 3, 4)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        database.open.set()
        await asyncio.gather(*waiting)
        await rung(rings, {1, 2, 3, 4})
    assert database.batches == [[1], [2, 3, 4]]


async def test_a_change_that_the_database_refuses_fails_its_own_follower_only(ring: Ring, rings: Rings) -> None:
    database = Database()
    database.refuses = {2: IntegrityError("twice")}
    async with running(database.commit, ring) as working:
        results = await asyncio.gather(*(working.submit(change(run)) for run in (1, 2, 3)), return_exceptions=True)
        assert [type(result) for result in results] == [type(None), IntegrityError, type(None)]
        await working.submit(change(4))
        await rung(rings, {1, 3, 4})


@pytest.mark.parametrize("error", [UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), OverflowError()])
async def test_a_change_that_cannot_even_be_sent_to_the_database_fails_alone_too(ring: Ring, error: Exception) -> None:
    database = Database()
    database.refuses = {2: error}
    async with running(database.commit, ring) as working:
        async with asyncio.timeout(5):
            results = await asyncio.gather(*(working.submit(change(run)) for run in (1, 2, 3)), return_exceptions=True)
            await working.submit(change(4))
    assert results == [None, error, None]


async def test_a_database_that_does_not_answer_is_tried_until_it_does(ring: Ring, rings: Rings) -> None:
    database = Database(*[OperationalError("gone")] * 7)
    async with running(database.commit, ring) as working:
        await working.submit(change(1))
        assert not working.failing
    assert database.batches == [[1]] * 8
    assert database.again == [False] + [True] * 7


async def test_it_says_that_it_fails_while_the_database_does_not_answer(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", (0.2,))
    async with running(Database(OperationalError("gone")).commit, ring) as working:
        waiting = asyncio.create_task(working.submit(change(1)))
        while not working.failing:
            await asyncio.sleep(0.01)
        assert not waiting.done()
        await waiting
        assert not working.failing


async def test_a_database_that_refuses_a_change_after_it_was_away_does_not_count_as_away(ring: Ring) -> None:
    database = Database(OperationalError("away"), IntegrityError("no such run"))
    async with running(database.commit, ring) as working:
        with pytest.raises(IntegrityError):
            await working.submit(change(1))
        assert not working.failing


async def test_only_the_follower_of_a_fenced_run_hears_of_it(ring: Ring, rings: Rings) -> None:
    async with running(Database({2}).commit, ring) as working:
        results = await asyncio.gather(*(working.submit(change(run)) for run in (1, 2)), return_exceptions=True)
        await rung(rings, {1})
    assert results[0] is None
    assert isinstance(results[1], Fenced)


async def test_a_follower_that_is_gone_keeps_nobody_from_being_told(ring: Ring) -> None:
    database = Database()
    async with running(database.commit, ring) as working:
        database.open.clear()
        first, second = (asyncio.create_task(working.submit(change(run))) for run in (1, 2))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.sleep(0)
        database.open.set()
        await second
    assert first.cancelled()


@pytest.mark.parametrize("hangs", [False, True], ids=["breaks", "hangs"])
async def test_a_doorbell_that_fails_does_not_hold_up_the_writing(hangs: bool) -> None:
    async def broken(runs: set[int]) -> None:
        if hangs:
            await asyncio.Event().wait()
        raise RuntimeError("no layer")

    database = Database()
    async with running(database.commit, broken) as working, asyncio.timeout(5):
        for run in range(5):
            await working.submit(change(run))
    assert database.batches == [[0], [1], [2], [3], [4]]


async def test_what_changes_while_it_rings_is_rung_for_once_afterwards(rings: Rings) -> None:
    may_ring = asyncio.Event()

    async def slow(runs: set[int]) -> None:
        rings.append(runs)
        await may_ring.wait()

    async with running(Database().commit, slow) as working:
        for run in (1, 2, 3, 2):
            await working.submit(change(run))
            await asyncio.sleep(0.01)
        may_ring.set()
        await rung(rings, {1, 2, 3})
    assert rings == [{1}, {2, 3}]


# --- with a real database -----------------------------------------------------------------------------------------


@pytest.fixture
def upstream_of_hands(transactional_db: None) -> Upstream:
    return make_upstream()


async def hand(upstream: Upstream, run_name: str) -> Hand:
    def make() -> Hand:
        run = store.create_run(upstream=upstream, flow_name="Nightly", run_name=run_name, user_id=None)
        return Hand(next(claim for claim in store.claim("me", 100) if claim.run_id == run.pk))

    return await on_thread(make)


async def events(one: Hand) -> int:
    return await on_thread(Event.objects.filter(run_id=one.claim.run_id).count)


@pytest.mark.django_db(transaction=True)
async def test_a_commit_whose_outcome_was_not_heard_is_not_doubled(ring: Ring, upstream_of_hands: Upstream) -> None:
    one, two = await hand(upstream_of_hands, "one"), await hand(upstream_of_hands, "two")
    tries = 0

    def deaf(changes: Sequence[Change], *, again: bool = False) -> set[int]:
        nonlocal tries
        tries += 1
        fenced = store.commit(changes, again=again)
        if tries == 1:
            raise OperationalError("server closed the connection unexpectedly")
        return fenced

    async with running(deaf, ring) as working:
        await working.submit(one.change(started("a"), receipts={1: 1}))
        await asyncio.gather(working.submit(one.change(started("b"))), working.submit(two.change(started("a"))))
    assert tries == 3
    assert (await events(one), await events(two)) == (2, 1)
    assert (await on_thread(Event.objects.get, run_id=one.claim.run_id, seq=1)).receipts == 2
    assert await on_thread(store.rebuild, one.claim.run_id) == []


@pytest.mark.django_db(transaction=True)
async def test_a_row_that_no_database_can_hold_costs_nobody_else_anything(
    ring: Ring, upstream_of_hands: Upstream
) -> None:
    good, bad = await hand(upstream_of_hands, "good"), await hand(upstream_of_hands, "bad")
    async with running(store.commit, ring) as working:
        async with asyncio.timeout(10):
            results = await asyncio.gather(
                working.submit(good.change(started("a"))),
                working.submit(bad.change(started("a"), run={"notice": "\ud800"})),
                return_exceptions=True,
            )
            await working.submit(good.change(started("b")))
    assert results[0] is None
    assert isinstance(results[1], Exception)
    assert (await events(good), await events(bad)) == (2, 0)
    assert not await on_thread(Run.objects.filter(pk=bad.claim.run_id, rev__gt=1).exists)
