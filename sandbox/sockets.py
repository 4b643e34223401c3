"""The upstream's WebSocket: one ASGI application for sandbox/ws/{flow_name}/{run_name}.

It says what the run says, and the same noise as the real one. It closes nothing by itself, as far as is known
of the real one.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from sandbox import access, options
from sandbox.engine import orchestrator
from sandbox.rooms import Address

# ASGI, as plain as Channels passes it.
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PREFIX = "/sandbox/ws/"
FORBIDDEN = 4403
NOT_FOUND = 4404


async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one client until it leaves."""
    address = address_of(scope)
    origin = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), None)
    await receive()  # websocket.connect
    if address is None or access.is_foreign_page(origin):
        # Before accepting, this makes the server answer the handshake with 403.
        await send({"type": "websocket.close", "code": NOT_FOUND if address is None else FORBIDDEN})
        return

    async def say(text: str) -> None:
        await send({"type": "websocket.send", "text": text})

    await send({"type": "websocket.accept"})
    await say(json.dumps({"type": "system", "message": "Connected to workflow"}))
    rooms = orchestrator().rooms
    try:
        await rooms.join(address, say, replay=options.replay())
        while True:
            try:
                async with asyncio.timeout(options.keepalive_seconds()):
                    message = await receive()
            except TimeoutError:
                await say(json.dumps({"type": "keepalive"}))
                continue
            if message["type"] == "websocket.disconnect":
                return
            if message["type"] == "websocket.receive" and (reply := answer(message.get("text"))) is not None:
                await say(reply)
    finally:
        rooms.leave(address, say)


def answer(text: str | None) -> str | None:
    """What a client hears back to a frame of its own: a pong, an echo of what is no JSON, or nothing."""
    if text is None:
        return None
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return f"Echoing: {text}"
    return json.dumps({"type": "pong"}) if isinstance(value, dict) and value.get("type") == "ping" else None


def address_of(scope: Scope) -> Address | None:
    """The flow and run name in the path, or None when the path is not of two names.

    `path` is decoded as a whole, so a name with a slash cannot be told from two; only `raw_path` still can.
    Servers that give none get the first segment as the flow and the rest as the run.
    """
    if raw_path := scope.get("raw_path"):
        rest = raw_path.decode("ascii", "replace").partition("?")[0].partition(PREFIX)[2]
        names = [unquote(name) for name in rest.removesuffix("/").split("/")]
    else:
        names = scope["path"].partition(PREFIX)[2].split("/", 1)
    match names:
        case [str(flow_name), str(run_name)] if flow_name and run_name:
            return flow_name, run_name
    return None
