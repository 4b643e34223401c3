"""Cuts at any byte, a socket that stalls within a frame, and a database that does not answer: nothing is lost, nothing
doubled, and what waits has a bound.
"""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import OperationalError
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from runs import store
from runs.models import Run
from runs.store import Change
from runs.upstream import stream
from runs.worker import writer
from runs.worker.db import on_thread
from tests.faults.inside.many import EXAMPLES, Case, Example, Found, Stage, mark, stage
from tests.faults.ledger import Ledger, size
from tests.faults.proxy import Fault, Link
from tests.scripted import eventually
from tests.worker.conftest import soon  # noqa: F401  # the same waits as in earnest, only shorter

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(3600)]

examples = pytest.mark.parametrize("example", EXAMPLES, ids=[example.name for example in EXAMPLES])


@pytest.fixture(autouse=True)
def patient(soon: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:  # noqa: F811
    settings.LINGER_SECONDS = 1.0  # what the upstream sends at once is not late on a busy machine
    monkeypatch.setattr(stream, "KEEPALIVE_SECONDS", 600.0)  # pongs among the frames would move them


def size_of(frame: str) -> int:
    """Bytes on the wire of a text frame that the upstream sends: not masked, below 64 KiB."""
    payload = len(frame.encode())
    return payload + (2 if payload < 126 else 4)


async def everything(case: Case, socket: ServerConnection, link: Link) -> None:
    """To every connection; of the one that is cut, what had come whole has been delivered."""
    try:
        await case.launched.wait()
        await case.deliver(socket, case.frames)
        await socket.wait_closed()
    except ConnectionClosed:
        case.delivered += case.frames[: case.after]


async def handshake(playing: Stage, example: Example) -> int:
    """The bytes that come before the first frame."""
    sizes: list[int] = []

    async def script(case: Case, socket: ServerConnection, link: Link) -> None:
        await case.launched.wait()  # the launch goes out when the handshake is complete
        sizes.append(link.down)
        await everything(case, socket, link)

    async for _, kept, _ in playing.play([Case(f"{example.name}, measured", example, script)]):
        assert kept.run.status == example.outcome
    return sizes[0]


@examples
async def test_a_stream_that_is_cut_at_any_byte_and_sent_again_is_kept_whole(example: Example, ledger: Ledger) -> None:
    found = Found()
    async with stage() as playing:
        start = await handshake(playing, example)
        frames = Case("", example, everything).frames
        cases = []
        for at in range(0, start + sum(map(size_of, frames)), size(37, 1)):
            name = f"{example.name}, cut at {at}"
            case = Case(name, example, everything, {0: Fault("cut", at)}, gaps=1)
            ends = itertools.accumulate(map(size_of, case.frames), initial=start)
            case.after = sum(end <= at for end in ends) - 1 if at >= start else 0
            cases.append(case)
        async for case, kept, launches in playing.play(cases):
            found.look(case, kept, launches)
    assert found.problems == []
    ledger.enter(
        "stream cut at byte n, and sent again",
        times=len(cases), injected=found.injected, lost=found.lost, doubled=found.doubled,
    )  # fmt: skip


async def stalled_then_healed(case: Case, socket: ServerConnection, link: Link) -> None:
    await case.launched.wait()
    sending = asyncio.create_task(case.deliver(socket, case.frames))
    while not case.proxy.injected["stall"]:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)  # what follows the half of a frame must be waited for, not taken for the end
    case.injected += not sending.done()  # the proxy counts that it stalled; this, that it held the upstream up
    link.heal()
    await sending
    await socket.wait_closed()


@examples
async def test_a_frame_within_which_the_socket_stalls_comes_whole_and_once(example: Example, ledger: Ledger) -> None:
    found = Found()
    async with stage() as playing:
        start = await handshake(playing, example)
        cases = []
        for number, within in itertools.product(range(len(example.frames)), (1, 3, 0.5, -1)):
            name = f"{example.name}, frame {number} stalled at {within}"
            case = Case(name, example, stalled_then_healed)
            sizes = list(map(size_of, case.frames))
            at = int(sizes[number] * within) if within == 0.5 else int(within) % sizes[number]
            case.plan = {0: Fault("stall", start + sum(sizes[:number]) + at)}
            cases.append(case)
        async for case, kept, launches in playing.play(cases):
            found.look(case, kept, launches)
    assert found.problems == []
    ledger.enter(
        "socket stalls within a frame, then heals",
        times=2 * len(cases), injected=found.injected, lost=found.lost, doubled=found.doubled,
    )  # fmt: skip


class Database:
    """store.commit, which can be made to hang or to fail."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.answering = threading.Event()
        self.answering.set()
        self.hindered = 0

    def commit(self, changes: Sequence[Change], *, again: bool = False) -> set[int]:
        if not self.answering.is_set():
            self.hindered += 1
            if self.way == "fails":
                raise OperationalError("the database system is shutting down")
            self.answering.wait(120)
        return store.commit(changes, again=again)

    async def until_hindered(self) -> None:
        async def look() -> bool:
            return self.hindered > 0

        await eventually(look)


async def at_rest(number: Callable[[], int]) -> int:
    """The number when it has stood still for a second."""
    before, still = -1, 0
    while still < 10:
        before, still = number(), (still + 1 if number() == before else 0)
        await asyncio.sleep(0.1)
    return before


FLOOD, PADDING = 8000, 2000  # events of so many bytes
# What may be on its way to a worker that writes nothing: what its socket's inbox holds, the batch that waits for the
# database, what websockets has read ahead, and the buffers of the kernel and of the proxy.
FRAMES_HELD = stream.MAX_WAITING + stream.MAX_BATCH + 32
BUFFERS = 12 * 1024**2


@pytest.mark.parametrize("way", ["hangs", "fails"])
async def test_a_database_that_does_not_answer_stops_the_reading_of_the_socket_and_nothing_is_lost(
    way: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", (0.1,))
    database = Database(way)
    held: list[int] = []  # bytes
    slowed: list[bool] = []

    async def flood(case: Case, socket: ServerConnection, link: Link) -> None:
        await case.launched.wait()
        await case.deliver(socket, case.frames[:1])
        database.answering.clear()
        sending = asyncio.create_task(case.deliver(socket, case.frames[1:]))
        held.append(await at_rest(lambda: link.down))
        slowed.append(not sending.done())
        database.answering.set()
        await sending
        await socket.wait_closed()

    case = Case("flood", EXAMPLES[0], flood)
    _, _, start = mark(case.frames[0])
    case.frames[1:1] = [
        json.dumps({"event_type": "progress", "timestamp": start + n / 1000, "padding": "x" * PADDING})
        for n in range(1, FLOOD + 1)
    ]
    found = Found()
    async with stage(database.commit) as playing:
        async for one, kept, launches in playing.play([case]):
            found.look(one, kept, launches)
    assert found.problems == []
    assert slowed == [True], "the upstream was never kept from sending"
    assert held[0] < FRAMES_HELD * (PADDING + 100) + BUFFERS < FLOOD * PADDING
    ledger.enter(
        "database does not answer, and the upstream goes on",
        times=1, injected=min(1, database.hindered), lost=found.lost, doubled=found.doubled,
    )  # fmt: skip


async def test_what_came_while_the_database_did_not_answer_is_kept_though_the_run_was_about_to_end(
    ledger: Ledger, settings: Any
) -> None:
    settings.LINGER_SECONDS = 3.0
    database = Database("hangs")

    async def script(case: Case, socket: ServerConnection, link: Link) -> None:
        await case.launched.wait()
        await case.deliver(socket, case.frames[-1:])
        await eventually(lambda: on_thread(Run.objects.filter(run_name=case.name, status="succeeded").exists))
        database.answering.clear()
        await case.deliver(socket, case.frames[:1])
        await database.until_hindered()
        await case.deliver(socket, case.frames[1:-1])
        await asyncio.sleep(settings.LINGER_SECONDS + 0.5)
        database.answering.set()
        await socket.wait_closed()

    found = Found()
    async with stage(database.commit) as playing:
        async for case, kept, launches in playing.play([Case("late", EXAMPLES[0], script)]):
            found.look(case, kept, launches)
    assert found.problems == []
    ledger.enter(
        "database does not answer while a run is about to end",
        times=1, injected=min(1, database.hindered), lost=found.lost, doubled=found.doubled,
    )  # fmt: skip


async def test_a_run_that_has_ended_is_not_connected_to_again_while_its_end_is_written() -> None:
    def slow(changes: Sequence[Change], *, again: bool = False) -> set[int]:
        time.sleep(0.3)
        return store.commit(changes, again=again)

    async def script(case: Case, socket: ServerConnection, link: Link) -> None:
        await case.launched.wait()
        await case.deliver(socket, case.frames)

    found = Found()
    async with stage(slow) as playing:
        async for case, kept, launches in playing.play([Case("over", EXAMPLES[0], script)]):
            found.look(case, kept, launches)
            found.expect(case, "connections", len(case.proxy.links), 1)
    assert found.problems == []
