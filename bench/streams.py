"""`streams`: 500 streams with 1,000 events a second together, and how late the worker's loop is; 2,000 that are held.

The worker stands in a process of its own, with nothing beside it.
"""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path

from bench.row import Row, nth
from bench.site import attach, check, resident, until
from bench.source import Told, source

TICK = 0.01  # seconds between two looks at the clock


def measure(folder: Path, *, full: bool) -> list[Row]:
    busy, held, events = (500, 2000, 20) if full else (500, 1000, 10)
    rows = []
    with source() as upstream:
        told = Told([f"busy-{n}" for n in range(busy)], events, 1000.0)
        ids = attach(upstream.url, told.runs)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            working = pool.apply_async(_work, (ids, events))
            until(lambda: upstream.connected() == busy, "all are connected")
            upstream.tell(told)
            lags = working.get(120)
        check(ids, events)
        work = f"{busy} streams, {1000:,} events/s together, {events} each"
        rows.append(Row("streams", "ms that the loop is late, p99", round(1000 * nth(lags, 0.99), 1), None, 50, work))
        until(lambda: upstream.connected() == 0, "all have gone")

        attach(upstream.url, [f"held-{n}" for n in range(held)])
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            holding = pool.apply_async(_hold, (held,))
            until(lambda: upstream.connected() == held, "all are connected")
            before, after = holding.get(120)
    work = f"{held:,} streams held; {before:.0f} MB before them"
    rows.append(Row("streams", "MB of a worker", round(after), None, 250, work))
    return rows


def _work(ids: Sequence[int], events: int) -> list[float]:
    """Seconds by which each tick came late, until every run has all of its events."""
    return asyncio.run(_follow(ids, events))


async def _follow(ids: Sequence[int], events: int) -> list[float]:
    import django

    django.setup()
    from runs.models import Run
    from runs.threads import take_short_turns
    from runs.worker.db import on_thread
    from runs.worker.supervisor import Supervisor

    take_short_turns()  # as `worker` does
    supervisor = Supervisor("streams")
    working = asyncio.create_task(supervisor.run())
    first = Run.objects.filter(pk__in=ids, last_seq__gt=0)
    while not await on_thread(first.exists):  # what it costs to connect is not in it
        await asyncio.sleep(0.05)
    lags: list[float] = []

    async def tick() -> None:
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            lags.append(time.perf_counter() - due)

    ticking = asyncio.create_task(tick())
    while await on_thread(Run.objects.filter(pk__in=ids, last_seq=events).count) < len(ids):
        await asyncio.sleep(0.2)
    ticking.cancel()
    await asyncio.sleep(2.0)  # the ends are taken down
    supervisor.stop()
    await working
    return lags


def _hold(held: int) -> tuple[float, float]:
    """Megabytes of this process before and with them."""
    import django

    django.setup()
    from runs.worker.supervisor import Supervisor

    async def hold() -> tuple[float, float]:
        supervisor = Supervisor("held")
        before = resident(os.getpid())
        working = asyncio.create_task(supervisor.run())
        while sum(follower.connected for follower, _ in supervisor._followers.values()) < held:
            await asyncio.sleep(0.1)
        await asyncio.sleep(2.0)
        after = resident(os.getpid())
        supervisor.stop()
        await working
        return before, after

    return asyncio.run(hold())
