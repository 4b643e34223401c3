"""Sites, PostgreSQL and Redis that die under load: following goes on, and the pages catch up by themselves."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.faults.ledger import Ledger, size
from tests.faults.processes.readers import Reader, Readers, signed_in
from tests.process.fixtures import MakeHome
from tests.process.load import Found, Load
from tests.process.programs import Api, Home, start
from tests.scripted import ScriptedUpstream, eventually
from tests.servers import Postgres, Redis, query

SERVERS = "PostgreSQL + Redis"
CAUGHT_UP = 20.0  # seconds in which a page is to show what there is; 5 on a machine with nothing else to do

pytestmark = pytest.mark.postgres


def stored(home: Home) -> int:
    """Events that are stored now."""
    ((events,),) = query(home.database, "SELECT count(*) FROM runs_event")
    return int(events)


async def until_more_is_stored(home: Home, before: int) -> None:
    async def so() -> bool:
        return stored(home) > before

    await eventually(so, 60, pause=0.1)


async def until_all_came_back(readers: list[Reader]) -> None:
    async def so() -> bool:
        return min(reader.connections for reader in readers) > 1

    await eventually(so, CAUGHT_UP)


async def running(api: Api, least: int = 2) -> list[int]:
    """Runs of which something has come, the youngest first."""

    async def some() -> list[int]:
        runs = [run["id"] for run in await api.runs() if run["status"] == "running" and run["last_seq"]]
        return runs if len(runs) >= least else []

    return await eventually(some, 60, pause=0.2)


async def like_fresh_pages(readers: Readers) -> None:
    """When nothing more comes, each page that has lived through it all is what one gets now."""
    await readers.converged(CAUGHT_UP)
    for reader in readers.all:
        await reader.like_a_fresh_page()


@pytest.mark.timeout(size(300, 900))
async def test_sites_that_are_killed_do_not_touch_the_following_and_their_pages_come_back(
    deploy: MakeHome, upstream: ScriptedUpstream, ledger: Ledger
) -> None:
    ledger.where, times, pages = SERVERS, size(3, 20), size(6, 20)
    draw = random.Random(times)
    home = deploy()
    load = Load(upstream, rate=40, runs=10, events=size(40, 80), replay=False)
    sites, _ = await start(home, webs=2, workers=1)
    ports = [api.port for _, api in sites]
    cookies = await signed_in(home, ports[0])
    killed, took = 0, list[float]()
    async with Readers(home) as readers:
        async with load.going(*(api for _, api in sites)):
            for number in range(times):
                await readers.close()
                runs = await running(sites[0][1])
                for place in range(pages):
                    await readers.open(ports[place % 2], runs[place % len(runs)], cookies)
                await readers.converged(60)
                await asyncio.sleep(draw.uniform(0, 1))
                which, before = draw.randrange(2), stored(home)
                program, api = sites[which]
                program.kill()
                killed += program.process.returncode == -9
                sites[which] = await home.serve("--no-worker", port=api.port, log=f"web-again-{number}.log")
                assert stored(home) > before, "nothing was followed while the site was away"
                back = time.monotonic()
                await until_all_came_back(readers.all[which::2])
                await readers.converged(CAUGHT_UP)
                took.append(time.monotonic() - back)
        found = await load.count(home, sites[0][1])
        await like_fresh_pages(readers)
    print(f"pages had caught up {max(took):.2f} s after the site answered again, at the latest")  # noqa: T201
    assert set(load.visits.values()) == {1}, "a socket at the upstream was given up for it"
    ledger.enter("kill -9 of a site", times=times, injected=killed, lost=found.lost, doubled=found.doubled)


async def with_servers_that_die(
    home: Home, load: Load, times: int, kill_and_restart: Callable[[], Awaitable[bool]]
) -> tuple[int, Found]:
    """Two sites with a page each, one worker, and a server under them that dies again and again: how often it did."""
    sites, workers = await start(home, webs=2, workers=1)
    apis = [api for _, api in sites]
    cookies = await signed_in(home, apis[0].port)
    struck, took = 0, list[float]()
    async with Readers(home) as readers:
        async with load.going(*apis):
            for _ in range(times):
                await readers.close()
                runs = await running(apis[0])
                for api, run_id in zip(apis, runs, strict=False):
                    await readers.open(api.port, run_id, cookies)
                await readers.converged(60)
                before = stored(home)
                struck += await kill_and_restart()
                back = time.monotonic()
                await until_more_is_stored(home, before)
                await readers.converged(CAUGHT_UP)
                took.append(time.monotonic() - back)
                for api in apis:
                    api.patient = True
        found = await load.count(home, apis[0])
        await like_fresh_pages(readers)
    print(f"pages showed new events {max(took):.2f} s after the server answered again, at the latest")  # noqa: T201
    assert [program.process.poll() for program in (*workers, *(program for program, _ in sites))] == [None] * 3
    return struck, found


@pytest.mark.timeout(size(300, 600))
async def test_postgresql_that_dies_under_load_costs_nothing_that_was_received(
    deploy: MakeHome, upstream: ScriptedUpstream, postgres: Postgres, ledger: Ledger
) -> None:
    ledger.where, times = SERVERS, size(1, 10)
    home, load = deploy(LAUNCH_DEADLINE_SECONDS=8), Load(upstream, rate=40, runs=10, replay=False)

    async def kill_and_restart() -> bool:
        ((before,),) = query(home.database, "SELECT pg_postmaster_start_time()")
        postgres.kill()
        await asyncio.sleep(1.0)
        postgres.start()
        ((after,),) = query(home.database, "SELECT pg_postmaster_start_time()")
        return bool(after > before)

    died, found = await with_servers_that_die(home, load, times, kill_and_restart)
    assert set(load.visits.values()) == {1}, "a socket at the upstream was given up for it"
    ledger.enter("PostgreSQL killed", times=times, injected=died, lost=found.lost, doubled=found.doubled)


@pytest.mark.timeout(size(300, 600))
async def test_redis_that_is_flushed_and_dies_under_load_costs_nothing_but_time(
    deploy: MakeHome, upstream: ScriptedUpstream, redis: Redis, ledger: Ledger
) -> None:
    ledger.where, times = SERVERS, size(1, 10)
    home, load = deploy(LAUNCH_DEADLINE_SECONDS=8), Load(upstream, rate=40, runs=10, replay=False)

    async def kill_and_restart() -> bool:
        async def holds_something() -> bool:
            return redis.ask("DBSIZE") != ":0"  # the groups of the pages

        held = await eventually(holds_something, 60)
        assert redis.ask("FLUSHALL") == "+OK"
        await asyncio.sleep(1.0)
        redis.kill()
        await asyncio.sleep(1.0)
        redis.start()
        return held

    died, found = await with_servers_that_die(home, load, times, kill_and_restart)
    assert set(load.visits.values()) == {1}, "a socket at the upstream was given up for it"
    ledger.enter("Redis flushed and killed", times=times, injected=died, lost=found.lost, doubled=found.doubled)


@pytest.mark.timeout(size(300, 600))
async def test_redis_that_stands_still_makes_pages_slower_and_stops_nothing(
    deploy: MakeHome, upstream: ScriptedUpstream, redis: Redis, ledger: Ledger
) -> None:
    ledger.where, times = SERVERS, size(1, 3)
    home, load = deploy(LAUNCH_DEADLINE_SECONDS=8), Load(upstream, rate=40, runs=10, replay=False)
    sites, workers = await start(home, webs=2, workers=1)
    apis = [api for _, api in sites]
    cookies = await signed_in(home, apis[0].port)
    hung = 0
    async with Readers(home) as readers:
        async with load.going(*apis):
            for _ in range(times):
                await readers.close()
                for api, run_id in zip(apis, await running(apis[0]), strict=False):
                    await readers.open(api.port, run_id, cookies)
                await readers.converged(60)
                with redis.standing_still():
                    await asyncio.sleep(2.0)  # what was under way has come
                    before, launched = stored(home), len(load.names)
                    await until_more_is_stored(home, before)
                    await readers.converged(CAUGHT_UP)
                    for api in apis:
                        await readers.open(api.port, (await running(api))[0], cookies)

                    async def accepts(launched: int = launched) -> bool:
                        return len(load.names) > launched

                    await eventually(accepts, 60)
                    hung += not redis.answers()
                await readers.converged(CAUGHT_UP)
        found = await load.count(home, apis[0])
        await like_fresh_pages(readers)
    assert [program.process.poll() for program in (*workers, *(program for program, _ in sites))] == [None] * 3
    assert set(load.visits.values()) == {1}, "a socket at the upstream was given up for it"
    ledger.enter("Redis stands still", times=times, injected=hung, lost=found.lost, doubled=found.doubled)
