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
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI, WebSocketException

CONNECT_SECONDS = 15.0
PING_SECONDS = 30.0  # the upstream's own ping, a message of text
KEEPALIVE_SECONDS = 20.0  # the protocol's ping; twice that without an answer and the connection is given up
MAX_FRAME = 16 * 1024 * 1024
MAX_BATCH, MAX_BATCH_SIZE = 256, 1024 * 1024  # frames and characters that the owner gets at once, and one frame more
MAX_WAITING, MAX_WAITING_SIZE = 512, 16 * 1024 * 1024  # frames and characters received and not yet taken, likewise
BACKOFF_FIRST, BACKOFF_MOST = 0.5, 30.0  # seconds, before jitter
FRAME_TOO_LARGE = 1009

logger = logging.getLogger(__name__)


class Connected(msgspec.Struct, frozen=True):
    at: float  # epoch seconds


class Frames(msgspec.Struct, frozen=True):
    """Frames in order of arrival, each with its time of receipt in epoch seconds."""

    frames: list[tuple[str | bytes, float]]


class Away(msgspec.Struct, frozen=True):
    """Not connected: the connection ended, or a try to connect failed."""

    at: float
    reason: str
    was_connected: bool
    oversized: bool = False  # the connection was closed for a frame over MAX_FRAME


Happening = Connected | Frames | Away


class _Connect(connect):
    """Follows no redirect: an upstream's address is where sockets go, nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def address(socket_url: str, flow_name: str, run_name: str) -> str:
    return f"{socket_url}/ws/{quote(flow_name, safe='')}/{quote(run_name, safe='')}"


def backoff(failures: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds before the next try: doubling, and anywhere in the upper half, so that many do not come at once."""
    longest: float = min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(failures, 10))
    return longest * (0.5 + draw() / 2)


async def follow(url: str, *, compression: bool = False) -> AsyncGenerator[Happening]:
    """What happens on this socket, for ever: the owner stops by closing the generator."""
    failures = 0
    while True:
        was_connected = oversized = False
        before = failures
        try:
            async with _Connect(
                url,
                open_timeout=CONNECT_SECONDS,
                ping_interval=KEEPALIVE_SECONDS,
                ping_timeout=KEEPALIVE_SECONDS,
                close_timeout=2,
                max_size=MAX_FRAME,
                compression="deflate" if compression else None,
                proxy=None,
            ) as socket:
                was_connected = True
                yield Connected(time.time())
                async for frames in _batches(socket):
                    # A connection that only opens, greets and closes does not count as success.
                    if failures and any(isinstance(text, str) and "event_type" in text for text, _ in frames):
                        failures = 0
                    yield Frames(frames)
        except ConnectionClosed as closed:
            oversized = closed.sent is not None and closed.sent.code == FRAME_TOO_LARGE
            reason = "a frame over 16 MiB" if oversized else _reason(closed)
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, WebSocketException, UnicodeError) as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if oversized:
            failures = before  # where it is sent again to every newcomer, what came before it is no success
        yield Away(time.time(), reason[:300], was_connected, oversized)
        await asyncio.sleep(backoff(failures))
        failures += 1


def _reason(closed: ConnectionClosed) -> str:
    if closed.rcvd is None:
        return "the connection broke"
    words = f" ({closed.rcvd.reason})" if closed.rcvd.reason else ""
    return f"closed by the upstream with {closed.rcvd.code}{words}"


class _Inbox:
    """Frames received and not yet taken, bounded in number and in size."""

    def __init__(self) -> None:
        self._frames: deque[tuple[str | bytes, float]] = deque()
        self._size = 0
        self._closed: ConnectionClosed | None = None
        self._arrived, self._room = asyncio.Event(), asyncio.Event()

    async def put(self, frame: str | bytes) -> None:
        while len(self._frames) >= MAX_WAITING or self._size >= MAX_WAITING_SIZE:
            self._room.clear()
            await self._room.wait()
        self._frames.append((frame, time.time()))
        self._size += len(frame)
        self._arrived.set()

    def close(self, closed: ConnectionClosed) -> None:
        self._closed = closed
        self._arrived.set()

    async def take(self) -> list[tuple[str | bytes, float]]:
        """What has arrived, at least one frame. Raises what ended the connection after the last frame was taken."""
        await self._arrived.wait()
        batch: list[tuple[str | bytes, float]] = []
        size = 0
        while self._frames and len(batch) < MAX_BATCH and size < MAX_BATCH_SIZE:
            batch.append(self._frames.popleft())
            size += len(batch[-1][0])
        self._size -= size
        self._room.set()
        if not batch and self._closed is not None:
            raise self._closed
        if not self._frames and self._closed is None:
            self._arrived.clear()
        return batch


async def _batches(socket: ClientConnection) -> AsyncIterator[list[tuple[str | bytes, float]]]:
    """Whatever has arrived since the last batch. Raises ConnectionClosed after the last frame was given out."""
    inbox = _Inbox()

    async def receive() -> None:
        try:
            while True:
                await inbox.put(await socket.recv())
        except ConnectionClosed as closed:
            inbox.close(closed)

    async def ping() -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(PING_SECONDS)
                await socket.send(json.dumps({"type": "ping"}))

    helpers = asyncio.create_task(receive()), asyncio.create_task(ping())
    try:
        while True:
            yield await inbox.take()
    finally:
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
