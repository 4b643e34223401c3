"""`burst`: 10,000 events at once into one run that is open in one page."""

import asyncio
import time
from pathlib import Path

from bench.bare import bare
from bench.live import floor
from bench.row import Row, median
from bench.site import Site, attach, check, reading, served, until
from bench.source import Source, Told, source

EVENTS = 10_000


async def product(site: Site, run_id: int, upstream: Source, told: Told) -> tuple[float, float]:
    """Seconds until all are durable, and until the page has the last."""
    from runs.models import Run
    from runs.worker.db import on_thread

    async def durable() -> float:
        while not await on_thread(Run.objects.filter(pk=run_id, last_seq=told.events).exists):
            await asyncio.sleep(0.02)
        return time.time()

    async with reading(site, [run_id]) as [reader]:
        telling = asyncio.create_task(asyncio.to_thread(upstream.tell, told))
        stored, _ = await asyncio.gather(durable(), reader.read(told.events))
        began = (await telling)[told.runs[0]][0]
        return stored - began, reader.seen[-1][1] - began


def measure(folder: Path, *, full: bool) -> list[Row]:
    rounds = 5 if full else 3
    bares, ours = [], []
    with source() as upstream, served(folder) as site:
        for n in range(rounds):
            name = f"bare-burst-{n}"
            with bare(upstream.url, [name], folder / f"burst-{n}.sqlite3") as url:
                until(lambda: upstream.connected() == 1, "it is connected")
                bares.append(max(asyncio.run(floor(url, upstream, Told([name], EVENTS)))[0]) / 1000)
            until(lambda: upstream.connected() == 0, "the bare program has gone")
            name = f"burst-{n}"
            ids = attach(upstream.url, [name])
            until(lambda: upstream.connected() == 1, "it is connected")
            ours.append(asyncio.run(product(site, ids[0], upstream, Told([name], EVENTS))))
            until(lambda: upstream.connected() == 0, "the run has ended")
            check(ids, EVENTS)
    work = f"{EVENTS:,} events at once into one run, open in one page; {rounds} rounds"
    base = median(bares, 2)
    return [
        Row("burst", "s until all are durable", median((one for one, _ in ours), 2), base, 2, work),
        Row("burst", "s until the page has the last", median((one for _, one in ours), 2), base, 3, work),
    ]
