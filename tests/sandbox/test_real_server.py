"""The sandbox under daphne, for what only a real server decides: how a percent-encoded name arrives."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from tests.sandbox.playing import TERMINAL, task, workflow

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
NAMES = ("team/flow 50%2F", "ü ?#☃/1\t;x=1&y=2")


@pytest_asyncio.fixture
async def address() -> AsyncIterator[str]:
    """host:port of a daphne with the sandbox alone."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.sandbox.site"),
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "dashboard.settings", "SANDBOX_SPEED": "100"},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
        assert line.startswith("Listening on "), "daphne ended before it listened"
        yield line.removeprefix("Listening on ").strip()
    finally:
        process.terminate()
        await process.wait()


async def test_a_run_with_difficult_names_is_launched_and_heard_to_its_end(address: str) -> None:
    flow_name, run_name = NAMES
    path = f"{quote(flow_name, safe='')}/{quote(run_name, safe='')}"
    async with connect(f"ws://{address}/sandbox/ws/{path}", proxy=None) as socket:
        assert json.loads(await socket.recv())["type"] == "system"
        async with httpx.AsyncClient(trust_env=False) as http:
            body = workflow(task("a"), flow_name=flow_name, run_name=run_name)
            answer = await http.post(f"http://{address}/sandbox/run-dag/", json=body)
        assert answer.status_code == 200
        events = []
        async with asyncio.timeout(30):
            while not events or events[-1]["event_type"] not in TERMINAL:
                events.append(json.loads(await socket.recv()))
    assert {(event["flow_name"], event["run_name"]) for event in events} == {NAMES}
    assert len(events) == 4
