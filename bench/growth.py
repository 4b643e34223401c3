"""`growth`: what is stored already must not slow what comes: `ingest` and the runs list, over more and more events."""

import asyncio
import itertools
import statistics
import time
from pathlib import Path

from bench.ingest import RUNS, product
from bench.row import Row
from bench.source import Source, source

EACH = 1000  # events of a run that is stored already
PAYLOAD = '{"event_type":"task_started","text":"' + "x" * 560 + '"}'


def grow(runs: int) -> None:
    """So many ended runs more, of EACH events and 10 tasks, past the ORM but for the runs' rows."""
    from django.db import connection

    from runs.models import Run, Task, Upstream

    upstream, _ = Upstream.objects.get_or_create(
        name="growth", defaults={"api_url": "http://127.0.0.1:9", "socket_url": "ws://127.0.0.1:9"}
    )
    already = Run.objects.filter(upstream=upstream).count()
    for batch in itertools.batched(range(already, already + runs), 100):
        made = Run.objects.bulk_create(
            Run(
                upstream=upstream, flow_name=f"Flow {n % 50}", run_name=f"grown-{n}", status="succeeded", planned=True,
                connection="closed", started_at=1.0, finished_at=2.0, last_seq=EACH, tasks_total=10, tasks_succeeded=10,
            )
            for n in batch
        )  # fmt: skip
        Task.objects.bulk_create(
            Task(run=run, key=f"t{n}", name=f"t{n}", position=n, status="succeeded") for run in made for n in range(10)
        )
        connection.connection.execute("BEGIN IMMEDIATE")
        connection.connection.executemany(
            "INSERT INTO runs_event (run_id, seq, source, event_type, task_key, task_id, task_name, timestamp, "
            "received_at, digest, occurrence, receipts, flags, payload) "
            "VALUES (?, ?, 'stream', 'task_started', 't1', 't1', 't1', 1, 1, ?, 0, 1, '', ?)",
            ((run.pk, seq, f"{seq:032x}", PAYLOAD) for run in made for seq in range(1, EACH + 1)),
        )
        connection.connection.execute("COMMIT")


def _list_ms(rounds: int) -> float:
    from django.test import Client

    from accounts.models import User

    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(User.objects.get_or_create(username="reader", role="viewer")[0])
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        assert client.get("/").status_code == 200
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def _ingest(upstream: Source, label: str, rounds: int) -> float:
    events = 500
    names = [[f"{label}-{n}-{run}" for run in range(RUNS)] for n in range(rounds)]
    return statistics.median(RUNS * events / asyncio.run(product(upstream, some, events)) for some in names)


def measure(folder: Path, *, full: bool) -> list[Row]:
    """Each size against the first: 1.3 times slower is the most that is asked for."""
    from runs.models import Event

    sizes = [10_000, 100_000, 1_000_000, *([5_000_000] if full else [])]
    rows, first = [], (0.0, 0.0)
    with source() as upstream:
        _ingest(upstream, "warm", 2)  # what is loaded and compiled once is not in the first figure
        for size in sizes:
            grow((size - Event.objects.count()) // EACH)
            stored = Event.objects.count()
            now = (_ingest(upstream, f"at-{size}", 5), _list_ms(15))
            first = first if first[0] else now
            work = f"{stored:,} events stored already; {now[0]:,.0f} events/s, list in {now[1]:.1f} ms"
            rows.append(Row("growth", "times slower: ingest", round(first[0] / now[0], 2), None, 1.3, work))
            rows.append(
                Row("growth", "times slower: first page of the list", round(now[1] / first[1], 2), None, 1.3, work)
            )
    return rows
