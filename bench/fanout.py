"""`fanout`: one change to one run that is open in 1,000 pages."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from websockets.asyncio.client import connect

from bench.bare import bare
from bench.row import Row, median
from bench.site import Reader, Site, attach, reading, served, until
from bench.source import Source, Told, source

PAGES = 1000


async def product(site: Site, run_id: int, name: str, upstream: Source, changes: int) -> list[float]:
    """Milliseconds until the last page had it, for each change."""
    async with reading(site, [run_id] * PAGES) as readers:
        return await _told(readers, name, upstream, changes)


async def floor(url: str, name: str, upstream: Source, changes: int) -> list[float]:
    async with AsyncExitStack() as stack:
        address = f"{url}/{name}"
        opened = [await stack.enter_async_context(connect(address, proxy=None, compression=None)) for _ in range(PAGES)]
        return await _told([Reader(socket, {"since": "0"}) for socket in opened], name, upstream, changes)


async def _told(readers: list[Reader], name: str, upstream: Source, changes: int) -> list[float]:
    took = []
    for n in range(changes):
        listening = asyncio.gather(*(reader.read(n + 1) for reader in readers))
        await asyncio.sleep(1.0)  # all have said what they have
        sent = await asyncio.to_thread(upstream.tell, Told([name], 1, first=n, kind="fan"))
        await listening
        took.append(1000 * (max(reader.seen[-1][1] for reader in readers) - sent[name][0]))
    return took


def measure(folder: Path, *, full: bool) -> list[Row]:
    changes = 15 if full else 7
    with source() as upstream, served(folder) as site:
        with bare(upstream.url, ["bare"], folder / "fanout.sqlite3") as url:
            until(lambda: upstream.connected() == 1, "it is connected")
            base = asyncio.run(floor(url, "bare", upstream, changes))
        until(lambda: upstream.connected() == 0, "the bare program has gone")
        [run_id] = attach(upstream.url, ["fanout"])
        until(lambda: upstream.connected() == 1, "it is connected")
        took = asyncio.run(product(site, run_id, "fanout", upstream, changes))
        held = site.megabytes()
    work = f"one change to a run that is open in {PAGES:,} pages; {changes} changes"
    return [
        Row("fanout", "ms until the last page has it, median", median(took), median(base), 250, work),
        Row("fanout", "MB of the site", round(held), None, 250, work),
    ]
