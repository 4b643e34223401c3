"""PostgreSQL, Redis, two sites, two workers: one of them killed, or the servers under them, in the middle of runs."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from tests.factories import START, make_definition
from tests.process.conftest import addresses, migrate
from tests.process.programs import Api, Home, Program
from tests.scripted import ScriptedUpstream, eventually
from tests.servers import Postgres, Redis

pytestmark = pytest.mark.postgres

FLOW = "Nightly"
TASKS = 12
_numbers = itertools.count(1)


class Playing:
    """Plays each launched run to whoever is connected; a late visitor hears everything from the beginning."""

    def __init__(self, upstream: ScriptedUpstream, pause: float) -> None:
        self.upstream, self.pause = upstream, pause
        self.begun_at: dict[str, float] = {}
        self.visits: Counter[str] = Counter()
        upstream.visit = self.visit

    def frames(self, run_name: str) -> list[str]:
        events: list[dict[str, Any]] = [{"event_type": "flow_started"}]
        for number in range(TASKS):
            task = {"task_id": f"{run_name}-{number}", "task_name": f"task {number}"}
            events += [{"event_type": "task_started", **task}, {"event_type": "task_completed", **task}]
        events.append({"event_type": "flow_completed", "output": {"run": run_name}})
        common = {"flow_name": FLOW, "run_name": run_name}
        return [json.dumps({**event, **common, "timestamp": START + number}) for number, event in enumerate(events)]

    async def visit(self, socket: ServerConnection, number: int) -> None:
        assert socket.request is not None
        name = socket.request.path.rsplit("/", 1)[1]
        self.visits[name] += 1
        now = asyncio.get_running_loop().time
        while not any(launch["run_name"] == name for launch in self.upstream.launches):
            await asyncio.sleep(0.02)
        begun_at = self.begun_at.setdefault(name, now())
        for place, frame in enumerate(self.frames(name)):
            await asyncio.sleep(max(0.0, begun_at + place * self.pause - now()))
            await socket.send(frame)
        await socket.wait_closed()


@pytest.fixture
def deployment(
    prepared: tuple[Path, str], tmp_path: Path, postgres: Postgres, redis: Redis, upstream: ScriptedUpstream
) -> Iterator[Home]:
    here = Home(
        prepared[0],
        tmp_path / "data",
        "",
        **addresses(upstream),
        DATABASE_URL=postgres.make(f"test_{next(_numbers)}"),
        REDIS_URL=redis.url,
    )
    here.token = migrate(here)
    yield here
    here.end()


async def start(home: Home, webs: int, workers: int) -> tuple[list[Api], list[Program]]:
    following = [home.start("worker", log=f"worker-{number}.log") for number in range(workers)]
    sites = await asyncio.gather(*(home.serve("--no-worker", log=f"web-{number}.log") for number in range(webs)))
    for worker in following:
        await worker.until_it_says("starts")
    return [api for _, api in sites], following


async def check(home: Home, api: Api, playing: Playing, runs: list[int], seconds: float = 60.0) -> list[dict[str, Any]]:
    """All have ended right; every event of each is stored once; folding finds the same; none was launched twice."""
    ended = [await api.ended(run_id, seconds) for run_id in runs]
    for run in ended:
        sent = [json.loads(frame) for frame in playing.frames(run["run_name"])]
        events = await api.events(run["id"])
        assert (run["status"], run["last_seq"]) == ("succeeded", len(sent)), run
        stored = Counter((event["event_type"], event["task_id"] or "") for event in events)
        assert stored == Counter((event["event_type"], event.get("task_id", "")) for event in sent)
        assert [event["seq"] for event in events] == list(range(1, len(sent) + 1))
    launched = Counter(launch["run_name"] for launch in playing.upstream.launches)
    assert launched == dict.fromkeys((run["run_name"] for run in ended), 1)
    rebuilt = await asyncio.to_thread(home.manage, "rebuild_runs")
    assert rebuilt.returncode == 0, rebuilt.stdout
    return ended


async def launch_all(apis: list[Api], number: int) -> list[int]:
    definition = make_definition(*(f"task {task}" for task in range(TASKS)), flow_name=FLOW)
    return await asyncio.gather(
        *(
            apis[one % len(apis)].launch(flow_name=FLOW, run_name=f"run-{one}", definition=definition)
            for one in range(number)
        )
    )


async def until_all_have(api: Api, events: int) -> None:
    async def so() -> bool:
        listed = (await api.call("GET", "/runs?limit=200"))["items"]
        return all(run["last_seq"] >= events for run in listed)

    await eventually(so, 60)


async def test_a_worker_that_is_killed_loses_and_doubles_nothing(deployment: Home, upstream: ScriptedUpstream) -> None:
    playing = Playing(upstream, pause=0.3)
    apis, workers = await start(deployment, webs=2, workers=2)
    runs = await launch_all(apis, 20)
    await until_all_have(apis[0], 3)
    workers[0].kill()
    ended = await check(deployment, apis[1], playing, runs)
    taken_over = [run for run in ended if playing.visits[run["run_name"]] == 2]
    assert taken_over, "the killed worker followed none: the fault never fired"
    for run in taken_over:
        (gap,) = await apis[0].call("GET", f"/runs/{run['id']}/gaps")
        assert (gap["reason"], gap["ended_at"] is not None) == ("takeover", True)
    assert workers[1].process.poll() is None


async def test_a_worker_that_is_told_to_end_hands_over_to_the_others(
    deployment: Home, upstream: ScriptedUpstream
) -> None:
    playing = Playing(upstream, pause=0.15)
    apis, workers = await start(deployment, webs=1, workers=2)
    runs = await launch_all(apis, 10)
    await until_all_have(apis[0], 3)
    workers[0].terminate()
    assert await workers[0].ended(25) == 0
    assert "Traceback" not in workers[0].said()
    await check(deployment, apis[0], playing, runs)


async def test_servers_that_die_under_load_and_come_back_cost_nothing_that_was_received(
    deployment: Home, upstream: ScriptedUpstream, postgres: Postgres, redis: Redis
) -> None:
    playing = Playing(upstream, pause=0.3)
    apis, workers = await start(deployment, webs=1, workers=1)
    runs = await launch_all(apis, 10)
    await until_all_have(apis[0], 2)
    redis.kill()
    postgres.kill()
    await asyncio.sleep(1.0)
    postgres.start()
    redis.start()
    apis[0].patient = True
    await check(deployment, apis[0], playing, runs)
    assert "onnection refused" in workers[0].said() or "not take writes" in workers[0].said(), "no fault fired"
    assert workers[0].process.poll() is None
    assert max(playing.visits.values()) == 1, "no socket was given up for it"
