"""A receiver of webhooks on loopback that fails, hangs, answers with errors and comes back, as a test tells it."""

import asyncio
import contextlib
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple


class Heard(NamedTuple):
    path: str
    headers: dict[str, str]  # names in lower case
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


class Receiver:
    """`status`: what it answers; 0: nothing, the connection stays open; -1: it hangs up. `tls`: it speaks https."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status = 200
        self.words = "thank you"
        self.location = ""
        self.pause = 0.0  # seconds before an answer
        self.heard: list[Heard] = []
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._hanging: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/path-that-is-secret"

    def keys(self) -> Counter[str]:
        """How often each message came."""
        return Counter(heard.key for heard in self.heard)

    def events(self) -> list[str]:
        """What was said, each message once, in order of arrival."""
        return [heard.body["event"] for heard in {heard.key: heard for heard in self.heard}.values()]

    async def start(self) -> None:
        """Listen, again at the same port where it did before."""
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server:
            self._server.close()
        for writer in self._hanging:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:]) if name
            }
            content = await reader.readexactly(int(headers.get("content-length", 0)))
            self.heard.append(Heard(lines[0].split()[1], headers, content))
            status = self.status
            if status == 0:
                self._hanging.append(writer)
                return
            await asyncio.sleep(self.pause)
            if status > 0:
                location = f"location: {self.location}\r\n" if self.location else ""
                text = self.words.encode()
                writer.write(
                    f"HTTP/1.1 {status} Said\r\n{location}content-length: {len(text)}\r\n"
                    "connection: close\r\n\r\n".encode()
                    + text
                )
                await writer.drain()
        writer.close()


@asynccontextmanager
async def receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    made = Receiver(tls)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
