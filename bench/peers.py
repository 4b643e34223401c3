"""`peers`: the same number of events into Prefect 3's server and into Stepline, each through its own socket, watched.

Prefect's server is installed into an environment of its own, once, and runs with a home of its own, on SQLite as
Stepline does. Its figures stand where the floor's stand in other rows.
"""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bench import live
from bench.row import Row, median
from bench.site import ROOT, attach, check, served, until
from bench.source import Told, source
from tests.servers import free_port

PREFECT = "prefect==3.9.1"
RUNS = 20
STILL_SECONDS = 10.0  # without a further row: what has not come by then does not come
MOST_SECONDS = 300.0


def _program() -> Path:
    """Prefect's command."""
    folder = ROOT / ".bench-prefect"
    program = folder / "bin" / "prefect"
    if not program.exists():
        print(f"installing {PREFECT} into {folder.name}, once", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", PREFECT], check=True)
    return program


@contextmanager
def prefect(home: Path) -> Iterator[tuple[int, Path]]:
    """Its port and its database."""
    port = free_port()
    database = home / "prefect.db"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PREFECT"))},
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    command = [str(_program()), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "prefect.log").open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def answers() -> bool:
        assert process.poll() is None, (home / "prefect.log").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/api/health", trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        until(answers, "Prefect answers")
        yield port, database
    finally:
        process.terminate()
        process.wait()


def _event(run: str, n: int) -> str:
    return json.dumps(
        {
            "id": str(uuid.uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": "bench.task",
            "resource": {"prefect.resource.id": f"bench.{run}"},
            "related": [],
            "payload": {"n": n, "text": "x" * 300},
        }
    )


async def _into_prefect(port: int, database: Path, events: int) -> tuple[int, int, float]:
    """How many were stored, how many its watcher was told, and the seconds from the first to the last of both."""
    told, last = 0, time.perf_counter()
    times = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}  # else until now
    listening = {
        "type": "filter", "backfill": False, "filter": {"event": {"prefix": ["bench."]}, "occurred": times},
    }  # fmt: skip

    async def watch(ready: asyncio.Event) -> None:
        nonlocal told, last
        async with connect(f"ws://127.0.0.1:{port}/api/events/out", proxy=None, max_size=None) as socket:
            await socket.send(json.dumps(listening))
            ready.set()
            with suppress(ConnectionClosed):
                async for _ in socket:
                    told, last = told + 1, time.perf_counter()

    async def send(run: str) -> None:
        async with connect(f"ws://127.0.0.1:{port}/api/events/in", proxy=None) as socket:
            for n in range(events):
                await socket.send(_event(run, n))

    def count() -> int:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as bare:
            found = bare.execute("SELECT count(*) FROM events WHERE event = 'bench.task'").fetchone()
            return int(found[0])

    ready = asyncio.Event()
    watching = asyncio.create_task(watch(ready))
    await ready.wait()
    async with connect(f"ws://127.0.0.1:{port}/api/events/in", proxy=None) as socket:
        while told == 0 or count() == 0:  # it has subscribed, and all parts of the server have started
            await socket.send(_event("first", 0))
            await asyncio.sleep(1.0)
    before, told = count(), 0
    began = last = time.perf_counter()
    await asyncio.gather(*(send(f"run-{n}") for n in range(RUNS)))
    stored = 0
    while min(stored, told) < RUNS * events and time.perf_counter() - max(last, began) < STILL_SECONDS:
        await asyncio.sleep(0.1)
        if (now := await asyncio.to_thread(count) - before) > stored:
            stored, last = now, time.perf_counter()
        if time.perf_counter() - began > MOST_SECONDS:
            break
    watching.cancel()
    return stored, told, last - began


def measure(folder: Path, *, full: bool) -> list[Row]:
    events, rounds = (1000, 3) if full else (250, 1)
    ours, theirs, kept, heard = [], [], 0, 0
    for n in range(rounds):
        home = folder / f"prefect-{n}"
        home.mkdir()
        with prefect(home) as (port, database):
            stored, told, took = asyncio.run(_into_prefect(port, database, events))
        theirs.append(stored / took)
        kept, heard = kept + stored, heard + told
    with source() as upstream, served(folder) as site:
        for n in range(rounds):
            names = [f"peer-{n}-{run}" for run in range(RUNS)]
            ids = attach(upstream.url, names)
            until(lambda: upstream.connected() >= RUNS, "all are connected")
            _, took = asyncio.run(live.product(site, ids, upstream, Told(names, events)))
            until(lambda: upstream.connected() == 0, "the runs have ended")
            check(ids, events)
            ours.append(RUNS * events / took)
    sent = RUNS * events * rounds
    work = (
        f"{RUNS} runs of {events} events, each open in one page, {rounds} rounds: Stepline stored and showed all "
        f"{sent:,}; {PREFECT} stored {kept:,} of {sent:,} and told its one watcher {heard:,}"
    )
    return [Row("peers", "events/s, stored and shown", median(ours, 0), median(theirs, 0), None, work, more=True)]
