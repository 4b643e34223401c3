"""`big-list`: pages of the runs list over a million runs on SQLite, as the site answers them to a signed-in browser.

The floor asks SQLite bare for the same rows of the same database, and makes no page of them.
"""

import itertools
import random
import re
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.row import Row

PAGE = 50
DEEP = 10_000  # the page that is reached by its cursor
FLOWS = 200
BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
STATUSES = ("succeeded", "failed", "stopped", "lost")
SHARES = (90, 8, 1, 1)
TOPICS = ("invoice", "refund", "weather in Berlin", "priority high", "document", "summary of a question")
NEEDLE = "xylophone"  # stands in one run of a thousand
ERROR = '{"type":"TimeoutError","message":"no answer in %d s","code":null}'


def _rows(runs: int, template: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, bool]]:
    """For each run its columns, the text that finds it, and whether a task of it failed."""
    from runs.core.searching import text_of

    dice = random.Random(7)
    for number in range(1, runs + 1):
        flow, status = f"Pipeline {dice.randrange(FLOWS)}", dice.choices(STATUSES, SHARES)[0]
        error = ERROR % dice.randrange(60) if status == "failed" else None
        at = BEGAN + timedelta(seconds=2 * number + dice.random())
        name = f"{flow}-{at:%Y%m%d}-{dice.getrandbits(32):08x}"
        took = dice.lognormvariate(4, 0.5)
        row = template | {
            "id": number, "flow_name": flow, "run_name": name, "status": status, "error": error,
            "created_at": at.strftime("%Y-%m-%d %H:%M:%S.%f"), "started_at": at.timestamp(),
            "finished_at": at.timestamp() + took, "execution_time": took,
        }  # fmt: skip
        given = f"{dice.choice(TOPICS)} {dice.randrange(1_000_000)}" + f" {NEEDLE}" * (number % 1000 == 0)
        yield row, text_of(flow, name, given, error), status == "failed"


def fill(runs: int) -> None:
    """Write this many ended runs, past the ORM, with what finds them."""
    from django.db import connection

    from runs.models import Run, Task, Upstream

    upstream = Upstream.objects.create(name="big-list", api_url="http://127.0.0.1:9", socket_url="ws://127.0.0.1:9")
    run = Run(upstream=upstream, flow_name="", run_name="", connection="closed", planned=True, tasks_total=5)
    run.tasks_succeeded = 5
    task = Task(run=run, key="fetch", name="fetch", position=0, status="failed")

    def columns(row: Run | Task) -> dict[str, Any]:
        """The row as the database takes it."""
        return {
            str(field.column): field.get_db_prep_save(getattr(row, field.attname), connection)
            for field in row._meta.concrete_fields
        }

    def insert(table: str, names: list[str], rows: list[tuple[Any, ...]]) -> None:
        places = ", ".join(["?"] * len(names))
        connection.connection.executemany(
            f'INSERT INTO {table} ("{'", "'.join(names)}") VALUES ({places})',
            rows,
        )

    made = _rows(runs, columns(run))
    failed = columns(task)
    del failed["id"]
    connection.ensure_connection()
    for batch in itertools.batched(made, 20_000):
        connection.connection.execute("BEGIN IMMEDIATE")
        insert("runs_run", list(batch[0][0]), [tuple(row.values()) for row, _, _ in batch])
        insert("runs_searchtext", ["rowid", "text"], [(row["id"], text) for row, text, _ in batch])
        tasks = [tuple((failed | {"run_id": row["id"]}).values()) for row, _, task_failed in batch if task_failed]
        insert("runs_task", list(failed), tasks)
        connection.connection.execute("COMMIT")


def _median(call: Callable[[], Any], rounds: int) -> float:
    """Milliseconds."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def _bare(database: sqlite3.Connection, where: str, *params: Any) -> Callable[[], Any]:
    sql = f"SELECT * FROM runs_run {where} LIMIT {PAGE + 1}"
    return lambda: database.execute(sql, params).fetchall()


def measure(folder: Path, *, full: bool) -> list[Row]:
    """Milliseconds of each page, medians; ends by comparing what the pages show with the database."""
    from django.db import connection
    from django.test import Client

    from accounts.models import User
    from runs.listing import Place

    runs, rounds = (1_000_000, 15) if full else (100_000, 9)
    began = time.perf_counter()
    fill(runs)
    took = time.perf_counter() - began
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(User.objects.create_user("reader", role="viewer"))
    database = sqlite3.connect(str(connection.settings_dict["NAME"]))
    order = "ORDER BY created_at DESC, id DESC"
    deep = runs - PAGE * min(DEEP, runs // PAGE // 2)
    (at,) = database.execute("SELECT created_at FROM runs_run WHERE id = ?", (deep,)).fetchone()
    place = Place(datetime.fromisoformat(at).replace(tzinfo=UTC), deep)
    found_by_text = "JOIN runs_searchtext s ON s.rowid = runs_run.id WHERE s.text MATCH ? ORDER BY s.rowid DESC"
    cases: list[tuple[str, dict[str, str], tuple[Any, ...], int]] = [
        ("first page", {}, (order,), 20),
        ("by state", {"state": "lost"}, (f"WHERE status = ? {order}", "lost"), 20),
        ("by flow", {"flow": "Pipeline 7"}, (f"WHERE flow_name = ? {order}", "Pipeline 7"), 20),
        ("by text", {"q": NEEDLE}, (found_by_text, f'"{NEEDLE}"'), 100),
        ("by common text", {"q": "pipeline"}, (found_by_text, '"pipeline"'), 100),
        ("by words", {"q": "refund 42 timeout"}, (found_by_text, '"refund" AND " 42" AND "timeout"'), 100),
        (f"page {(runs - deep) // PAGE:,}", {"before": str(place)},
         (f"WHERE (created_at, id) < (?, ?) {order}", at, deep), 20),
    ]  # fmt: skip
    rows = []
    for label, query, bare, reach in cases:
        address = f"/?{urlencode(query)}"
        product = _median(lambda address=address: client.get(address), rounds)  # type: ignore[misc]
        floor = _median(_bare(database, *bare), rounds)
        shown = [int(run_id) for run_id in re.findall(r'data-run="(\d+)"', client.get(address).content.decode())]
        wanted = [row[0] for row in _bare(database, *bare)()][:PAGE]
        assert shown == wanted, f"{label}: the page shows other runs than the database has"
        work = f"{label}, {runs:,} runs (written in {took:.0f} s)"
        rows.append(Row("big-list", "ms, server", round(product, 1), round(floor, 2), reach, work))
    return rows
