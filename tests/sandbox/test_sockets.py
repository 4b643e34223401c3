"""The WebSocket of the sandbox: who hears what, and what it answers."""

import json
from typing import Any
from urllib.parse import quote, unquote

import pytest
from channels.testing import WebsocketCommunicator

from sandbox import definition
from sandbox.engine import orchestrator
from tests.sandbox.playing import TERMINAL, start, task, until, workflow
from tests.sandbox.site import sockets

CONNECTED = {"type": "system", "message": "Connected to workflow"}


def client(path: str, *, raw: bool = True, origin: str | None = None) -> WebsocketCommunicator:
    """A client of this percent-encoded path; with `raw` it also comes undecoded, as from daphne."""
    headers = [(b"origin", origin.encode())] if origin is not None else []
    made = WebsocketCommunicator(sockets, path, headers=headers)
    made.scope["path"] = unquote(path)
    if raw:
        made.scope["raw_path"] = path.encode()
    return made


def at(flow: str, run: str, **options: Any) -> WebsocketCommunicator:
    return client(f"/sandbox/ws/{quote(flow, safe='')}/{quote(run, safe='')}", **options)


async def connected(socket: WebsocketCommunicator) -> WebsocketCommunicator:
    assert (await socket.connect())[0]
    assert await socket.receive_json_from() == CONNECTED
    return socket


async def hear(socket: WebsocketCommunicator) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while not events or events[-1]["event_type"] not in TERMINAL:
        events.append(await socket.receive_json_from(timeout=10))
    return events


@pytest.mark.parametrize(
    "names",
    [
        ("Flow", "run 1"),
        ("a b", "100%"),
        ("50%2F50", "x?y#z"),
        ("Flüsse ☃", "日本"),
        ("team/flow", "2026/11/24"),
        ("line\nfeed", "tab\t"),
        ("/", "%"),
    ],
)
async def test_any_name_is_reached_when_percent_encoded(names: tuple[str, str]) -> None:
    socket = await connected(at(*names))
    orchestrator().start(definition.parse(workflow(task("a"), flow_name=names[0], run_name=names[1])))
    events = await hear(socket)
    assert [event["event_type"] for event in events][::3] == ["flow_started", "flow_completed"]
    assert {(event["flow_name"], event["run_name"]) for event in events} == {names}
    await socket.disconnect()


async def test_without_a_raw_path_a_slash_belongs_to_the_run_name() -> None:
    socket = await connected(at("Flow", "a/b", raw=False))
    orchestrator().start(definition.parse(workflow(task("a"), run_name="a/b")))
    assert (await hear(socket))[0]["run_name"] == "a/b"
    await socket.disconnect()


@pytest.mark.parametrize("path", ["/sandbox/ws/one", "/sandbox/ws/a/b/c", "/sandbox/ws//b", "/sandbox/ws/"])
async def test_a_path_that_is_not_of_two_names_is_refused(path: str) -> None:
    socket = client(path)
    assert await socket.connect() == (False, 4404)


async def test_a_page_of_another_host_is_refused_and_one_of_ours_is_not() -> None:
    assert await at("F", "r", origin="https://evil.example").connect() == (False, 4403)
    socket = await connected(at("F", "r", origin="http://127.0.0.1:3000"))
    await socket.disconnect()


async def test_each_run_is_heard_by_its_own_listeners_only() -> None:
    mine, yours = await connected(at("Flow", "mine")), await connected(at("Flow", "yours"))
    orchestrator().start(definition.parse(workflow(task("a"), run_name="mine")))
    await hear(mine)
    assert await yours.receive_nothing()
    await mine.disconnect()
    await yours.disconnect()


async def test_ping_is_answered_with_pong_and_text_is_echoed() -> None:
    socket = await connected(at("F", "r"))
    await socket.send_to(text_data='{"type": "ping"}')
    assert json.loads(await socket.receive_from()) == {"type": "pong"}
    await socket.send_to(text_data="hello")
    assert await socket.receive_from() == "Echoing: hello"
    await socket.send_to(text_data="[" * 100_000)
    assert (await socket.receive_from()).startswith("Echoing: [[")
    await socket.send_to(text_data='{"type": "other"}')
    await socket.send_to(text_data="[1]")
    await socket.send_to(bytes_data=b"\x00")
    assert await socket.receive_nothing()
    await socket.disconnect()


async def test_a_silent_client_gets_keepalives(settings: Any) -> None:
    settings.SANDBOX_KEEPALIVE_SECONDS = 0.01
    socket = await connected(at("F", "r"))
    for _ in range(3):
        assert await socket.receive_json_from() == {"type": "keepalive"}
    await socket.disconnect()


async def late(names: tuple[str, str]) -> WebsocketCommunicator:
    _, events = await start(workflow(task("a"), flow_name=names[0], run_name=names[1]))
    await until(lambda: events and events[-1]["event_type"] in TERMINAL)
    return await connected(at(*names))


async def test_a_late_connection_hears_nothing_of_what_was_said() -> None:
    socket = await late(("Flow", "over"))
    assert await socket.receive_nothing()
    await socket.disconnect()


async def test_with_replay_a_late_connection_hears_all_of_it(settings: Any) -> None:
    settings.SANDBOX_REPLAY = "full"
    socket = await late(("Flow", "over"))
    assert len(await hear(socket)) == 4
    await socket.disconnect()


async def test_a_listener_that_left_is_forgotten_and_the_others_still_hear() -> None:
    gone, stays = await connected(at("Flow", "run 1")), await connected(at("Flow", "run 1"))
    rooms = orchestrator().rooms
    assert rooms.listeners(("Flow", "run 1")) == 2
    await gone.disconnect()
    assert rooms.listeners(("Flow", "run 1")) == 1

    async def broken(frame: str) -> None:
        raise ConnectionResetError

    await rooms.join(("Flow", "run 1"), broken, replay=False)
    orchestrator().start(definition.parse(workflow(task("a"))))
    assert len(await hear(stays)) == 4
    await stays.disconnect()
    assert rooms.listeners(("Flow", "run 1")) == 0
