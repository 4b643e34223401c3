"""`serve` as a newcomer runs it: one process, SQLite, the sandbox; killed and stopped in the middle of a run."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection

from tests import seed
from tests.process.fixtures import MakeHome, addresses
from tests.process.programs import Home
from tests.scripted import ScriptedUpstream, hold

SUPPORT, TICKET = "Customer_Support_Pipeline", "ticket_78453"
FINANCE = "Financial_Data_Pipeline"
SECRETS = ("sk-prod-sentiment-key", "sf_prod_token_xyz", "prod-support-incidents", "key-of-the-upstream-4711")


def definition() -> dict[str, Any]:
    """The support workflow with the seed's secrets at the places where people put them."""
    task = {"name": "sentiment_analyzer", "function": "call_lyzr_agent", "params": {"config": {"api_key": SECRETS[0]}}}
    second = {
        "name": "update_salesforce",
        "function": "api_call",
        "params": {
            "config": {"headers": {"Authorization": f"Bearer {SECRETS[1]}"}},
            "input": {"depends": "sentiment_analyzer"},
        },
    }
    third = {
        "name": "send_notifications",
        "function": "api_call",
        "params": {"input": {"depends": "update_salesforce"}, "config": {"service_key": SECRETS[2]}},
    }
    return {"flow_name": SUPPORT, "tasks": [task, second, third], "default_inputs": {}}


def in_two_halves(
    upstream: ScriptedUpstream, first: int, again: int
) -> Callable[[ServerConnection, int], Awaitable[None]]:
    """The first visitor gets so many frames once it has launched; later ones all from number `again` on."""
    frames = seed.frames("customer_support")

    async def visit(socket: ServerConnection, number: int) -> None:
        while not upstream.launches:
            await asyncio.sleep(0.01)
        for frame in frames[:first] if number == 0 else frames[again:]:
            await socket.send(frame)
        await hold(socket, number)

    return visit


def check_support_run(home: Home, run: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """It has ended right, with each frame of the seed once and in order, and folding finds the same."""
    frames = [json.loads(frame) for frame in seed.frames("customer_support")]
    assert (run["status"], run["last_seq"], run["conflict"]) == ("succeeded", len(frames), False)
    assert [event["seq"] for event in events] == list(range(1, len(frames) + 1))
    assert [(event["event_type"], event["payload"]["timestamp"]) for event in events] == [
        (frame["event_type"], frame["timestamp"]) for frame in frames
    ]
    rebuilt = home.manage("rebuild_runs")
    assert rebuilt.returncode == 0, rebuilt.stdout


async def test_the_shipped_workflows_run_in_the_sandbox_and_launch_tells_how_they_ended(home: MakeHome) -> None:
    here = home(SANDBOX_SPEED=40)
    _, api = await here.serve()
    good, bad = [await api.launch(flow_name=flow) for flow in (SUPPORT, FINANCE)]
    run = await api.ended(good)
    assert (run["status"], run["error"], run["gaps"]) == ("succeeded", None, 0)
    assert run["progress"]["completed"] == run["progress"]["total"] == 3
    run = await api.ended(bad)
    assert (run["status"], run["error"]["type"]) == ("failed", "PipelineHaltedError")

    followed, failing, plain = await asyncio.gather(
        asyncio.to_thread(here.manage, "launch", SUPPORT, "--follow"),
        asyncio.to_thread(here.manage, "launch", FINANCE, "--follow", "--json"),
        asyncio.to_thread(here.manage, "launch", "No such flow"),
    )
    assert followed.returncode == 0, followed.stderr
    assert "step 3 of 3  succeeded" in followed.stderr
    assert followed.stdout.splitlines()[-1].startswith("succeeded: ")
    assert failing.returncode == 1, failing.stderr
    assert (json.loads(failing.stdout)["status"], failing.stderr) == ("failed", "")
    assert plain.returncode == 64
    assert "There is no workflow named 'No such flow'" in plain.stderr
    assert here.manage("rebuild_runs").returncode == 0


@pytest.mark.parametrize("again", [0, 3], ids=["all is sent again", "nothing is sent again"])
async def test_a_site_that_is_killed_in_the_middle_of_a_run_goes_on_where_it_was(
    home: MakeHome, upstream: ScriptedUpstream, again: int
) -> None:
    upstream.visit = in_two_halves(upstream, 3, again)
    here = home(**addresses(upstream))
    program, api = await here.serve()
    run_id = await api.launch(flow_name=SUPPORT, run_name=TICKET, definition=definition())
    await api.until(run_id, last_seq=3)
    program.kill()
    _, api = await here.serve()
    run = await api.ended(run_id)
    check_support_run(here, run, await api.events(run_id))
    assert len(upstream.launches) == 1
    (gap,) = await api.call("GET", f"/runs/{run_id}/gaps")
    assert (gap["reason"], gap["after_seq"]) == ("takeover", 3)
    assert gap["ended_at"] is not None


async def test_a_site_that_is_told_to_end_hands_its_run_over_to_the_next(
    home: MakeHome, upstream: ScriptedUpstream
) -> None:
    upstream.visit = in_two_halves(upstream, 4, 0)
    here = home(**addresses(upstream))
    program, api = await here.serve()
    run_id = await api.launch(flow_name=SUPPORT, run_name=TICKET, definition=definition())
    await api.until(run_id, last_seq=4)
    program.terminate()
    assert await program.ended(25) == 0
    assert "Traceback" not in program.said()
    _, api = await here.serve()
    run = await api.ended(run_id)
    check_support_run(here, run, await api.events(run_id))
    assert (len(upstream.launches), run["gaps"]) == (1, 1)


async def test_a_site_that_ends_while_a_launch_is_on_its_way_waits_for_the_answer(
    home: MakeHome, upstream: ScriptedUpstream
) -> None:
    upstream.launch_delay = 2.0
    here = home(**addresses(upstream))
    program, api = await here.serve()
    run_id = await api.launch(flow_name=SUPPORT, run_name=TICKET, definition=definition())
    ends = time.monotonic() + 20
    while not upstream.launches and time.monotonic() < ends:
        await asyncio.sleep(0.02)
    program.terminate()
    assert await program.ended(25) == 0
    upstream.visit = in_two_halves(upstream, 7, 0)
    _, api = await here.serve()
    await api.ended(run_id)
    assert len(upstream.launches) == 1
    assert (await api.run(run_id))["status"] == "succeeded"


async def test_no_secret_is_found_in_any_file_or_in_the_log(home: MakeHome, upstream: ScriptedUpstream) -> None:
    frames = seed.frames("customer_support")
    broken = [frame[:-1] for frame in frames]

    async def visit(socket: ServerConnection, number: int) -> None:
        while not upstream.launches:
            await asyncio.sleep(0.01)
        for frame in [*broken, *frames]:
            await socket.send(frame)
        await hold(socket, number)

    upstream.visit = visit
    here = home(**addresses(upstream), UPSTREAM_API_KEY=SECRETS[3], LOG_LEVEL="DEBUG")
    program, api = await here.serve()
    run_id = await api.launch(
        flow_name=SUPPORT, run_name=TICKET, definition=definition(), inputs={"echo": f"key {SECRETS[3]}"}
    )
    run = await api.ended(run_id)
    assert (run["status"], run["rejected"]) == ("succeeded", len(broken))
    assert upstream.launch_headers[0]["x-api-key"] == SECRETS[3]
    assert SECRETS[0] in json.dumps(upstream.launches[0])
    shown = json.dumps([run, await api.events(run_id), await api.call("GET", f"/runs/{run_id}/rejected")])
    searched = [path for path in here.folder.rglob("*") if path.is_file()]
    assert any(path.name.endswith(".sqlite3-wal") for path in searched)
    kept = b"".join(path.read_bytes() for path in searched) + shown.encode()
    assert b"sentiment-v2" in kept, "the search itself works"
    assert [secret for secret in SECRETS if secret.encode() in kept] == []
    program.kill()


async def test_a_frame_far_larger_than_what_a_client_may_send_reaches_its_listener(home: MakeHome) -> None:
    """The server has one limit for whole messages of both directions; only that of single frames is for clients."""
    _, api = await home(SANDBOX_SPEED=40).serve()
    site = f"127.0.0.1:{api.port}/sandbox"
    frame = json.dumps({"event_type": "task_completed", "flow_name": "F", "run_name": "r", "output": "x" * 3_000_000})
    async with connect(f"ws://{site}/ws/F/r", proxy=None, max_size=None) as socket:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(f"http://{site}/recordings/?flow_name=F&run_name=r", content=frame)
        assert answer.json()["listeners"] == 1
        async with asyncio.timeout(60):
            while (came := await socket.recv()) != frame:
                assert len(came) < 1000
