"""`ingest`: 20 runs that nobody watches, as fast as the source sends, one process, SQLite.

The floor does the same work bare: a websockets client a run, msgspec, one executemany a batch, no framework.
"""

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import connect

from bench.source import FLOW, source

RUNS = 20


async def _floor(url: str, events: int, path: Path) -> float:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=4000;"
        "CREATE TABLE event (run TEXT, seq INTEGER, type TEXT, payload TEXT, PRIMARY KEY (run, seq));"
    )
    decoder = msgspec.json.Decoder()
    waiting: list[tuple[str, int, str, str]] = []
    arrived, left = asyncio.Event(), RUNS

    async def read(run: str) -> None:
        nonlocal left
        async with connect(f"{url}/ws/{FLOW}/{run}", compression=None, max_size=None, proxy=None) as socket:
            for seq in range(1, events + 1):
                frame = await socket.recv()
                waiting.append((run, seq, decoder.decode(frame)["event_type"], str(frame)))
                arrived.set()
        left -= 1
        arrived.set()

    def write(rows: list[tuple[str, int, str, str]]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO event VALUES (?, ?, ?, ?)", rows)
        database.execute("COMMIT")

    began = time.perf_counter()
    readers = [asyncio.create_task(read(f"run-{n}")) for n in range(RUNS)]
    while left or waiting:
        await arrived.wait()
        arrived.clear()
        rows, waiting[:] = waiting[:], []
        if rows:
            await asyncio.to_thread(write, rows)
    await asyncio.gather(*readers)
    took = time.perf_counter() - began
    (count,) = database.execute("SELECT count(*) FROM event").fetchone()
    assert count == RUNS * events, f"the floor stored {count} of {RUNS * events}"
    database.close()
    return took


async def _product(url: str, events: int, label: str) -> float:
    from runs import store
    from runs.models import Run, Stream, Upstream
    from runs.worker.db import on_thread
    from runs.worker.supervisor import Supervisor

    def prepare() -> list[int]:
        upstream = Upstream.objects.create(name=label, api_url="http://127.0.0.1:9", socket_url=url)
        rows = [
            store.create_run(
                upstream=upstream, flow_name=FLOW, run_name=f"run-{n}", deadline_seconds=3600, user_id=None
            )
            for n in range(RUNS)
        ]
        return [run.pk for run in rows]

    def all_stored(ids: list[int]) -> bool:
        return Run.objects.filter(pk__in=ids, last_seq=events).count() == RUNS

    def check(ids: list[int]) -> None:
        assert Run.objects.filter(pk__in=ids, status="succeeded", last_seq=events, rejected_count=0).count() == RUNS
        for run_id in ids:
            assert store.rebuild(run_id) == [], f"run {run_id}: the fold differs from what is stored"

    ids = await on_thread(prepare)
    supervisor = Supervisor(label)
    began = time.perf_counter()
    working = asyncio.create_task(supervisor.run())
    while not await on_thread(all_stored, ids):
        await asyncio.sleep(0.02)
    took = time.perf_counter() - began
    while await on_thread(Stream.objects.filter(run_id__in=ids, active=True).exists):
        await asyncio.sleep(0.1)
    supervisor.stop()
    await working
    await on_thread(check, ids)
    return took


def measure(folder: Path, *, events: int = 1000, rounds: int = 3) -> dict[str, Any]:
    """Events a second, medians of `rounds`; every round ends by counting the rows and folding them again."""
    floors, products = [], []
    with source(events) as url:
        for n in range(rounds):
            floors.append(RUNS * events / asyncio.run(_floor(url, events, folder / f"floor-{n}.sqlite3")))
            products.append(RUNS * events / asyncio.run(_product(url, events, f"bench-{n}")))
    floor, product = sorted(floors)[rounds // 2], sorted(products)[rounds // 2]
    return {
        "bench": "ingest",
        "unit": "events/s, durable",
        "stepline": round(product),
        "floor": round(floor),
        "ratio": round(product / floor, 3),
        "reach": 12000,
        "work": f"{RUNS} runs of {events} events",
    }
