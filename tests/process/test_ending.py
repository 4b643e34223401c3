"""A site that is told to end while many ask: each request that it has begun is answered, and the process ends."""

import asyncio

import httpx
import pytest

from tests.factories import make_definition
from tests.process.fixtures import MakeHome, addresses
from tests.process.programs import Api, Home
from tests.scripted import ScriptedUpstream, eventually

CALLERS = 40
DEFINITION = make_definition(*(f"task {number}" for number in range(60)), flow_name="Nightly")


class Flood:
    """Callers that launch as fast as they are answered, until nobody listens any more."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.under_way = 0
        self.accepted: set[str] = set()
        self.otherwise: list[int] = []  # other answers than 201

    async def caller(self, number: int) -> None:
        for launch in range(1000):
            name = f"run-{number}-{launch}"
            self.under_way += 1
            try:
                body = {"flow_name": "Nightly", "run_name": name, "definition": DEFINITION}
                answer = await self.api.ask("POST", "/runs", json=body)
            except httpx.TransportError:
                return
            finally:
                self.under_way -= 1
            if answer.status_code == 201:
                self.accepted.add(name)
            else:
                self.otherwise.append(answer.status_code)


async def ends_in_order(home: Home, *arguments: str) -> None:
    program, api = await home.serve(*arguments)
    flood = Flood(api)

    async def many_under_way() -> bool:
        return len(flood.accepted) >= CALLERS and flood.under_way >= CALLERS // 2

    async with asyncio.TaskGroup() as callers:
        for number in range(CALLERS):
            callers.create_task(flood.caller(number))
        await eventually(many_under_way, 60)
        before = len(flood.accepted)
        program.terminate()
        assert await program.ended(30) == 0, program.said()[-3000:]
    assert "Traceback" not in program.said()
    assert len(flood.accepted) > before, "none of those under way was answered"
    assert {*flood.otherwise} <= {503}  # no connection of the pool was free: ask again
    _, api = await home.serve(*arguments)
    assert flood.accepted <= {run["run_name"] for run in await api.runs()}


async def test_one_process_with_sqlite(home: MakeHome, upstream: ScriptedUpstream) -> None:
    await ends_in_order(home(**addresses(upstream)))


@pytest.mark.postgres
async def test_a_web_process_with_postgresql(deploy: MakeHome) -> None:
    await ends_in_order(deploy(), "--no-worker")
