"""`ingest-pg`: as `ingest`, with PostgreSQL, Redis and two workers in processes of their own.

The floor is one connection that takes the same frames in with COPY, a batch after the other.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from websockets.asyncio.client import connect

from bench.row import Row, median
from bench.site import ROOT, attach, check, until
from bench.source import FLOW, Source, Told, source

RUNS, WORKERS = 20, 2


@contextmanager
def workers(folder: Path) -> Iterator[None]:
    command = [sys.executable, "manage.py", "worker"]
    with (folder / "workers.log").open("ab") as out:
        processes = [subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out) for _ in range(WORKERS)]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


async def floor(upstream: Source, names: Sequence[str], events: int) -> float:
    """Seconds that it takes."""
    wanted, waiting, arrived = len(names) * events, [], asyncio.Event()

    async def follow(name: str) -> None:
        async with connect(f"{upstream.url}/ws/{FLOW}/{name}", compression=None, max_size=None, proxy=None) as socket:
            for seq in range(1, events + 1):
                frame = str(await socket.recv())
                waiting.append((name, seq, json.loads(frame)["event_type"], frame))
                arrived.set()

    database = await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True)
    async with database:
        await database.execute("DROP TABLE IF EXISTS bare")
        await database.execute("CREATE TABLE bare (run TEXT, seq INT, type TEXT, payload TEXT, PRIMARY KEY (run, seq))")
        reading = [asyncio.create_task(follow(name)) for name in names]
        await asyncio.to_thread(until, lambda: upstream.connected() == len(names), "all are connected")
        began, stored = time.perf_counter(), 0
        telling = asyncio.create_task(asyncio.to_thread(upstream.tell, Told(names, events)))
        while stored < wanted:
            await arrived.wait()
            arrived.clear()
            rows, waiting[:] = waiting[:], []
            async with database.cursor() as cursor, cursor.copy("COPY bare FROM STDIN") as copy:
                for row in rows:
                    await copy.write_row(row)
            stored += len(rows)
        took = time.perf_counter() - began
        await asyncio.gather(telling, *reading)
    return took


def product(upstream: Source, names: Sequence[str], events: int) -> float:
    from runs.models import Run

    ids = attach(upstream.url, names)
    until(lambda: upstream.connected() == len(names), "all are connected")
    began = time.perf_counter()
    upstream.tell(Told(names, events))
    until(lambda: Run.objects.filter(pk__in=ids, last_seq=events).count() == len(names), "all are durable")
    took = time.perf_counter() - began
    until(lambda: upstream.connected() == 0, "the runs have ended")
    check(ids, events)
    return took


def measure(folder: Path, *, full: bool) -> list[Row]:
    events, rounds = (2500, 5) if full else (1000, 3)
    ours, bares = [], []
    with source() as upstream:
        for n in range(rounds):
            bare = [f"bare-{n}-{run}" for run in range(RUNS)]
            bares.append(RUNS * events / asyncio.run(floor(upstream, bare, events)))
            until(lambda: upstream.connected() == 0, "the bare program has gone")
            with workers(folder):
                names = [f"pg-{n}-{run}" for run in range(RUNS)]
                ours.append(RUNS * events / product(upstream, names, events))
    work = f"{RUNS} runs of {events} events, {WORKERS} workers, Redis; {rounds} rounds"
    return [Row("ingest-pg", "events/s, durable", median(ours, 0), median(bares, 0), 12_000, work, more=True)]
