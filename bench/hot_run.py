"""`hot-run`: a run of 10,000 tasks in Chromium, while it goes on: quickly, and for long.

First 1,000 events a second: how long from sending to the page. Then 200 a second for a minute under the eyes of a
reader who has scrolled to the middle: frames while scrolling, memory, and whether the reader's place is kept.
"""

import asyncio
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from bench.bare import bare
from bench.browser import chromium
from bench.live import floor
from bench.row import Row, nth
from bench.site import SECONDS, attach, check, served, took, until
from bench.source import FANNED, Source, Told, source

WATCH = """() => {
  const seen = (window.benchSeen = []);
  window.benchTasks = [];
  document.getElementById("live").addEventListener("htmx:ws:after:message:incoming", () => {
    const since = Number(document.querySelector("#sync input[name=since]").value);
    seen.push([since, (performance.timeOrigin + performance.now()) / 1000]);
  });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.benchTasks.push(entry.duration);
  }).observe({ type: "longtask" });
}"""
SCROLL = """async (seconds) => {
  const box = document.getElementById("rows-box");
  const [gaps, ends] = [[], performance.now() + seconds * 1000];
  const place = box.scrollTop;
  let [last, by] = [await new Promise(requestAnimationFrame), 40];
  while (last < ends) {
    box.scrollTop += by;
    if (Math.abs(box.scrollTop - place) > 4000) by = -by;
    const now = await new Promise(requestAnimationFrame);
    gaps.push(now - last);
    last = now;
  }
  box.scrollTop = place;
  return gaps;
}"""
PLACE = """() => {
  const box = document.getElementById("rows-box").getBoundingClientRect();
  const rows = [...document.querySelectorAll("#rows > li")];
  const first = rows.find((row) => row.getBoundingClientRect().bottom > box.top + 40);
  return first && [first.dataset.name, Math.round(first.getBoundingClientRect().top - box.top)];
}"""
SINCE = "() => Number(document.querySelector('#sync input[name=since]').value)"
ROWS = "() => document.querySelectorAll('#rows > li, #log > li').length"
MIDDLE = 5_000 * 28  # pixels


def measure(folder: Path, *, full: bool) -> list[Row]:
    begun, quick, slow = FANNED + 1, 5_000 if full else 3_000, 200 * (60 if full else 20)
    with source() as upstream, served(folder) as site:
        base = _floor(upstream, folder, quick)
        [run_id] = attach(upstream.url, ["hot"])
        until(lambda: upstream.connected() == 1, "it is connected")
        upstream.tell(Told(["hot"], begun, kind="fan"))
        with chromium(site.client) as context:
            if context is None:
                return []
            page = context.new_page()
            page.goto(f"/runs/{run_id}/")
            page.wait_for_selector('#browser-link[data-state="live"]')
            _wait(page, begun)
            page.evaluate(WATCH)
            rows = _quick(upstream, page, Told(["hot"], quick, 1000.0, begun, "fan"), base)
            rows += _calm(upstream, page, Told(["hot"], slow, 200.0, begun + quick, "fan"))
        check([run_id], begun + quick + slow)
    return rows


def _quick(upstream: Source, page: Page, told: Told, base: tuple[float, float]) -> list[Row]:
    sent: list[float] = []
    telling = threading.Thread(target=lambda: sent.extend(upstream.tell(told)[told.runs[0]]))
    telling.start()
    _wait(page, told.first + told.events)
    telling.join()
    each = took(page.evaluate("window.benchSeen"), sent, told.first)
    longest = max(page.evaluate("window.benchTasks"), default=0.0)
    work = f"1,000 events/s into one run of {FANNED:,} tasks, {told.events:,} events"
    times = (round(nth(each, 0.5), 1), round(nth(each, 0.99), 1))
    return [
        Row("hot-run", "ms from sending to the DOM, p50 / p99", times, base, (80, 150), work),
        Row("hot-run", "ms, the longest task of the page", round(longest, 1), None, 100, work),
    ]


def _wait(page: Page, seq: int) -> None:
    """Until the page has this event. (wait_for_function is kept from evaluating by the page's own policy.)"""
    ends = time.monotonic() + SECONDS
    while page.evaluate(SINCE) < seq:
        assert time.monotonic() < ends, f"the page stands at {page.evaluate(SINCE)} and not at {seq}"
        page.wait_for_timeout(100)


def _calm(upstream: Source, page: Page, told: Told) -> list[Row]:
    """A reader in the middle of a run that goes on."""
    devtools = page.context.new_cdp_session(page)
    page.evaluate(f"document.getElementById('rows-box').scrollTop = {MIDDLE}")
    page.wait_for_selector('#rows > [data-name="t05005"]')
    page.wait_for_timeout(500)  # the scrolling has come to rest
    place, before = page.evaluate(PLACE), _heap(devtools)
    page.evaluate("window.benchTasks.length = 0")
    telling = threading.Thread(target=upstream.tell, args=(told,))
    telling.start()
    page.wait_for_timeout(5_000)
    moved = page.evaluate(PLACE)
    gaps = page.evaluate(SCROLL, 5)
    _wait(page, told.first + told.events)
    telling.join()
    at_last = page.evaluate(PLACE)
    assert place == moved == at_last, f"the reader's place moved: {place}, {moved}, {at_last}"
    after, nodes = _heap(devtools), page.evaluate("() => document.querySelectorAll('*').length")
    longest = max(page.evaluate("window.benchTasks"), default=0.0)
    count = page.evaluate(ROWS)
    work = f"200 events/s for {told.events / 200:.0f} s into a run of {FANNED:,} tasks, read in its middle"
    frames = (round(statistics.median(gaps), 1), round(nth(gaps, 0.95), 1), round(max(gaps), 1))
    return [
        Row("live-10k", "ms a frame while scrolling, p50 / p95 / most", frames, None, None, work),
        Row("live-10k", "ms, the longest task of the page", round(longest, 1), None, 100, work),
        Row("live-10k", "rows of tasks and events in the page", count, None, 500, f"{work}; {nodes} elements"),
        Row("live-10k", "MB of the page's heap afterwards", round(after, 1), None, None,
            f"{work}; {before:.1f} MB before; the reader's place was kept"),
    ]  # fmt: skip


def _heap(devtools: Any) -> float:
    """Megabytes, after what is no longer needed was thrown away."""
    devtools.send("HeapProfiler.collectGarbage")
    return float(devtools.send("Runtime.getHeapUsage")["usedSize"]) / 1e6


def _floor(upstream: Source, folder: Path, events: int) -> tuple[float, float]:
    """The bare program, to a socket: no browser stands behind it."""
    with bare(upstream.url, ["bare-hot"], folder / "hot.sqlite3") as url:
        until(lambda: upstream.connected() == 1, "it is connected")
        each, _ = asyncio.run(floor(url, upstream, Told(["bare-hot"], events, 1000.0)))
    until(lambda: upstream.connected() == 0, "the bare program has gone")
    return round(nth(each, 0.5), 2), round(nth(each, 0.99), 2)
