"""A TCP proxy on loopback that breaks connections on purpose, at a byte or on command, and counts what it did.

A connection can be *cut* (an orderly end to both sides), *reset* (RST to both), *stalled* (nothing is read, so that
back-pressure builds), or led into a black *hole*: both directions are swallowed, no end is passed on, and both sockets
stay open.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

CHUNK = 16 * 1024  # bytes read at once; asyncio reads up to twice as many ahead

type Kind = Literal["cut", "reset", "stall", "hole"]


class Fault(NamedTuple):
    kind: Kind
    after: int  # bytes from the upstream, the handshake's among them, that the client still gets


class _End(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def finish(self) -> None:
        """Say that no more comes, once what was written is out."""
        if self.writer.can_write_eof() and not self.writer.is_closing():
            with contextlib.suppress(OSError):
                self.writer.write_eof()

    def reset(self) -> None:
        connection: socket.socket = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # closed already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Link:
    """One connection through the proxy; `number` counts from 0. `strike` and `heal` may be called at any time."""

    def __init__(
        self, number: int, client: _End, upstream: _End, planned: Fault | None, injected: Counter[str]
    ) -> None:
        self.number = number
        self.planned = planned  # may be set later, too, to a byte that has not yet been forwarded
        self.down = self.up = 0  # bytes forwarded, to the client and to the upstream
        self.swallowed = 0  # bytes of both directions that the hole took
        self.port: int = upstream.writer.get_extra_info("sockname")[1]  # by which the upstream knows this connection
        self._client, self._upstream = client, upstream
        self._injected = injected
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._hole = self._over = False

    def strike(self, kind: Kind) -> None:
        """Do this to the connection now. Counted only where there is a connection to do it to."""
        if self._over:
            return
        self._injected[kind] += 1
        match kind:
            case "cut":
                self._end()
                self._client.finish()
                self._upstream.finish()
            case "reset":
                self._end()
                self._client.reset()
                self._upstream.reset()
            case "stall":
                self._flowing.clear()
            case "hole":
                self._hole = True

    def heal(self) -> None:
        """Forward again: what comes from now on, and what a stall has held up."""
        self._hole = False
        self._flowing.set()

    async def carry(self) -> None:
        """Forward until both sides have ended."""
        self._strike_when_due()
        await asyncio.gather(self._pump(self._upstream, self._client), self._pump(self._client, self._upstream))
        self._over = True
        if not self._hole:
            self.close()

    def close(self) -> None:
        self._client.writer.transport.abort()
        self._upstream.writer.transport.abort()

    def _end(self) -> None:
        self._over = True
        self._flowing.set()

    def _strike_when_due(self) -> None:
        if self.planned and self.down >= self.planned.after:
            kind, self.planned = self.planned.kind, None
            self.strike(kind)

    async def _pump(self, source: _End, target: _End) -> None:
        """Copy one direction to its end, and pass the end on. Nothing is read while stalled."""
        try:
            while data := await self._read(source):
                before = self.planned.after - self.down if self.planned and target is self._client else len(data)
                for part in filter(None, (data[:before], data[before:])):
                    await self._forward(part, target)
                    self._strike_when_due()
        except OSError:
            if not self._hole:
                target.writer.transport.abort()
        else:
            if not self._hole:
                target.finish()

    async def _read(self, source: _End) -> bytes:
        await self._flowing.wait()
        return await source.reader.read(CHUNK)

    async def _forward(self, data: bytes, target: _End) -> None:
        await self._flowing.wait()
        if self._hole:
            self.swallowed += len(data)
        elif not self._over:
            target.writer.write(data)
            if target is self._client:
                self.down += len(data)
            else:
                self.up += len(data)
            await target.writer.drain()


class Proxy:
    """Forwards to a loopback port. `plan` says what happens to the nth connection, unless it is told otherwise."""

    def __init__(self, target: int, plan: dict[int, Fault] | None = None) -> None:
        self.plan = plan or {}
        self.links: list[Link] = []
        self.injected: Counter[str] = Counter()  # by kind: how often it struck
        self.port = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._stopped = False

    @property
    def forwarded(self) -> int:
        """Bytes from the upstream that went on to clients."""
        return sum(link.down for link in self.links)

    def link_from(self, port: int) -> Link:
        """The connection that the upstream sees coming from this port."""
        return next(link for link in reversed(self.links) if link.port == port)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection, those in a hole included."""
        assert self._server is not None
        self._stopped = True
        self._server.close()
        for link in self.links:
            link.heal()
            link.close()
        await self._server.wait_closed()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _End(reader, writer)
        try:
            upstream = _End(*await asyncio.open_connection("127.0.0.1", self._target, limit=CHUNK))
        except OSError:
            client.reset()
            return
        number = len(self.links)
        link = Link(number, client, upstream, self.plan.get(number), self.injected)
        self.links.append(link)
        if self._stopped:  # while the connection to the upstream was made
            link.close()
        await link.carry()


@asynccontextmanager
async def fault_proxy(target: int, plan: dict[int, Fault] | None = None) -> AsyncIterator[Proxy]:
    proxy = Proxy(target, plan)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
