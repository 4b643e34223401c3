"""A real site in a process of its own, and readers: real WebSocket clients that do what a page does."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urljoin

import httpx
from websockets.asyncio.client import ClientConnection, connect

from bench.source import FLOW
from tests.servers import free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent
SYNC = re.compile(r'<input type="hidden" name="(since|rev|ground|shape)" value="([^"]*)">')
SECONDS = 120.0  # for whatever is waited for
until = partial(wait_until, seconds=SECONDS)


class Site:
    """`client` is signed in as the administrator."""

    def __init__(self, client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
        self.client, self.process = client, process

    @property
    def headers(self) -> dict[str, str]:
        """For a page's socket."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.client.cookies.jar)
        return {"Cookie": cookies, "Origin": str(self.client.base_url).rstrip("/")}

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.client.base_url.port}"

    def megabytes(self) -> float:
        return resident(self.process.pid)


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[Site]:
    """`manage.py serve` on the database of this process's settings."""
    port = str(free_port())
    log = folder / f"serve-{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", port, "--no-sandbox", *arguments],
            cwd=ROOT,
            env=dict(os.environ),
            stdout=out,
            stderr=out,
        )
    try:
        link = None
        while link is None:
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
            link = re.search(r"Sign in once with: (\S+)", log.read_text())
        with httpx.Client(base_url=urljoin(link[1], "/"), trust_env=False, timeout=60) as client:
            client.get(link[1])
            yield Site(client, process)
    finally:
        process.terminate()
        process.wait()


def resident(pid: int) -> float:
    """Megabytes of memory that this process holds."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def attach(url: str, names: Sequence[str]) -> list[int]:
    """Runs of an upstream at this socket URL, for a worker to follow; their numbers."""
    from runs import store
    from runs.models import Upstream

    upstream, _ = Upstream.objects.get_or_create(
        name=f"bench-{url}", defaults={"api_url": "http://127.0.0.1:9", "socket_url": url}
    )
    return [store.create_run(upstream=upstream, flow_name=FLOW, run_name=name, user_id=None).pk for name in names]


def check(ids: Sequence[int], events: int) -> None:
    """Each run holds as many events as were sent, nothing was put aside, and the fold of them is what is stored."""
    from runs import store
    from runs.models import Event, Run

    for run in Run.objects.filter(pk__in=ids):
        stored = Event.objects.filter(run=run).count()
        assert (run.last_seq, stored, run.rejected_count) == (events, events, 0), f"{run}: {run.last_seq}, {stored}"
        assert store.rebuild(run.pk) == [], f"{run}: the fold differs from what is stored"


def took(seen: Sequence[tuple[int, float]], sent: Sequence[float], first: int = 0) -> list[float]:
    """Milliseconds from each frame's sending until a page had it. `seen`: (last event it had, epoch seconds).

    `first`: how many events the page had before.
    """
    found, place = [], 0
    for since, at in seen:
        found += [(at - moment) * 1000 for moment in sent[place : since - first]]
        place = max(place, since - first)
    assert len(found) == len(sent), f"{len(found)} of {len(sent)} events reached the page"
    return found


class Reader:
    """A page of a run: says what it has, takes what comes, and says so. `seen`: (last event it has, epoch seconds)."""

    def __init__(self, socket: ClientConnection, place: dict[str, str]) -> None:
        self._socket, self._place = socket, place
        self.seen: list[tuple[int, float]] = []
        self.bytes = 0

    async def read(self, last: int) -> None:
        """Until it has this event."""
        await self._socket.send(json.dumps(self._place))
        while int(self._place["since"]) < last:
            message = str(await self._socket.recv())
            now = time.time()
            self.bytes += len(message)
            self._place |= dict(SYNC.findall(message))
            self.seen.append((int(self._place["since"]), now))
            await self._socket.send(json.dumps(self._place))

    def took(self, sent: Sequence[float]) -> list[float]:
        """Milliseconds from each frame's sending to the message that brought it."""
        return took(self.seen, sent)


@asynccontextmanager
async def reading(site: Site, ids: Sequence[int]) -> AsyncIterator[list[Reader]]:
    """A page and its socket for each of these runs; one may be named more than once."""
    places = {}
    for run_id in dict.fromkeys(ids):
        answer = await asyncio.to_thread(site.client.get, f"/runs/{run_id}/")
        assert answer.status_code == 200, answer.text[:500]
        places[run_id] = dict(SYNC.findall(answer.text))
    async with AsyncExitStack() as stack:
        readers = []
        for run_id in ids:
            address = f"{site.socket_url}/live/runs/{run_id}/"
            opening = connect(address, additional_headers=site.headers, proxy=None, max_size=None, compression=None)
            readers.append(Reader(await stack.enter_async_context(opening), dict(places[run_id])))
        yield readers
