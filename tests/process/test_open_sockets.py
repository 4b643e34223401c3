"""Who may no longer listen is put out everywhere: two web processes with PostgreSQL and Redis; the deed is done at one,
the sockets are open at the other.
"""

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from runs.web.live import MAX_INBOUND, UNAUTHENTICATED
from tests.process.fixtures import migrate
from tests.process.programs import Api, Home
from tests.servers import Postgres, Redis

pytestmark = pytest.mark.postgres

PASSWORD = "a long enough one"
_numbers = itertools.count(1)


class Browser:
    """Somebody who is signed in: `ask` and `post` at one site, sockets at any."""

    def __init__(self, home: Home, name: str, role: str, sites: list[Api]) -> None:
        self.sites = [f"127.0.0.1:{api.port}" for api in sites]
        self.client = httpx.Client(base_url=f"http://{self.sites[0]}", trust_env=False, timeout=30)
        made = home.manage("signin_link", name, "--role", role, PORT=str(sites[0].port))
        assert self.client.get(made.stdout.strip()).status_code == 302, made.stderr

    def post(self, path: str, **fields: str) -> httpx.Response:
        form = self.client.get("/account/password/").text
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert found
        headers = {"Origin": str(self.client.base_url).rstrip("/")}
        answer = self.client.post(path, data={**fields, "csrfmiddlewaretoken": found[1]}, headers=headers)
        assert answer.status_code == 302, answer.text
        return answer

    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())

    def socket(self, site: int, path: str = "/live/runs/", **options: Any) -> connect:
        here = self.sites[site]
        options = {
            "origin": f"http://{here}",
            "additional_headers": {"Cookie": self.cookie()},
            **options,
            "proxy": None,
        }
        return connect(f"ws://{here}{path}", **options)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(
    prepared: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis: Redis
) -> Any:
    home = Home(
        prepared[0],
        tmp_path_factory.mktemp("sockets") / "data",
        "",
        DATABASE_URL=postgres.make(f"sockets_{next(_numbers)}"),
        REDIS_URL=redis.url,
    )
    home.token = migrate(home)
    done = home.manage("collectstatic", "--noinput", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    started = await asyncio.gather(*(home.serve("--no-worker", log=f"web-{number}.log") for number in range(2)))
    yield home, [api for _, api in started]
    home.end()


@pytest.fixture
def names() -> Iterator[str]:
    return (f"person-{next(_numbers)}" for _ in itertools.count())


async def closed(socket: ClientConnection) -> int | None:
    """The code with which the server closes."""
    try:
        while True:
            await asyncio.wait_for(socket.recv(), 20)
    except ConnectionClosed as ended:
        return ended.rcvd.code if ended.rcvd else None


DEEDS: dict[str, Callable[[Browser, Browser, int], object]] = {
    "signing out": lambda ada, admin, pk: ada.post("/sign-out/"),
    "signing out everywhere": lambda ada, admin, pk: ada.post("/account/sessions/end/"),
    "being signed out by an administrator": lambda ada, admin, pk: admin.post(f"/users/{pk}/sign-out/"),
    "being disabled": lambda ada, admin, pk: admin.post(f"/users/{pk}/active/", active="no"),
    "a lower role": lambda ada, admin, pk: admin.post(f"/users/{pk}/", role="viewer"),
    "a new password": lambda ada, admin, pk: ada.post(
        "/account/password/", new_password1=PASSWORD, new_password2=PASSWORD
    ),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("deed", DEEDS)
async def test_sockets_at_both_sites_end_with(
    deployment: tuple[Home, list[Api]], names: Iterator[str], deed: str
) -> None:
    home, sites = deployment
    ada = await asyncio.to_thread(Browser, home, name := next(names), "operator", sites)
    admin = await asyncio.to_thread(Browser, home, next(names), "admin", sites)
    found = re.search(rf'href="/users/(\d+)/">{name}<', admin.client.get("/users/", params={"q": name}).text)
    assert found
    async with ada.socket(0) as here, ada.socket(1) as there, admin.socket(0) as other, admin.socket(1) as another:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*map(closed, (here, there, other, another))), 1.5)
        done = asyncio.create_task(asyncio.to_thread(DEEDS[deed], ada, admin, int(found[1])))
        codes = await asyncio.gather(closed(here), closed(there), done)
        assert codes[:2] == [UNAUTHENTICATED, UNAUTHENTICATED]
        with pytest.raises(TimeoutError):  # whom it does not concern listens on
            await asyncio.wait_for(asyncio.gather(closed(other), closed(another)), 1.5)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_session_that_has_ended_opens_nothing_any_more(
    deployment: tuple[Home, list[Api]], names: Iterator[str]
) -> None:
    home, sites = deployment
    ada = await asyncio.to_thread(Browser, home, next(names), "viewer", sites)
    kept = {"Cookie": ada.cookie()}
    await asyncio.to_thread(ada.post, "/sign-out/")
    async with ada.socket(1, additional_headers=kept) as socket:
        assert await closed(socket) == UNAUTHENTICATED


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://{}",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        "http://127.0.0.1.evil.example",
        "http://{}@evil.example",
        "null",
        None,
    ],
)
async def test_the_handshake_of_another_origin_is_refused(
    deployment: tuple[Home, list[Api]], names: Iterator[str], origin: str | None
) -> None:
    home, sites = deployment
    ada = await asyncio.to_thread(Browser, home, next(names), "viewer", sites)
    wrong = origin and origin.format(ada.sites[0])
    with pytest.raises(InvalidStatus) as refused:
        async with ada.socket(0, origin=wrong):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("size", [MAX_INBOUND + 1, 20 * MAX_INBOUND])
async def test_a_frame_that_is_too_large_is_refused_by_the_server(
    deployment: tuple[Home, list[Api]], names: Iterator[str], size: int
) -> None:
    home, sites = deployment
    ada = await asyncio.to_thread(Browser, home, next(names), "viewer", sites)
    async with ada.socket(0) as socket:
        await socket.send(" " * MAX_INBOUND)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(closed(socket), 1.5)
        await socket.send(" " * size)
        assert await closed(socket) is None, "the server drops the line"
