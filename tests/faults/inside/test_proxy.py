"""The fault proxy itself: it must do to a connection what the fault tests believe that it does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.faults.proxy import Fault, Link, Proxy, fault_proxy
from tests.scripted import eventually

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Far:
    """A server behind the proxy; the test speaks for it through `ends`, one pair of streams a connection."""

    def __init__(self) -> None:
        self.clients: list[Streams] = []  # kept: a stream that nobody holds closes its connection
        self.ends: list[Streams] = []
        self.over: list[asyncio.Event] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ends.append((reader, writer))
        self.over.append(asyncio.Event())
        await self.over[-1].wait()


@asynccontextmanager
async def far() -> AsyncIterator[tuple[Far, int]]:
    server = Far()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield server, listening.sockets[0].getsockname()[1]
    finally:
        for event in server.over:
            event.set()
        for _, writer in server.ends + server.clients:
            writer.transport.abort()
        listening.close()


@asynccontextmanager
async def between(*faults: Fault) -> AsyncIterator[tuple[Proxy, Far]]:
    """A proxy with these faults for its first connections, and what is behind it."""
    async with far() as (server, port), fault_proxy(port, dict(enumerate(faults))) as proxy, asyncio.timeout(60):
        yield proxy, server


async def connect(proxy: Proxy, server: Far) -> tuple[Streams, Streams, Link]:
    """A client's streams, the server's of the same connection, and the link between them."""
    number = len(server.ends)
    client = await asyncio.open_connection("127.0.0.1", proxy.port)
    server.clients.append(client)
    await reached(lambda: len(server.ends) > number and len(proxy.links) > number)
    there = server.ends[number]
    return client, there, proxy.link_from(there[1].get_extra_info("peername")[1])


async def reached(true: Callable[[], bool]) -> None:
    async def look() -> bool:
        return bool(true())

    await eventually(look)


async def nothing_more(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            raise AssertionError(f"this came: {await reader.read(100)!r}")


async def test_both_directions_and_their_ends_are_passed_on_and_counted() -> None:
    async with between() as (proxy, server):
        (reader, writer), (far_reader, far_writer), link = await connect(proxy, server)
        writer.write(b"question")
        writer.write_eof()
        assert await far_reader.read() == b"question"
        far_writer.write(b"a longer answer")
        far_writer.write_eof()
        assert await reader.read() == b"a longer answer"
        assert (link.up, link.down, proxy.forwarded, proxy.injected.total()) == (8, 15, 15, 0)


@pytest.mark.parametrize("after", [0, 1, 4, 5])
async def test_a_cut_ends_both_sides_in_order_after_just_so_many_bytes(after: int) -> None:
    async with between(Fault("cut", after)) as (proxy, server):
        (reader, _), (far_reader, far_writer), link = await connect(proxy, server)
        far_writer.write(b"fi")
        far_writer.write(b"ve!and more")
        assert await reader.read() == b"five!"[:after]
        assert await far_reader.read() == b""
        assert (link.down, proxy.injected) == (after, {"cut": 1})


async def test_only_the_planned_connection_is_struck() -> None:
    async with far() as (server, port), fault_proxy(port, {1: Fault("cut", 0)}) as proxy:
        for number, wanted in enumerate([b"x", b"", b"x"]):
            (reader, _), (_, far_writer), link = await connect(proxy, server)
            far_writer.write(b"x")
            assert await reader.read(1) == wanted
            assert link.number == number


async def test_a_reset_is_seen_as_one_on_both_sides() -> None:
    async with between() as (proxy, server):
        (reader, _), (far_reader, far_writer), link = await connect(proxy, server)
        far_writer.write(b"x")
        assert await reader.read(1) == b"x"
        link.strike("reset")
        for side in (reader, far_reader):
            with pytest.raises(ConnectionResetError):
                await side.read()
        assert proxy.injected == {"reset": 1}


async def test_a_stall_builds_back_pressure_and_what_it_held_comes_when_it_is_healed() -> None:
    async with between() as (proxy, server):
        (reader, _), (_, far_writer), link = await connect(proxy, server)
        link.planned = Fault("stall", 3)
        sent = b"0123456789" * 3_000_000

        async def send() -> None:
            far_writer.write(sent)
            await far_writer.drain()

        sending = asyncio.create_task(send())
        assert await reader.readexactly(3) == sent[:3]
        await nothing_more(reader)
        assert not sending.done()
        assert (link.down, proxy.injected) == (3, {"stall": 1})
        link.heal()
        assert await reader.readexactly(len(sent) - 3) == sent[3:]
        await sending


async def test_a_black_hole_swallows_both_directions_and_passes_on_no_end() -> None:
    async with between(Fault("hole", 2)) as (proxy, server):
        (reader, writer), (far_reader, far_writer), link = await connect(proxy, server)
        far_writer.write(b"abcd")
        assert await reader.readexactly(2) == b"ab"
        writer.write(b"anybody?")
        await reached(lambda: link.swallowed == 10)
        await nothing_more(reader)
        await nothing_more(far_reader)
        writer.transport.abort()
        await nothing_more(far_reader)
        assert proxy.injected == {"hole": 1}


async def test_what_comes_after_a_black_hole_is_healed_gets_through() -> None:
    async with between() as (proxy, server):
        (reader, _), (_, far_writer), link = await connect(proxy, server)
        link.strike("hole")
        far_writer.write(b"lost")
        await reached(lambda: link.swallowed == 4)
        link.heal()
        far_writer.write(b"found")
        assert await reader.readexactly(5) == b"found"


async def test_a_fault_on_a_connection_that_is_over_is_not_counted() -> None:
    async with between() as (proxy, server):
        (reader, _), _, link = await connect(proxy, server)
        link.strike("reset")
        link.strike("cut")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert proxy.injected == {"reset": 1}


async def test_a_client_is_refused_where_nothing_listens_behind_the_proxy() -> None:
    async with far() as (_, port):
        pass
    async with fault_proxy(port) as proxy:
        reader, _writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
