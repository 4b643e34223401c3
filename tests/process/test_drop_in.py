"""Programs of the upstream pointed at a real site: they launch, listen, drop, resume, read too slowly or not at all."""

import asyncio
import base64
import contextlib
import json
import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.factories import START, make_definition
from tests.process.fixtures import MakeHome, addresses
from tests.process.programs import Api, Program, start
from tests.scripted import ScriptedUpstream, eventually

FLOW, RUN = "Nightly", "a run / of theirs"
PATH = "/ws/Nightly/a%20run%20%2F%20of%20theirs"
STUCK = 50


def events(count: int, size: int = 10) -> list[str]:
    """A run of so many tasks, each with an output of so many characters."""
    middle = [{"event_type": "task_completed", "task_name": f"t{n}", "output": "x" * size} for n in range(count)]
    told = [{"event_type": "flow_started"}, *middle, {"event_type": "flow_completed", "output": {}}]
    common = {"flow_name": FLOW, "run_name": RUN}
    return [json.dumps({**event, **common, "timestamp": START + n}) for n, event in enumerate(told)]


def saying(
    upstream: ScriptedUpstream, frames: list[str], pause: float = 0.0
) -> Callable[[ServerConnection, int], Awaitable[None]]:
    """Tell the run once it was launched, to the first who listens."""

    async def visit(socket: ServerConnection, number: int) -> None:
        while not upstream.launches:
            await asyncio.sleep(0.01)
        for frame in frames if number == 0 else []:
            await socket.send(frame)
            await asyncio.sleep(pause)
        await socket.wait_closed()

    return visit


def definition() -> dict[str, Any]:
    made = make_definition("t0", flow_name=FLOW)
    made["tasks"][0]["function"] = "call_lyzr_agent"
    return {**made, "run_name": RUN}


async def launch(api: Api, token: str) -> str:
    """As a program does it of which only the host was changed: the token stands in the address. The task_id."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(f"http://{token}@127.0.0.1:{api.port}/run-dag/", json=definition())
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "processing"
    return str(answer.json()["task_id"])


def listen(api: Api, token: str, after: int | None = None, agent: str = "program") -> connect:
    query = "" if after is None else f"?after={after}"
    return connect(
        f"ws://{token}:@127.0.0.1:{api.port}{PATH}{query}", proxy=None, user_agent_header=agent, max_size=None
    )


async def hear(socket: ClientConnection) -> list[dict[str, Any]]:
    """All until the server closes."""
    return [json.loads(text) async for text in socket]


async def test_a_program_that_launches_through_us_gets_its_history(home: MakeHome, upstream: ScriptedUpstream) -> None:
    frames = events(3)
    upstream.visit = saying(upstream, frames)
    here = home(**addresses(upstream))
    _, api = await here.serve()
    task_id = await launch(api, here.token)
    async with listen(api, here.token) as socket:
        heard = await hear(socket)
    assert socket.close_code == 1000
    assert socket.close_reason == "the run has succeeded"
    assert heard == [{**json.loads(frame), "_seq": seq} for seq, frame in enumerate(frames, 1)]
    assert [one["run_name"] for one in upstream.launches] == [RUN]
    for _ in range(3):
        with pytest.raises(InvalidStatus) as refused:
            await listen(api, here.token)
        assert refused.value.response.status_code == 429
        assert "?after=0" in refused.value.response.reason_phrase
    async with listen(api, here.token) as socket:
        assert await hear(socket) == heard, "whoever comes a fourth time means it"
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{api.port}") as client:
        answer = await client.get(f"/task-status/{task_id}", headers={"x-api-key": here.token})
    assert answer.json() == {"status": "completed", "results": {f"t{n}": "x" * 10 for n in range(3)}}


async def test_who_may_not_is_told_why_before_the_handshake(home: MakeHome) -> None:
    here = home()
    _, api = await here.serve()
    for path, token, status in ((PATH, "", 401), (PATH, "stl_no", 401), ("/ws/a", here.token, 404)):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{api.port}{path}" + (f"?token={token}" if token else ""), proxy=None)
        assert refused.value.response.status_code == status


async def test_a_token_that_is_revoked_ends_its_sockets(home: MakeHome, upstream: ScriptedUpstream) -> None:
    here = home(**addresses(upstream))
    _, api = await here.serve()
    await launch(api, here.token)
    async with listen(api, here.token) as socket:
        script = "from accounts.models import Token; from django.utils import timezone; "
        done = await asyncio.to_thread(
            here.manage, "shell", "--verbosity", "0", "-c", f"{script}Token.objects.update(revoked_at=timezone.now())"
        )
        assert done.returncode == 0, done.stderr
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 20)
    assert socket.close_code == 4401
    with pytest.raises(InvalidStatus):
        await listen(api, here.token)


async def test_a_hundred_broken_connections_cost_a_resuming_client_nothing(
    home: MakeHome, upstream: ScriptedUpstream
) -> None:
    draw = random.Random(4711)
    frames = events(1500, 300)
    upstream.visit = saying(upstream, frames, 0.002)
    here = home(**addresses(upstream))
    _, api = await here.serve()
    await launch(api, here.token)
    got: list[int] = []
    for _ in range(100):
        async with listen(api, here.token, got[-1] if got else 0) as socket:
            with contextlib.suppress(TimeoutError, ConnectionClosed):
                async with asyncio.timeout(draw.random() * 0.2):
                    for _ in range(draw.randint(1, 25)):
                        got.append(json.loads(await socket.recv())["_seq"])
            socket.transport.abort()
    assert len(got) < len(frames), "it was over before the last connection broke"
    async with listen(api, here.token, got[-1] if got else 0) as socket:
        got += [one["_seq"] for one in await hear(socket)]
    assert got == list(range(1, len(frames) + 1))


# --- who does not read ----------------------------------------------------------------------------------------------


def memory(program: Program) -> int:
    """Bytes that the process holds."""
    with open(f"/proc/{program.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def deaf(api: Api, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that asks for everything and then reads nothing, not even into its own memory."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=1024)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET {PATH}?after=0&token={token} HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b"101" in await reader.readline()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    return reader, writer


@pytest.mark.timeout(300)
async def test_fifty_clients_that_never_read_cost_little_and_are_closed(
    home: MakeHome, upstream: ScriptedUpstream
) -> None:
    frames = events(300, 50_000)  # 15 MB: were it buffered for each of them, it would be 750 MB
    upstream.visit = saying(upstream, frames)
    here = home(**addresses(upstream))
    program, api = await here.serve()
    await launch(api, here.token)
    seqs = list(range(1, len(frames) + 1))

    async def good(agent: str) -> None:
        async with listen(api, here.token, 0, agent) as socket:
            assert [json.loads(text)["_seq"] async for text in socket] == seqs, "the others get theirs"

    # Many at once and twice: each of the site's own threads has then filled its database connection's cache.
    for _ in range(2):
        await asyncio.gather(*(good(f"early {number}") for number in range(8)))
    before = memory(program)
    stuck = [await deaf(api, here.token) for _ in range(STUCK)]
    most = 0
    for number in range(5):
        await asyncio.sleep(0.5)
        most = max(most, memory(program) - before)
        await good(f"good {number}")
        most = max(most, memory(program) - before)
    print(f"{STUCK} clients that read nothing: {most / 2**20:.1f} MB more")  # noqa: T201
    assert most < 100 * 2**20

    async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 20):
                pass
        writer.close()

    async def closed() -> bool:
        return await connections(api.port) == 0

    await eventually(closed, 60)  # without their reading anything: the server drops them
    await asyncio.gather(*(ended(*one) for one in stuck))
    assert "Traceback" not in program.said()


async def connections(port: int) -> int:
    """How many clients are connected to this port, as the server's side of the kernel has it."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


@pytest.mark.postgres
async def test_all_sites_know_who_has_got_all(deploy: MakeHome, upstream: ScriptedUpstream) -> None:
    upstream.visit = saying(upstream, events(3))
    here = deploy()
    [(_, one), (_, other)], _ = await start(here, 2, 1)
    await launch(one, here.token)
    async with listen(one, here.token) as socket:
        assert len(await hear(socket)) == 5
    for api in (other, one, other):
        with pytest.raises(InvalidStatus) as refused:
            await listen(api, here.token)
        assert refused.value.response.status_code == 429
