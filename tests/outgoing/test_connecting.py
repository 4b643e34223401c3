"""At the connection: every address of a name is checked, the one that was checked is dialled, and nothing leads on."""

import asyncio
import ssl
from contextlib import aclosing
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.server import ServerConnection, serve

from outgoing import http
from outgoing.addresses import Forbidden, literal
from outgoing.dialling import resolve
from outgoing.sockets import guarded_connect
from outgoing.trust import trusted
from runs.upstream import api, stream
from runs.upstream.stream import Away, Connected
from sandbox.answers import CallFailed, call_api
from tests.outgoing.conftest import PRIVATE, PUBLIC, Resolver, servers
from tests.outgoing.hostile import HOSTILE

NAME = "orchestrator.example"
# What the client itself takes for no address.
NO_URL = {"http://0177.0.0.1", "http://①②⑦.⓪.⓪.①", "http://１２７.０.０.１", "http://ⓛocalhost"}
NO_SOCKET = {"http://orchestrator.example@127.0.0.1", "http://orchestrator.example#@127.0.0.1"}
pytestmark = pytest.mark.usefixtures("one_loopback_is_public")


async def get(url: str, **more: Any) -> httpx.Response:
    async with http.client(10.0, **more) as client:
        return await client.get(url)


async def first(url: str) -> Away | Connected:
    """What the upstream's socket client makes of this address."""
    async with aclosing(stream.follow(url, asyncio.Event())) as happenings:
        async for what in happenings:
            assert isinstance(what, Away | Connected)
            return what
    raise AssertionError("nothing happened")


@pytest.mark.parametrize("url", HOSTILE)
async def test_no_client_of_ours_connects_to_a_hostile_address(resolver: Resolver, url: str) -> None:
    name = urlsplit(url).hostname
    assert name is not None
    if literal(name) is None:
        resolver.answers[name] = [[PRIVATE]]
    with pytest.raises(api.Unreachable) as unreachable:
        await api.run_dag(url, "key", {})
    assert isinstance(unreachable.value, api.NotAllowed) != (url in NO_URL)
    assert await api.task_status(url, "key", "t-1") is None
    away = await first(url.replace("http", "ws", 1))
    assert isinstance(away, Away)
    assert away.forbidden != (url in NO_SOCKET)
    with pytest.raises(CallFailed, match="failed" if url in NO_URL else "ALLOW_PRIVATE_UPSTREAMS is off"):
        await call_api({"config": {"url": url}})


@pytest.mark.parametrize("addresses", [[PRIVATE], [PUBLIC, PRIVATE], [PRIVATE, PUBLIC], [PUBLIC, "169.254.169.254"]])
async def test_a_name_is_refused_when_any_of_its_addresses_is_private(resolver: Resolver, addresses: list[str]) -> None:
    async with servers() as heard:
        resolver.answers[NAME] = [addresses]
        url = f"http://{NAME}:{heard.port}"
        with pytest.raises(httpx.ConnectError, match=r"leads to .*, which is no public address"):
            await get(url)
        with pytest.raises(api.NotAllowed, match="ALLOW_PRIVATE_UPSTREAMS is off"):
            await api.run_dag(url, "key", {})
        away = await first(f"ws://{NAME}:{heard.port}")
        assert isinstance(away, Away)
        assert away.forbidden
        assert "ALLOW_PRIVATE_UPSTREAMS is off" in away.reason
        with pytest.raises(CallFailed, match="no public address"):
            await call_api({"config": {"url": url}})
        assert heard.public == heard.private == []


async def test_a_resolver_that_changes_its_mind_is_asked_once(resolver: Resolver) -> None:
    async with servers() as heard:
        url = f"http://{NAME}:{heard.port}/task"
        for call in (lambda: get(url), lambda: api.run_dag(url, "k", {}), lambda: call_api({"config": {"url": url}})):
            resolver.answers[NAME] = [[PUBLIC], [PRIVATE]]
            resolver.asked.clear()
            await call()
            assert resolver.asked.count(NAME) == 1
        assert len(heard.public) == 3
        assert heard.private == []
        assert all(f"Host: {NAME}:{heard.port}\r\n".lower() in head.lower() for head in heard.public)


async def test_a_socket_asks_once_and_reaches_what_was_checked(resolver: Resolver) -> None:
    reached: list[str] = []

    async def hold(socket: ServerConnection) -> None:
        assert socket.request is not None
        reached.append(f"{socket.local_address[0]} {socket.request.headers['Host']}")
        await socket.wait_closed()

    async with serve(hold, PUBLIC, 0) as public:
        port = next(iter(public.sockets)).getsockname()[1]
        async with serve(hold, PRIVATE, port):
            resolver.answers[NAME] = [[PUBLIC], [PRIVATE]]
            assert isinstance(await first(f"ws://{NAME}:{port}/ws/a/b"), Connected)
            assert resolver.asked.count(NAME) == 1
            again = await first(f"ws://{NAME}:{port}/ws/a/b")
            assert isinstance(again, Away)
            assert again.forbidden
    assert reached == [f"{PUBLIC} {NAME}:{port}"]


@pytest.mark.parametrize("place", [f"http://{PRIVATE}:{{port}}/inside", "http://169.254.169.254/", "/elsewhere"])
async def test_no_redirect_is_followed(resolver: Resolver, place: str) -> None:
    async with servers() as heard:
        heard.location = place.format(port=heard.port)
        resolver.answers[NAME] = [[PUBLIC]]
        url = f"http://{NAME}:{heard.port}"
        with pytest.raises(api.Refused) as refused:
            await api.run_dag(url, "key", {})
        assert refused.value.status == 302
        assert await api.task_status(url, "key", "t") is None
        away = await first(url.replace("http", "ws", 1))
        assert isinstance(away, Away)
        assert "302" in away.reason
        with pytest.raises(CallFailed, match="302"):
            await call_api({"config": {"url": url}})
        assert len(heard.public) == 4
        assert heard.private == []


async def test_proxy_variables_are_ignored(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with servers() as heard:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY", "ws_proxy", "socks_proxy"):
            monkeypatch.setenv(name, f"http://{PRIVATE}:{heard.port}")
        resolver.answers[NAME] = [[PUBLIC]]
        url = f"http://{NAME}:{heard.port}"
        await api.run_dag(url, "key", {})
        await call_api({"config": {"url": url}})
        await first(url.replace("http", "ws", 1))
        assert len(heard.public) == 3
        assert heard.private == []


async def test_the_certificate_is_that_of_the_name_and_not_of_the_address(
    resolver: Resolver, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server, believer = tls
    async with servers(server) as heard:
        resolver.answers[NAME] = resolver.answers["other.example"] = [[PUBLIC]]
        assert (await get(f"https://{NAME}:{heard.port}", verify=believer)).status_code == 200
        with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
            await get(f"https://other.example:{heard.port}", verify=believer)
        with pytest.raises(ssl.SSLCertVerificationError):
            await guarded_connect(f"wss://other.example:{heard.port}", ssl=believer)
        assert heard.names == [NAME, "other.example", "other.example"]
        assert len(heard.public) == 1


async def test_a_socket_over_tls_has_the_name(resolver: Resolver, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def greet(socket: ServerConnection) -> None:
        await socket.send("hello")

    server, believer = tls
    async with serve(greet, PUBLIC, 0, ssl=server) as listening:
        resolver.answers[NAME] = [[PUBLIC]]
        port = next(iter(listening.sockets)).getsockname()[1]
        async with guarded_connect(f"wss://{NAME}:{port}", ssl=believer) as socket:
            assert await socket.recv() == "hello"


async def test_who_is_believed_is_read_once_and_the_environment_may_name_more(
    resolver: Resolver, tls: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def greet(socket: ServerConnection) -> None:
        await socket.send("hello")

    server, _ = tls
    resolver.answers[NAME] = [[PUBLIC]]
    make = Mock(wraps=httpx.create_ssl_context)
    monkeypatch.setattr(httpx, "create_ssl_context", make)
    async with servers(server) as heard, serve(greet, PUBLIC, 0, ssl=server) as listening:
        page = f"https://{NAME}:{heard.port}"
        socket_url = f"wss://{NAME}:{next(iter(listening.sockets)).getsockname()[1]}"
        trusted.cache_clear()
        for _ in range(2):
            with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
                await get(page)
            with pytest.raises(ssl.SSLCertVerificationError):
                await guarded_connect(socket_url)
        assert make.call_count == 1
        trusted.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
        assert (await get(page)).status_code == 200
        async with guarded_connect(socket_url) as socket:
            assert await socket.recv() == "hello"
        trusted.cache_clear()


async def test_a_name_with_a_dead_address_is_reached_at_the_next(resolver: Resolver, settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    async with servers() as heard:
        resolver.answers[NAME] = [["127.0.0.3", PUBLIC]]  # nothing listens on the first
        url = f"http://{NAME}:{heard.port}"
        assert (await get(url)).status_code == 200
        with pytest.raises(Exception, match="200"):  # reached: it answers as no socket does
            await guarded_connect(url.replace("http", "ws", 1))
        assert len(heard.public) == 2


async def test_a_private_address_is_reached_where_the_setting_allows_it(resolver: Resolver, settings: Any) -> None:
    async with servers() as heard:
        url = f"http://{PRIVATE}:{heard.port}"
        with pytest.raises(api.NotAllowed):
            await api.run_dag(url, "key", {})
        settings.ALLOW_PRIVATE_UPSTREAMS = True
        assert await api.run_dag(url, "key", {}) == "t"
        assert len(heard.private) == 1


async def test_a_name_without_an_address_is_unreachable_and_not_forbidden(resolver: Resolver) -> None:
    with pytest.raises(api.Unreachable) as unreachable:
        await api.run_dag("https://nowhere.example", "key", {})
    assert not isinstance(unreachable.value, api.NotAllowed)


async def test_a_slow_resolver_is_a_time_out(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: Any, **more: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    async with http.client(httpx.Timeout(5.0, connect=0.1)) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get(f"http://{NAME}")
    with pytest.raises(TimeoutError):
        await guarded_connect(f"ws://{NAME}", open_timeout=0.1)


async def test_ports_of_other_services_are_not_dialled(resolver: Resolver) -> None:
    resolver.answers[NAME] = [[PUBLIC]]
    with pytest.raises(Forbidden, match="Port 6379"):
        await resolve(NAME, 6379)
    assert resolver.asked == []
