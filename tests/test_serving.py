"""daphne as `serve` runs it, over a transport in memory: it waits for the client, says why it ends a socket, and ends
when what it has begun is done.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from runs.management import serving

from runs.management.serving import Server  # isort: skip
import pytest
from daphne.http_protocol import HTTPFactory
from daphne.ws_protocol import WebSocketFactory
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

HANDSHAKE = (
    b"GET /ws/a/b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

type Send = Callable[[dict[str, Any]], Awaitable[None]]


async def visited(application: Callable[[Send], Awaitable[None]]) -> tuple[StringTransport, Any]:
    """A client's connection to a server with this application, once that has had the time to answer."""

    async def asgi(scope: Any, receive: Any, send: Send) -> None:
        await receive()
        await application(send)

    server = Server(application=asgi, endpoints=["in memory"])
    server.connections = {}
    factory = WebSocketFactory(server, server="stepline")
    address = IPv4Address("TCP", "127.0.0.1", 1)
    protocol = factory.buildProtocol(address)
    protocol._raw_query_string = b""
    transport = StringTransport(hostAddress=address, peerAddress=address)
    transport.registerProducer(object(), True)  # as the HTTP channel has done by then
    protocol.makeConnection(transport)
    protocol.dataReceived(HANDSHAKE)
    await asyncio.sleep(0.05)
    return transport, protocol


async def test_a_close_says_its_code_and_its_reason() -> None:
    for code in (1000, 1011, 1013, 4404):

        async def closing(send: Send, code: int = code) -> None:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": code, "reason": "so it is"})

        transport, _ = await visited(closing)
        assert transport.value().endswith(b"\x88\x0a" + struct.pack("!H", code) + b"so it is")


async def test_a_refused_handshake_has_the_status_and_the_reason() -> None:
    for code, line in ((4429, b"429 not now"), (4401, b"401 not now"), (1000, b"403 not now"), (None, b"403 not now")):

        async def refusing(send: Send, code: int | None = code) -> None:
            await send({"type": "websocket.close", **({"code": code} if code else {}), "reason": "not now"})

        transport, _ = await visited(refusing)
        assert transport.value().startswith(b"HTTP/1.1 " + line + b"\r\n")


async def test_sending_waits_until_the_client_has_taken_what_was_sent() -> None:
    sent: list[int] = []
    go_on = asyncio.Semaphore(0)

    async def sending(send: Send) -> None:
        await send({"type": "websocket.accept"})
        for number in range(3):
            await go_on.acquire()
            await send({"type": "websocket.send", "text": f"text {number}"})
            sent.append(number)

    async def after(step: Callable[[], Any]) -> list[int]:
        step()
        await asyncio.sleep(0.2)
        return list(sent)

    transport, protocol = await visited(sending)
    assert await after(go_on.release) == [0]
    transport.producer.pauseProducing()
    assert await after(go_on.release) == [0]
    assert b"text 1" in transport.value(), "it has gone to the transport, which is full by then"
    assert await after(transport.producer.resumeProducing) == [0, 1]
    transport.producer.pauseProducing()
    assert await after(go_on.release) == [0, 1]
    assert await after(lambda: protocol.server.protocol_disconnected(protocol)) == [0, 1, 2], "nobody to wait for"


async def asked(application: Callable[[Send], Awaitable[None]]) -> tuple[Server, StringTransport, Callable[[], None]]:
    """A server at work on a request over a connection that could be kept; the last asks once more over it."""

    async def asgi(scope: Any, receive: Any, send: Send) -> None:
        await application(send)

    server = Server(application=asgi, endpoints=["in memory"])
    server.connections = {}
    server.ws_factory = WebSocketFactory(server, server="stepline")
    address = IPv4Address("TCP", "127.0.0.1", 1)
    protocol = HTTPFactory(server).buildProtocol(address)
    transport = StringTransport(hostAddress=address, peerAddress=address)
    protocol.makeConnection(transport)

    def ask() -> None:
        protocol.dataReceived(b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    ask()
    await asyncio.sleep(0.05)
    return server, transport, ask


async def answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})


async def test_who_is_told_to_end_answers_first_and_keeps_no_connection() -> None:
    go_on = asyncio.Semaphore(0)

    async def slow(send: Send) -> None:
        await go_on.acquire()
        await answer(send)

    server, transport, ask = await asked(slow)
    go_on.release()
    await asyncio.sleep(0.05)
    assert b"close" not in transport.value()
    assert not transport.disconnecting

    transport.clear()
    ask()
    end = asyncio.ensure_future(server._end())
    await asyncio.sleep(0.1)
    assert not end.done()
    assert not transport.value()
    go_on.release()
    await end
    assert b"connection: close" in transport.value().lower()
    assert transport.value().endswith(b"done")
    assert transport.disconnecting


async def test_who_is_told_to_end_cuts_off_what_takes_too_long_and_waits_for_that(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "ENDING_SECONDS", 0.1)
    done: list[bool] = []

    async def stuck(send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)  # as a thread goes on for a while
            done.append(True)

    server, _, _ = await asked(stuck)
    await server._end()
    assert done
    assert "not done 0 s after the end began: 1" in caplog.text


async def test_who_comes_after_the_end_has_begun_is_sent_elsewhere() -> None:
    entered: list[str] = []

    async def site(scope: dict[str, Any], receive: Any, send: Any) -> None:
        entered.append(scope["type"])
        await answer(send)

    server = Server(application=site, endpoints=["in memory"])
    server.connections = {}
    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    handing_over = asyncio.Event()
    server.before_end = handing_over.wait
    end = asyncio.ensure_future(server._end())
    await asyncio.sleep(0.02)
    await server._enter({"type": "http"}, None, send)
    await server._enter({"type": "websocket"}, None, send)
    assert entered == ["http"], "requests over connections that are there are answered, sockets are not opened"
    assert said[-1] == {"type": "websocket.close", "code": 4503, "reason": "this process of the site ends"}
    handing_over.set()
    await end
    said.clear()
    await server._enter({"type": "http"}, None, send)
    assert entered == ["http"]
    assert said[0]["status"] == 503


async def test_who_is_told_to_end_closes_its_sockets_so_that_pages_come_back_at_once() -> None:
    async def listening(send: Send) -> None:
        await send({"type": "websocket.accept"})
        await asyncio.Event().wait()

    transport, protocol = await visited(listening)
    await protocol.server._end()
    assert transport.value().endswith(struct.pack("!H", 1012) + b"this process of the site ends")
