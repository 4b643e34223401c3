"""Run pages without a browser: they take what comes, acknowledge it, and come back by the pages' own rule."""

import asyncio
import random
import re
import time
from typing import Any, NamedTuple

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.process.programs import Home
from tests.scripted import eventually
from tests.servers import query
from tests.web.live_page import Page

FIRST_PAUSE, LONGEST_PAUSE, JITTER = 0.5, 15.0, 0.3  # seconds; what the pages' own script does (hx-ws, base.html)
VIEW_BOX = re.compile(r' viewBox="[^"]*"')  # the width of the whole drawing: a script in the page sets it


class Place(NamedTuple):
    rev: int
    since: int


class _Socket:
    """A connection as Page wants it."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send_to(self, *, text_data: str) -> None:
        await self._connection.send(text_data)

    async def receive_from(self, timeout: float) -> str:
        return str(await self._connection.recv())  # for as long as it takes: silence is no fault


class Reader:
    """One run's page, read from the site at this port. `follow` until cancelled."""

    def __init__(self, port: int, run_id: int, cookies: httpx.Cookies) -> None:
        self.run_id = run_id
        self.connections = 0
        self.lost_by = ""
        self._site, self._path, self._cookie = (
            f"127.0.0.1:{port}",
            f"/runs/{run_id}/",
            "; ".join(f"{name}={value}" for name, value in cookies.items()),
        )
        self._page: Page | None = None

    def __str__(self) -> str:
        return f"page of run {self.run_id} at {self._site}, connection {self.connections}, last lost by: {self.lost_by}"

    @property
    def page(self) -> Page:
        assert self._page is not None, "not open yet"
        return self._page

    @property
    def place(self) -> Place:
        return Place(int(self.page.said["rev"]), int(self.page.said["since"]))

    async def html(self) -> str:
        """The page as one gets it now."""
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as client:
            answer = await client.get(f"http://{self._site}{self._path}", headers={"Cookie": self._cookie})
        assert answer.status_code == 200, (answer.status_code, answer.text[:500])
        return answer.text

    async def open(self) -> None:
        self._page = Page(await self.html(), None)

    async def follow(self) -> None:
        failures = 0
        while True:
            try:
                async with connect(
                    f"ws://{self._site}/live{self._path}",
                    origin=f"http://{self._site}",
                    additional_headers={"Cookie": self._cookie},
                    proxy=None,
                    close_timeout=1,
                ) as connection:
                    self.connections, failures = self.connections + 1, 0
                    self.page.socket = _Socket(connection)
                    while True:
                        await self.page.acknowledge()
                        await self.page.take()
            except (ConnectionClosed, InvalidHandshake, OSError) as error:
                self.lost_by = f"{type(error).__name__} {error}"
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures)
            failures += 1
            await asyncio.sleep(pause * random.uniform(1 - JITTER, 1 + JITTER))

    async def like_a_fresh_page(self) -> None:
        """It has every event once and in order, and shows of each task what a page shows that is loaded now."""
        fresh = Page(await self.html(), None)
        # A page of which nothing has changed since it was loaded says back its form's token, too: new with each page.
        places = self.page.said.keys() - {"csrfmiddlewaretoken"}
        assert {name: self.page.said[name] for name in places} == {name: fresh.said[name] for name in places}
        first = self.page.events[0]
        assert self.page.events == list(range(first, fresh.events[-1] + 1))
        drawn = [{key: VIEW_BOX.sub("", row) for key, row in page.tasks.items()} for page in (self.page, fresh)]
        assert drawn[0] == drawn[1]


class Readers:
    """Several readers, each in a task of its own that ends with the block."""

    def __init__(self, home: Home) -> None:
        self.all: list[Reader] = []
        self._home = home
        self._following: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Readers":
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all pages. Fails where one could not be followed."""
        for task in self._following:
            task.cancel()
        outcomes = await asyncio.gather(*self._following, return_exceptions=True)
        self.all, self._following = [], []
        for outcome in outcomes:
            assert isinstance(outcome, asyncio.CancelledError), outcome

    async def open(self, port: int, run_id: int, cookies: httpx.Cookies) -> Reader:
        reader = Reader(port, run_id, cookies)
        await reader.open()
        self.all.append(reader)
        self._following.append(asyncio.create_task(reader.follow()))
        return reader

    async def converged(self, seconds: float) -> float:
        """Wait until each shows at least what the database holds now; how many seconds that took."""
        rows = await asyncio.to_thread(query, self._home.database, "SELECT id, rev, last_seq FROM runs_run")
        held = {run_id: Place(rev, seq) for run_id, rev, seq in rows}

        def behind() -> list[tuple[Reader, Place, Place]]:
            places = [(reader, reader.place, held[reader.run_id]) for reader in self.all]
            return [one for one in places if one[1].rev < one[2].rev or one[1].since < one[2].since]

        async def so() -> bool:
            return not behind()

        begun = time.monotonic()
        try:
            await eventually(so, seconds)
        except AssertionError as error:
            late = [f"{reader}: {shown} of {there}" for reader, shown, there in behind()]
            raise AssertionError(f"pages that are behind: {late}") from error
        return time.monotonic() - begun


async def signed_in(home: Home, port: int) -> httpx.Cookies:
    """The cookies of a new reader's session; every site of this home knows it."""
    made = await asyncio.to_thread(home.manage, "signin_link", "reader", "--role", "viewer")
    assert made.returncode == 0, made.stderr
    link = httpx.URL(made.stdout.strip()).copy_with(port=port)
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as client:
        answer = await client.get(link)
        assert answer.status_code == 302, answer.text
        return client.cookies
