"""A scripted upstream: real sockets and real HTTP on loopback, saying exactly what a test tells it to say."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Visit = Callable[[ServerConnection, int], Awaitable[None]]
Answer = tuple[int, Any]


async def hold(socket: ServerConnection, visit: int) -> None:
    """Stay connected and say nothing."""
    await socket.wait_closed()


class ScriptedUpstream:
    """`visit(socket, n)` is called for the nth connection (from 0); when it returns, the socket closes with 1000."""

    def __init__(self) -> None:
        self.visit: Visit = hold
        self.launch_answer: Answer | None = (200, {"status": "processing", "task_id": "t-1"})  # None: never answers
        self.launch_delay = 0.0  # seconds before that answer
        self.status_answer: Answer = (200, {"status": "processing", "results": {}})
        self.launches: list[dict[str, Any]] = []
        self.launch_headers: list[dict[str, str]] = []
        self.status_questions = 0
        self.paths: list[str] = []
        self.received: list[str | bytes] = []
        self.api_url = self.socket_url = ""
        self._sockets: Server | None = None
        self._api: asyncio.Server | None = None

    async def start(self, socket_port: int = 0, api_port: int = 0) -> None:
        self._sockets = await serve(self._visited, "127.0.0.1", socket_port)
        self._api = await asyncio.start_server(self._request, "127.0.0.1", api_port)
        self.socket_url = f"ws://127.0.0.1:{next(iter(self._sockets.sockets)).getsockname()[1]}"
        self.api_url = f"http://127.0.0.1:{self._api.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._sockets:
            self._sockets.close()
            await self._sockets.wait_closed()
        if self._api:
            self._api.close()

    async def _visited(self, socket: ServerConnection) -> None:
        number = len(self.paths)
        assert socket.request is not None
        self.paths.append(unquote(socket.request.path))
        listening = asyncio.create_task(self._listen(socket))
        try:
            with contextlib.suppress(ConnectionClosed):
                await self.visit(socket, number)
        finally:
            listening.cancel()

    async def _listen(self, socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                self.received.append(message)

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split("\r\n", 1)[0].split(" ")
            headers = {
                name.lower(): value.strip()
                for name, found, value in (line.partition(":") for line in head.split("\r\n")[1:])
                if found
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            answer: Answer | None = (404, {"message": "nothing here"})
            if (method, path) == ("POST", "/run-dag/"):
                self.launches.append(json.loads(body))
                self.launch_headers.append(headers)
                answer = self.launch_answer
                await asyncio.sleep(self.launch_delay)
            elif method == "GET" and path.startswith("/task-status/"):
                self.status_questions += 1
                answer = self.status_answer
            if answer is not None:
                status, content = answer
                text = (content if isinstance(content, str) else json.dumps(content)).encode()
                writer.write(
                    f"HTTP/1.1 {status} Said\r\ncontent-length: {len(text)}\r\n"
                    "content-type: application/json\r\nconnection: close\r\n\r\n".encode()
                    + text
                )
                await writer.drain()
            else:
                await asyncio.sleep(0.05)
        writer.close()


@asynccontextmanager
async def scripted_upstream() -> AsyncIterator[ScriptedUpstream]:
    upstream = ScriptedUpstream()
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


def saying(*frames: str, then: Visit | None = None) -> Visit:
    """Send these frames to every visitor, then do something else or close with 1000."""

    async def visit(socket: ServerConnection, number: int) -> None:
        for frame in frames:
            await socket.send(frame)
        if then:
            await then(socket, number)

    return visit


async def eventually[T](look: Callable[[], Awaitable[T]], seconds: float = 20.0, pause: float = 0.02) -> T:
    """The first true value that `look` gives, asked after each pause. Fails when it gives none in time."""
    ends = asyncio.get_running_loop().time() + seconds
    while not (found := await look()):
        assert asyncio.get_running_loop().time() < ends, f"not in {seconds} s: {look}"
        await asyncio.sleep(pause)
    return found
