"""`big-run` and `weight`: the page of a run with 10,000 tasks and 20,000 events, from a real server to a browser.

The floor reads the same rows and puts the same number of lines together: SQLite's own module, no framework.
"""

import gzip
import json
import re
import sqlite3
import statistics
import time
from html import escape
from pathlib import Path

import httpx

from bench.browser import chromium
from bench.row import Row, median
from bench.site import served

TASKS, EVENTS, LINES = 10_000, 20_000, 200
BEGAN = 1_756_806_000.0  # epoch seconds
TIMES = 7  # each measurement
SHOWN = """() => ({
  ready: performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd,
  paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
  nodes: document.querySelectorAll("*").length,
  rows: document.querySelectorAll("#rows > li, #log > li").length,
})"""
SCROLL = """async (line) => {
  const began = performance.now();
  document.getElementById("rows-box").scrollTop = line * 28;
  const there = () => document.querySelector(`#rows > [data-key="k${line + 3}"]`);
  while (!there()) await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""


def _make() -> int:
    """The run; its number."""
    from runs.models import Event, Run, Task, Upstream

    upstream = Upstream.objects.create(name="big-run", api_url="http://127.0.0.1:9", socket_url="ws://127.0.0.1:9")
    run = Run.objects.create(
        upstream=upstream, flow_name="Bench", run_name="big", status="succeeded", connection="closed", planned=True,
        started_at=BEGAN, finished_at=BEGAN + TASKS, rev=2, last_seq=EVENTS, tasks_total=TASKS, tasks_succeeded=TASKS,
    )  # fmt: skip
    payload = json.dumps({"event_type": "task_completed", "output": {"answer": "y" * 500}})
    Task.objects.bulk_create(
        (
            Task(
                run=run, key=f"k{n}", name=f"task_{n:05d}", function="api_call", position=n, status="succeeded", rev=2,
                started_at=BEGAN + n, finished_at=BEGAN + n + 0.5, duration=0.5,
                attempts=[{"started_at": BEGAN + n, "finished_at": BEGAN + n + 0.5, "status": "succeeded",
                           "inferred": False}],
            )
            for n in range(TASKS)
        ),
        batch_size=500,
    )  # fmt: skip
    Event.objects.bulk_create(
        (
            Event(
                run=run, seq=n + 1, event_type="task_completed" if n % 2 else "task_started", task_key=f"k{n // 2}",
                task_name=f"task_{n // 2:05d}", timestamp=BEGAN + n / 2, received_at=BEGAN + n / 2, digest=f"{n:032x}",
                payload=payload,
            )
            for n in range(EVENTS)
        ),
        batch_size=500,
    )  # fmt: skip
    return run.pk


def _floor(database: Path, run_id: int) -> float:
    """Milliseconds: read what an outline needs, and the rows and lines of one page, and write them as HTML."""
    began = time.perf_counter()
    with sqlite3.connect(database) as bare:
        outline = bare.execute(
            "SELECT id, key, name, position, status, error_seq, started_at, finished_at, rev FROM runs_task "
            "WHERE run_id = ?", (run_id,),
        ).fetchall()  # fmt: skip
        outline.sort(key=lambda row: row[3])
        wanted = ",".join(str(row[0]) for row in outline[:LINES])
        tasks = bare.execute(f"SELECT key, name, status, attempts FROM runs_task WHERE id IN ({wanted})").fetchall()
        events = bare.execute(
            "SELECT seq, event_type, task_name, timestamp FROM runs_event WHERE run_id = ? ORDER BY seq DESC LIMIT ?",
            (run_id, LINES),
        ).fetchall()
    lines = [
        f"<li>{escape(key)} {escape(name)} {status} {len(json.loads(tries))}</li>" for key, name, status, tries in tasks
    ]
    lines += [f"<li>{seq} {escape(kind)} {escape(name)} {at}</li>" for seq, kind, name, at in events]
    assert len("".join(lines)) > 2 * LINES
    return (time.perf_counter() - began) * 1000


def _server(client: httpx.Client, path: str) -> tuple[float, str]:
    """Milliseconds to the whole answer, and the page."""
    began = time.perf_counter()
    answer = client.get(path)
    took = (time.perf_counter() - began) * 1000
    assert answer.status_code == 200
    return took, answer.text


def _weight(client: httpx.Client, html: str) -> float:
    """Kilobytes of the page's scripts and styles, each compressed."""
    found = re.findall(r'<(?:script src|link rel="stylesheet" href)="([^"]+)"', html)
    assert len(found) > 5, found
    return sum(len(gzip.compress(client.get(address).content)) for address in found) / 1024


def _browser(client: httpx.Client, path: str) -> dict[str, float] | None:
    """What Chromium makes of the page; None where there is no browser."""
    seen, scrolls = [], []
    with chromium(client) as context:
        if context is None:
            return None
        for _ in range(TIMES):
            page = context.new_page()
            page.goto(path)
            while page.evaluate(SHOWN).get("paint") is None:
                page.wait_for_timeout(20)
            seen.append(page.evaluate(SHOWN))
            page.wait_for_selector('#browser-link[data-state="live"]')
            scrolls += [page.evaluate(SCROLL, line) for line in (5_000, 9_000, 1_000)]
            rows = page.evaluate(SHOWN)["rows"]
            assert rows <= 500, f"{rows} rows in the page"
            page.close()
    return {
        "paint": statistics.median(one["paint"] for one in seen),
        "ready": statistics.median(one["ready"] for one in seen),
        "nodes": seen[-1]["nodes"],
        "rows": seen[-1]["rows"],
        "scroll": statistics.median(scrolls),
    }


def measure(folder: Path, *, full: bool) -> list[Row]:
    """The page's milliseconds on the server; until it is ready and scrolled in a browser; its scripts and styles."""
    from django.conf import settings

    run_id = _make()
    path, database = f"/runs/{run_id}/", Path(settings.DATABASES["default"]["NAME"])
    with served(folder) as site:
        client = site.client
        _, html = _server(client, path)
        served_in, bare = [], []
        for _ in range(3 * TIMES):  # by turns, so that both meet the same machine
            served_in.append(_server(client, path)[0])
            bare.append(_floor(database, run_id))
        weight = _weight(client, html)
        browser = _browser(client, path)
    work = f"run page of {TASKS:,} tasks, {EVENTS:,} events"
    told = f"{work}; {len(html) // 1024} KB"
    rows = [
        Row("big-run", "ms on the server, median", median(served_in), median(bare), 100, told),
        Row("weight", "KB of scripts and styles, compressed", round(weight, 1), None, 60, "the run page"),
    ]
    if browser:
        told = f"{work}; {browser['nodes']} elements, {browser['rows']} rows of tasks and events in the page"
        rows += [
            Row("big-run", "ms to ready in Chromium, median", round(browser["ready"], 1), None, 600, told),
            Row("big-run", "ms to the first paint in Chromium, median", round(browser["paint"], 1), None, None, work),
            Row("big-run", "ms until rows far away are there, median", round(browser["scroll"], 1), None, None, work),
        ]
    return rows
