"""`ingest`: 20 runs that nobody watches, as fast as the source sends, one process, SQLite."""

import asyncio
import time
from pathlib import Path

from bench.bare import Bare
from bench.row import Row, median
from bench.site import attach, check, until
from bench.source import Source, Told, source

RUNS = 20


async def floor(upstream: Source, names: list[str], events: int, path: Path) -> float:
    """Seconds that a bare program takes for the same frames."""
    program = Bare(path)
    tasks = [asyncio.create_task(program.follow(upstream.url, name)) for name in names]
    tasks.append(asyncio.create_task(program.write()))
    await asyncio.to_thread(until, lambda: upstream.connected() == len(names), "all are connected")
    began = time.perf_counter()
    telling = asyncio.create_task(asyncio.to_thread(upstream.tell, Told(names, events)))
    while sum(program.stored.values()) < len(names) * events:
        await asyncio.sleep(0.005)
    took = time.perf_counter() - began
    await telling
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    (count,) = program.database.execute("SELECT count(*) FROM event").fetchone()
    assert count == len(names) * events, f"the floor stored {count}"
    program.database.close()
    return took


async def product(upstream: Source, names: list[str], events: int) -> float:
    """Seconds until the last event is durable, worker and database in this process."""
    from runs.models import Run, Stream
    from runs.worker.db import on_thread
    from runs.worker.supervisor import Supervisor

    ids = await on_thread(attach, upstream.url, names)
    supervisor = Supervisor("bench")
    working = asyncio.create_task(supervisor.run())
    while await asyncio.to_thread(upstream.connected) < len(names):
        await asyncio.sleep(0.05)
    began = time.perf_counter()
    telling = asyncio.create_task(asyncio.to_thread(upstream.tell, Told(names, events)))
    while await on_thread(Run.objects.filter(pk__in=ids, last_seq=events).count) < len(names):
        await asyncio.sleep(0.02)
    took = time.perf_counter() - began
    await telling
    while await on_thread(Stream.objects.filter(run_id__in=ids, active=True).exists):
        await asyncio.sleep(0.1)
    supervisor.stop()
    await working
    await on_thread(check, ids, events)
    return took


def measure(folder: Path, *, full: bool, label: str = "ingest") -> list[Row]:
    """Medians of the rounds; each ends by counting the rows and folding them again."""
    events, rounds = (2500, 5) if full else (1000, 3)
    floors, products = [], []
    with source() as upstream:
        for n in range(rounds):
            bare = [f"floor-{n}-{run}" for run in range(RUNS)]
            floors.append(RUNS * events / asyncio.run(floor(upstream, bare, events, folder / f"floor-{n}.sqlite3")))
            ours = [f"{label}-{n}-{run}" for run in range(RUNS)]
            products.append(RUNS * events / asyncio.run(product(upstream, ours, events)))
    work = f"{RUNS} runs of {events} events; {rounds} rounds"
    return [Row(label, "events/s, durable", median(products, 0), median(floors, 0), 12_000, work, more=True)]
