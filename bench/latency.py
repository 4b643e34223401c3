"""`latency-100`: 100 events/s over 20 runs, from the frame's sending to its row being durable.

The floor is one commit of one row to the same kind of database at the same pace.
"""

import asyncio
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from bench.source import FLOW

RUNS, PACE = 20, 100.0


def _nth(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000


async def _floor(path: Path, count: int) -> list[float]:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "CREATE TABLE event (run INTEGER, seq INTEGER, payload TEXT, PRIMARY KEY (run, seq));"
    )

    def write(n: int) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO event VALUES (1, ?, ?)", (n, "x" * 600))
        database.execute("COMMIT")

    took = []
    for n in range(count):
        began = time.perf_counter()
        await asyncio.to_thread(write, n)
        took.append(time.perf_counter() - began)
        await asyncio.sleep(max(0.0, 1 / PACE - took[-1]))
    database.close()
    return took


async def _product(count: int) -> list[float]:
    from runs import store
    from runs.models import Run, Upstream
    from runs.worker.db import on_thread
    from runs.worker.supervisor import Supervisor

    sockets: dict[str, ServerConnection] = {}
    durable: dict[int, float] = {}
    sent: dict[int, float] = {}
    done = asyncio.Event()

    async def visit(socket: ServerConnection) -> None:
        assert socket.request is not None
        sockets[socket.request.path] = socket
        await socket.wait_closed()

    def commit(changes: Any, *, again: bool = False) -> set[int]:
        fenced = store.commit(changes, again=again)
        now = time.perf_counter()
        for change in changes:
            for event in change.events:
                durable[event.payload["n"]] = now
        if len(durable) == count:
            loop.call_soon_threadsafe(done.set)
        return fenced

    loop = asyncio.get_running_loop()
    async with serve(visit, "127.0.0.1", 0, compression=None) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"

        def prepare() -> list[int]:
            upstream = Upstream.objects.create(name="latency", api_url="http://127.0.0.1:9", socket_url=url)
            made = [
                store.create_run(upstream=upstream, flow_name=FLOW, run_name=f"late-{n}", user_id=None)
                for n in range(RUNS)
            ]
            return [run.pk for run in made]

        ids = await on_thread(prepare)
        supervisor = Supervisor("latency")
        supervisor._writer._commit = commit  # the clock stops where the commit returns
        working = asyncio.create_task(supervisor.run())
        while len(sockets) < RUNS:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        links = list(sockets.values())
        for n in range(count):
            frame = {"event_type": "note", "n": n, "timestamp": 1_756_806_000.0 + n, "text": "x" * 500}
            sent[n] = time.perf_counter()
            await links[n % RUNS].send(json.dumps(frame))
            await asyncio.sleep(1 / PACE)
        await asyncio.wait_for(done.wait(), 30)
        supervisor.stop()
        await working
        stored = await on_thread(lambda: sum(Run.objects.filter(pk__in=ids).values_list("last_seq", flat=True)))
    assert stored == count, f"{stored} of {count} events are stored"
    return [durable[n] - sent[n] for n in range(count)]


def measure(folder: Path, *, count: int = 1500) -> dict[str, Any]:
    """Milliseconds, the median and the 99th percentile."""
    floor, product = asyncio.run(_floor(folder / "latency.sqlite3", count)), asyncio.run(_product(count))
    return {
        "bench": "latency-100",
        "unit": "ms to durable, p50 / p99",
        "stepline": f"{_nth(product, 0.5):.1f} / {_nth(product, 0.99):.1f}",
        "floor": f"{_nth(floor, 0.5):.1f} / {_nth(floor, 0.99):.1f}",
        "ratio": round(_nth(product, 0.5) / _nth(floor, 0.5), 2),
        "reach": "5 / 15",
        "work": f"{count} events at {PACE:.0f} a second over {RUNS} runs",
    }
