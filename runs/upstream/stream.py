"""One run's socket at the upstream: frames in batches, with reconnection that goes on until its owner stops it.

It says when it connected and when it was away, and never invents, drops or reorders a frame. What it has received and
its owner has not yet taken is bounded, so a slow owner slows the upstream.
"""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from urllib.parse import quote

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI, WebSocketException

from outgoing.addresses import Forbidden
from outgoing.sockets import guarded_connect
from runs.upstream.connection import MAX_REFUSED, Connection, Refused

CONNECT_SECONDS = 15.0
PING_SECONDS = 30.0  # the upstream's own ping, a message of text
KEEPALIVE_SECONDS = 20.0  # between the protocol's pings; as long without the answer and the connection is given up
MAX_BATCH, MAX_BATCH_SIZE = 256, 1024 * 1024  # frames and characters that the owner gets at once, and one frame more
MAX_WAITING, MAX_WAITING_SIZE = 512, 16 * 1024 * 1024  # frames and characters received and not yet taken, likewise
BACKOFF_FIRST, BACKOFF_MOST = 0.5, 30.0  # seconds, before jitter
FRAME_TOO_LARGE, NO_PONG = 1009, 1011  # codes with which we close
MAX_REASON = 4000  # characters; still unmasked, so the owner masks, then shortens

logger = logging.getLogger(__name__)


type Received = tuple[str | bytes | Refused, float]


class Connected(msgspec.Struct, frozen=True):
    at: float  # epoch seconds


class Frames(msgspec.Struct, frozen=True):
    """Frames in order of arrival, each with its time of receipt in epoch seconds."""

    frames: list[Received]


class Away(msgspec.Struct, frozen=True):
    """Not connected: the connection ended, or a try to connect failed."""

    at: float  # epoch seconds; of a connection that ended: when it was last heard, for all after that may be missing
    reason: str
    was_connected: bool
    oversized: bool = False  # the connection was closed for a frame over MAX_REFUSED
    forbidden: bool = False  # connections may not go there


Happening = Connected | Frames | Away


def address(socket_url: str, flow_name: str, run_name: str) -> str:
    return f"{socket_url}/ws/{quote(flow_name, safe='')}/{quote(run_name, safe='')}"


def backoff(failures: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds before the next try: doubling, and anywhere in the upper half, so that many do not come at once."""
    longest: float = min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(failures, 10))
    return longest * (0.5 + draw() / 2)


async def follow(url: str, leave: asyncio.Event, *, compression: bool = False) -> AsyncGenerator[Happening]:
    """What happens on this socket, until `leave` is set: then it is closed in order, and what had arrived by then is
    still given out. The owner may also close the generator, which gives out nothing more.
    """
    failures = 0
    while not leave.is_set():
        was_connected = oversized = forbidden = False
        before = failures
        inbox = _Inbox()
        try:
            async with guarded_connect(
                url,
                open_timeout=CONNECT_SECONDS,
                ping_interval=None,
                close_timeout=2,
                max_size=MAX_REFUSED,
                create_connection=Connection,
                compression="deflate" if compression else None,
            ) as socket:
                assert isinstance(socket, Connection)
                was_connected = True
                inbox.heard_at = time.time()
                yield Connected(inbox.heard_at)
                async for frames in _batches(socket, inbox, leave):
                    # A connection that only opens, greets and closes does not count as success.
                    if failures and any(isinstance(text, str) and "event_type" in text for text, _ in frames):
                        failures = 0
                    yield Frames(frames)
        except ConnectionClosed as closed:
            oversized = closed.sent is not None and closed.sent.code == FRAME_TOO_LARGE
            reason = "a frame over 64 MiB" if oversized else _reason(closed)
        except Forbidden as error:
            reason, forbidden = str(error), True
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, WebSocketException, UnicodeError) as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if leave.is_set():
            return
        if oversized:
            failures = before  # where it is sent again to every newcomer, what came before it is no success
        at = inbox.heard_at if was_connected else time.time()
        yield Away(at, reason[:MAX_REASON], was_connected, oversized, forbidden)
        await asyncio.sleep(backoff(failures))
        failures += 1


def _reason(closed: ConnectionClosed) -> str:
    if closed.sent is not None and closed.sent.code == NO_PONG and not closed.rcvd_then_sent:
        return "the upstream answered no ping"
    if closed.rcvd is None:
        return "the connection broke"
    words = f" ({closed.rcvd.reason})" if closed.rcvd.reason else ""
    return f"closed by the upstream with {closed.rcvd.code}{words}"


def _size(frame: str | bytes | Refused) -> int:
    return len(frame.beginning if isinstance(frame, Refused) else frame)


class _Inbox:
    """Frames received and not yet taken, bounded in number and in size."""

    def __init__(self) -> None:
        self.heard_at = 0.0  # epoch seconds: the upstream's last sign of life
        self.was_full = False  # since somebody set it to False: the socket was not read for a time
        self._frames: deque[Received] = deque()
        self._size = 0
        self._closed: ConnectionClosed | None = None
        self._arrived, self._room = asyncio.Event(), asyncio.Event()

    @property
    def full(self) -> bool:
        return len(self._frames) >= MAX_WAITING or self._size >= MAX_WAITING_SIZE

    async def put(self, frame: str | bytes | Refused) -> None:
        while self.full:
            self.was_full = True
            self._room.clear()
            await self._room.wait()
        self.heard_at = time.time()
        self._frames.append((frame, self.heard_at))
        self._size += _size(frame)
        self._arrived.set()

    def close(self, closed: ConnectionClosed) -> None:
        self._closed = closed
        if closed.rcvd is not None:
            self.heard_at = time.time()
        self._arrived.set()

    async def take(self) -> list[Received]:
        """What has arrived, at least one frame. Raises what ended the connection after the last frame was taken."""
        await self._arrived.wait()
        batch: list[Received] = []
        size = 0
        while self._frames and len(batch) < MAX_BATCH and size < MAX_BATCH_SIZE:
            batch.append(self._frames.popleft())
            size += _size(batch[-1][0])
        self._size -= size
        self._room.set()
        if not batch and self._closed is not None:
            raise self._closed
        if not self._frames and self._closed is None:
            self._arrived.clear()
        return batch


async def _batches(socket: Connection, inbox: _Inbox, leave: asyncio.Event) -> AsyncIterator[list[Received]]:
    """Whatever has arrived since the last batch. Raises ConnectionClosed after the last frame was given out."""

    async def receive() -> None:
        try:
            while True:
                await inbox.put(await socket.read())
        except ConnectionClosed as closed:
            inbox.close(closed)

    async def ping() -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(PING_SECONDS)
                await socket.send(json.dumps({"type": "ping"}))

    async def keep_alive() -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(KEEPALIVE_SECONDS)
                if not await _answers(socket, inbox):
                    await socket.close(NO_PONG, "no pong")
                    return
                inbox.heard_at = time.time()

    async def depart() -> None:
        await leave.wait()
        await socket.close()

    helpers = [asyncio.create_task(helper()) for helper in (receive, ping, keep_alive, depart)]
    try:
        while True:
            yield await inbox.take()
    finally:
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)


async def _answers(socket: Connection, inbox: _Inbox) -> bool:
    """Whether a ping is answered in time, or at least something comes: the answer waits behind a large frame. While the
    inbox is full the socket is not read, and its answer not either: a slow owner must not pass for a dead upstream, so
    only a time in which everything was read counts.

    Raises ConnectionClosed.
    """
    pong = asyncio.ensure_future(await socket.ping())
    while True:
        inbox.was_full, before = inbox.full, socket.received
        answered, _ = await asyncio.wait({pong}, timeout=KEEPALIVE_SECONDS)
        if answered:
            await pong
            return True
        if not inbox.was_full and socket.received == before:
            return False
