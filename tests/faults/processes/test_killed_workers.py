"""Workers that are killed, or stand still, in the middle of their runs: others take over, and nothing is lost."""

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.faults.ledger import Ledger, size
from tests.process.fixtures import MakeHome, addresses
from tests.process.load import Load
from tests.process.programs import Api, Home, Program, start
from tests.scripted import ScriptedUpstream, eventually
from tests.servers import followed, query

SERVERS = "PostgreSQL + Redis"


class Noted:
    """What the API had reported as committed before each kill: the last `seq` of each run."""

    def __init__(self) -> None:
        self.last: dict[int, int] = {}

    async def note(self, api: Api) -> None:
        for run in await api.runs():
            assert run["last_seq"] >= self.last.get(run["id"], 0), f"run {run['id']} had more events before"
            self.last[run["id"]] = run["last_seq"]

    def missing(self, runs: list[dict[str, Any]]) -> int:
        now = {run["id"]: run["last_seq"] for run in runs}
        return sum(max(0, last - now.get(run_id, 0)) for run_id, last in self.last.items())


async def gap_reasons(api: Api, run_id: int) -> list[str]:
    return [gap["reason"] for gap in await api.call("GET", f"/runs/{run_id}/gaps")]


async def heard_after(api: Api, run_id: int, moment: datetime) -> bool:
    """Whether the run went on after this moment."""
    events = await api.events(run_id)
    return bool(events) and datetime.fromisoformat(events[-1]["received_at"]) > moment


async def at_work(home: Home, workers: list[Program], least: int = 1) -> list[Program]:
    """The workers that follow so many runs, once there is one."""

    async def some() -> list[Program]:
        runs = followed(home.database)
        return [worker for worker in workers if len(runs.get(worker.process.pid, ())) >= least]

    return await eventually(some, 60, pause=0.1)


@pytest.mark.postgres
@pytest.mark.timeout(size(300, 1500))
async def test_what_was_reported_as_committed_outlives_workers_killed_at_random_points(
    deploy: MakeHome, upstream: ScriptedUpstream, ledger: Ledger
) -> None:
    ledger.where, times = SERVERS, size(5, 100)
    draw = random.Random(times)
    home = deploy(LAUNCH_DEADLINE_SECONDS=8)
    load = Load(upstream, rate=size(100, 40), runs=20)
    ((_, api),), workers = await start(home, webs=1, workers=2)
    noted, orphaned, killed = Noted(), dict[int, datetime](), 0
    async with load.going(api):
        for number in range(times):
            await asyncio.sleep(draw.uniform(0, 3))
            victim = draw.choice(await at_work(home, workers))
            await noted.note(api)
            running = query(
                home.database,
                "SELECT run_id FROM runs_stream JOIN runs_run ON runs_run.id = run_id "
                "WHERE active AND owner LIKE %s AND status = 'running' AND last_seq > 0",
                f"%:{victim.process.pid}:%",
            )
            victim.kill()
            killed += victim.process.returncode == -9
            orphaned |= dict.fromkeys((run_id for (run_id,) in running), datetime.now(UTC))
            workers.remove(victim)
            workers.append(home.start("worker", log=f"worker-again-{number}.log"))
    found = await load.count(home, api, 150)
    for run_id, moment in orphaned.items():
        if await heard_after(api, run_id, moment):
            assert "takeover" in await gap_reasons(api, run_id)
    assert orphaned, "no killed worker had a run: the fault never fired"
    lost = found.lost + noted.missing(found.runs)
    ledger.enter("kill -9 of a worker", times=times, injected=killed, lost=lost, doubled=found.doubled)


@pytest.mark.timeout(size(300, 600))
async def test_what_was_reported_as_committed_outlives_a_site_on_sqlite_killed_at_random_points(
    home: MakeHome, upstream: ScriptedUpstream, ledger: Ledger
) -> None:
    times = size(2, 20)
    draw = random.Random(times)
    here = home(**addresses(upstream), LAUNCH_DEADLINE_SECONDS=8)
    load = Load(upstream, rate=60, runs=10)
    program, api = await here.serve()
    api.patient = True
    noted, killed = Noted(), 0
    async with load.going(api):
        for _ in range(times):
            await asyncio.sleep(draw.uniform(0.5, 3))
            await noted.note(api)
            program.kill()
            killed += program.process.returncode == -9
            program, _ = await here.serve(port=api.port)
    found = await load.count(here, api)
    assert any(run["gaps"] for run in found.runs), "the killed site had followed nothing"
    lost = found.lost + noted.missing(found.runs)
    ledger.enter("kill -9 of a site in one process", times=times, injected=killed, lost=lost, doubled=found.doubled)
