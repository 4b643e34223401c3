"""daphne as `serve` runs it. Sending to a socket, and each part of a streamed answer, waits until the client has taken
what was sent before, as other ASGI servers have it (daphne itself buffers without limit); what ends a socket may say
why; and a server that is told to end lets the requests that it has begun come to theirs.
"""

from daphne.server import Server as Daphne  # first: it installs the asyncio reactor  # isort: skip
from daphne.server import twisted_loop  # isort: skip

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from autobahn.websocket.types import ConnectionDeny
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import defer, reactor, tcp
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

__all__ = ["Server", "twisted_loop"]

# Seconds that a client has to answer a close: it may first have to read what was sent before it.
CLOSE_SECONDS = 30.0
CLOSE_STUCK_SECONDS = 1.0  # …when it takes nothing anyway
LONGEST_REASON = 123  # bytes
# Seconds that requests which have begun may take after the server was told to end, and the threads of those that take
# longer after they were cut off.
ENDING_SECONDS, THREAD_SECONDS = 10.0, 10.0
COME_BACK = 1012  # the close code of a service that starts again
ENDING = "this process of the site ends"
FIRST_OF_OURS, LAST_OF_OURS = 4400, 4599  # close codes that stand for the HTTP status of the last three digits

logger = logging.getLogger(__name__)


@implementer(IPushProducer)
class Brake:
    """Twisted presses it while more than 64 KB wait for the client, and lets go when all of it has gone."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()

    def pauseProducing(self) -> None:  # Twisted's names
        self.free.clear()

    def resumeProducing(self) -> None:
        self.free.set()

    def stopProducing(self) -> None:
        self.free.set()


async def _nothing() -> None:
    """Before the end."""


def _talking() -> bool:
    """Whether a client is still told something, or tells something. Connections that are only kept are closed."""
    loop = cast(Any, reactor)
    found: set[Any] = {one for one in (*loop.getReaders(), *loop.getWriters()) if isinstance(one, tcp.Server)}
    requesting = [one for one in found if not isinstance(one.protocol, WebSocketProtocol)]
    for one in requesting:
        channel = getattr(one.protocol, "_channel", None)
        if channel and not channel.requests:
            one.loseConnection()  # whoever asks again finds a server that stays
    return bool(requesting)


async def _refuse(scope: dict[str, Any], send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4503, "reason": ENDING})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"This process of the site ends. Ask again."})


class Server(Daphne):  # type: ignore[misc]
    def __init__(self, application: Any, **options: Any) -> None:
        super().__init__(self._enter, **options)
        self._site = application
        # Sockets stay open and requests are answered meanwhile.
        self.before_end: Callable[[], Awaitable[None]] = _nothing
        self._brakes: dict[Any, Brake] = {}  # by socket, and by request whose answer is streamed
        self._ports: list[Any] = []  # that it listens on
        self._ending = self._over = False

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        self._ports.append(port)

    # --- the end ------------------------------------------------------------------------------------------------------

    def kill_all_applications(self) -> "defer.Deferred[None]":
        """What the reactor waits for before it ends."""
        return defer.Deferred.fromFuture(twisted_loop.create_task(self._end()))

    async def _end(self) -> None:
        """Be told no more, close the sockets, and finish the requests, until the last byte has gone.

        The loop must outlive each request's thread: one that calls back into a loop which stands still waits for ever,
        and the process with it. (daphne's own end waits for the first request only.)
        """
        self._ending = True
        self.application_close_timeout = math.inf  # who is cancelled twice is given up with the thread still at work
        for port in self._ports:
            port.stopListening()
        await self.before_end()
        for socket in [one for one in self.connections if isinstance(one, WebSocketProtocol)]:
            if socket.state == socket.STATE_OPEN:
                self._close(socket, COME_BACK, ENDING)
        ends = time.monotonic() + ENDING_SECONDS
        # Bytes on their way out announce nothing, so this looks again and again.
        while (self._requests() or _talking()) and time.monotonic() < ends:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        self._over = True  # from here on nothing begins
        if late := self._requests():
            logger.warning("requests cut off, not done %.0f s after the end began: %d", ENDING_SECONDS, len(late))
            for request in late:
                if "disconnected" not in request:  # else it is being cut off already
                    request["application_instance"].cancel()
            await asyncio.wait([request["application_instance"] for request in late], timeout=THREAD_SECONDS)

    def _requests(self) -> list[dict[str, Any]]:
        """What daphne knows of those that are being answered."""
        return [
            each
            for protocol, each in self.connections.items()
            if not isinstance(protocol, WebSocketProtocol)
            and "application_instance" in each
            and not each["application_instance"].done()
        ]

    def _enter(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        gone = self._over or (self._ending and scope["type"] == "websocket")
        return _refuse(scope, send) if gone else self._site(scope, receive, send)

    # --- what goes out ------------------------------------------------------------------------------------------------

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if "disconnected" in self.connections.get(protocol, {}):
            return
        if not isinstance(protocol, WebSocketProtocol):
            await self._answer(protocol, message)
            return
        match message["type"]:
            case "websocket.accept":
                await super().handle_reply(protocol, message)
                brake = self._brakes[protocol] = Brake()
                protocol.unregisterProducer()  # the HTTP channel's, which has done its part
                protocol.registerProducer(brake, True)
            case "websocket.send":
                await super().handle_reply(protocol, message)
                if pressed := self._brakes.get(protocol):
                    await pressed.free.wait()
            case "websocket.close" if protocol in self.connections:
                self._close(protocol, message.get("code"), message.get("reason") or "")
            case _:
                await super().handle_reply(protocol, message)

    async def _answer(self, request: Any, message: dict[str, Any]) -> None:
        there = request in self.connections and not request.finished and request.channel is not None
        if self._ending and there and message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            request.channel.persistent = False
        if there and message["type"] == "http.response.body":
            if message.get("more_body") and request not in self._brakes:
                brake = self._brakes[request] = Brake()
                request.registerProducer(brake, True)
            elif not message.get("more_body") and request in self._brakes:
                request.unregisterProducer()
        await super().handle_reply(request, message)
        if pressed := self._brakes.get(request):
            await pressed.free.wait()

    def _close(self, protocol: Any, code: int | None, reason: str) -> None:
        if protocol.state == protocol.STATE_CONNECTING:
            ours = code is not None and FIRST_OF_OURS <= code <= LAST_OF_OURS
            status = code - 4000 if code is not None and ours else 403
            denial: Any = ConnectionDeny
            protocol.handshake_deferred.errback(denial(code=status, reason=reason or "Access denied"))
            del protocol.handshake_deferred
            self.protocol_disconnected(protocol)
            return
        found = self._brakes.get(protocol)
        taking = found is None or found.free.is_set()
        protocol.closeHandshakeTimeout = CLOSE_SECONDS if taking else CLOSE_STUCK_SECONDS
        # Not sendClose, which takes none of the protocol's own codes but 1000.
        protocol.sendCloseFrame(code=1000 if code is None else code, reasonUtf8=reason.encode()[:LONGEST_REASON])

    def protocol_disconnected(self, protocol: Any) -> None:
        super().protocol_disconnected(protocol)
        if brake := self._brakes.pop(protocol, None):
            brake.stopProducing()
