"""`watched`, `latency-100`, `latency-1000`: 20 runs, each open in one page, from sending to the page's socket.

The site is a process of its own, as is the generator; the floor is the bare program, told to as many readers.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from websockets.asyncio.client import connect

from bench.bare import bare
from bench.row import Figure, Row, median, nth
from bench.site import Reader, Site, attach, check, reading, served, until
from bench.source import Source, Told, source

RUNS = 20


async def floor(url: str, upstream: Source, told: Told) -> tuple[list[float], float]:
    """As `product`, of the bare program."""
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connect(f"{url}/{name}", proxy=None, compression=None))
            for name in told.runs
        ]
        return await _told([Reader(socket, {"since": "0"}) for socket in sockets], upstream, told)


async def product(site: Site, ids: Sequence[int], upstream: Source, told: Told) -> tuple[list[float], float]:
    """Milliseconds of each event to its page, and the seconds until the last page had its last."""
    async with reading(site, ids) as readers:
        return await _told(readers, upstream, told)


async def _told(readers: Sequence[Reader], upstream: Source, told: Told) -> tuple[list[float], float]:
    began = time.perf_counter()
    telling = asyncio.create_task(asyncio.to_thread(upstream.tell, told))
    await asyncio.gather(*(reader.read(told.events) for reader in readers))
    took = time.perf_counter() - began
    sent = await telling
    each = [reader.took(sent[name]) for reader, name in zip(readers, told.runs, strict=True)]
    return [one for page in each for one in page], took


def measure(folder: Path, *, full: bool) -> list[Row]:
    rounds = 5 if full else 3
    cases: list[tuple[str, int, float, Figure]] = [
        # label, events a run, events a second, what is to be reached
        ("latency-100", 150 if full else 50, 100.0, (5, 15)),
        ("latency-1000", 600 if full else 300, 1000.0, (10, 40)),
        ("watched", 1000 if full else 500, 0.0, 3000),
    ]
    rows = []
    with source() as upstream, served(folder) as site:
        for label, events, rate, reach in cases:
            bares, ours = [], []
            for n in range(rounds):
                names = [f"bare-{label}-{n}-{run}" for run in range(RUNS)]
                with bare(upstream.url, names, folder / f"{label}-{n}.sqlite3") as url:
                    until(lambda: upstream.connected() >= RUNS, "all are connected")
                    bares.append(asyncio.run(floor(url, upstream, Told(names, events, rate))))
                until(lambda: upstream.connected() == 0, "the bare program has gone")
                names = [f"{label}-{n}-{run}" for run in range(RUNS)]
                ids = attach(upstream.url, names)
                until(lambda: upstream.connected() >= RUNS, "all are connected")
                ours.append(asyncio.run(product(site, ids, upstream, Told(names, events, rate))))
                until(lambda: upstream.connected() == 0, "the runs have ended")
                check(ids, events)
            work = f"{RUNS} runs of {events} events, each open in one page; {rounds} rounds"
            if rate:
                unit = "ms from sending to the page's socket, p50 / p99"
                rows.append(Row(label, unit, _times(ours), _times(bares), reach, work))
            else:
                told, base = (median((RUNS * events / took for _, took in of), 0) for of in (ours, bares))
                rows.append(Row(label, "events/s, to the last page", told, base, reach, work, more=True))
    return rows


def _times(rounds: Sequence[tuple[list[float], float]]) -> tuple[float, float]:
    """The medians of the rounds' p50 and p99."""
    return tuple(median((nth(took, share) for took, _ in rounds), 2) for share in (0.5, 0.99))  # type: ignore[return-value]
