"""The upstream's HTTP calls: every way in which they can end has a name, and none of them is an accident."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from runs.models import Run, Upstream
from runs.upstream import api
from runs.worker.supervisor import Supervisor
from tests.factories import make_definition
from tests.scripted import ScriptedUpstream
from tests.servers import free_port
from tests.worker.conftest import Ended, launch

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[str]:
    """An address that gives these bytes to whoever asks, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_launch_gives_the_task_id_and_sends_the_key(upstream: ScriptedUpstream) -> None:
    assert await api.run_dag(upstream.api_url, "k-1", {"flow_name": "ü"}) == "t-1"
    assert upstream.launches == [{"flow_name": "ü"}]
    assert upstream.launch_headers[0]["x-api-key"] == "k-1"


async def test_without_a_key_none_is_sent(upstream: ScriptedUpstream) -> None:
    await api.run_dag(upstream.api_url, "", {})
    assert "x-api-key" not in upstream.launch_headers[0]


@pytest.mark.parametrize(
    ("content", "task_id"),
    [
        ({"status": "processing"}, ""),
        ({"task_id": 17}, "17"),
        ({"task_id": None}, ""),
        (["t"], ""),
        ("started", ""),
        (DEEP, ""),
        ({"task_id": "t" * 500}, "t" * 200),
        ({"task_id": "a\x00b\ud800"}, "a\\x00b\\ud800"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_an_accepted_launch_counts_whatever_the_answer_looks_like(
    upstream: ScriptedUpstream, content: Any, task_id: str
) -> None:
    upstream.launch_answer = (200, content)
    assert await api.run_dag(upstream.api_url, "", {}) == task_id


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        (400, {"message": "no agent"}, "no agent"),
        (422, {"detail": [{"loc": ["tasks"], "msg": "required"}]}, "required"),
        (401, {"error": "bad key"}, "bad key"),
        (404, "plain text", "plain text"),
        (403, "", "no reason given"),
        (400, {}, "{}"),
        (400, "x" * 9000, "x" * api.MESSAGE_LIMIT),
        (400, DEEP, '{"a":'),
        (400, {"message": "a\x00b\ud800"}, "a\\x00b\\ud800"),
        (302, "elsewhere", "elsewhere"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_refusal_carries_status_and_words(
    upstream: ScriptedUpstream, status: int, content: Any, words: str
) -> None:
    upstream.launch_answer = (status, content)
    with pytest.raises(api.Refused) as refused:
        await api.run_dag(upstream.api_url, "", {})
    assert refused.value.status == status
    assert words in str(refused.value)
    assert len(str(refused.value)) <= api.MESSAGE_LIMIT * 2


async def test_nobody_there_is_unreachable_so_trying_again_is_safe() -> None:
    with pytest.raises(api.Unreachable):
        await api.run_dag(f"http://127.0.0.1:{free_port()}", "", {})


@pytest.mark.parametrize("url", ["http://a..b", "http://" + "a" * 70 + ".example", "ftp://127.0.0.1", "http://[::1"])
async def test_an_address_that_cannot_be_called_is_unreachable(url: str) -> None:
    with pytest.raises(api.Unreachable):
        await api.run_dag(url, "", {})
    assert await api.task_status(url, "", "t") is None


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
async def test_a_key_that_no_header_can_carry_is_never_sent(upstream: ScriptedUpstream, key: str) -> None:
    with pytest.raises(api.Unreachable, match="its key has characters that cannot be sent"):
        await api.run_dag(upstream.api_url, key, {})
    assert await api.task_status(upstream.api_url, key, "t") is None
    assert upstream.launches == []


async def test_a_server_that_fails_leaves_the_launch_unconfirmed(upstream: ScriptedUpstream) -> None:
    upstream.launch_answer = (503, {"message": "overloaded"})
    with pytest.raises(api.Unconfirmed, match="503: overloaded"):
        await api.run_dag(upstream.api_url, "", {})


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort", b"nonsense\r\n\r\n"]
)
async def test_an_answer_that_breaks_off_leaves_it_unconfirmed(answer: bytes) -> None:
    async with raw_server(answer) as url:
        with pytest.raises(api.Unconfirmed):
            await api.run_dag(url, "", {})
        assert await api.task_status(url, "", "t") is None


async def test_no_answer_in_time_leaves_it_unconfirmed(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "LAUNCH_TIMEOUT", httpx.Timeout(0.02, connect=10.0))
    upstream.launch_answer = None
    with pytest.raises(api.Unconfirmed):
        await api.run_dag(upstream.api_url, "", {})
    assert len(upstream.launches) == 1


async def test_a_redirect_is_not_followed(upstream: ScriptedUpstream) -> None:
    answer = f"HTTP/1.1 307 Go\r\nlocation: {upstream.api_url}/run-dag/\r\ncontent-length: 0\r\n\r\n".encode()
    async with raw_server(answer) as url:
        with pytest.raises(api.Refused):
            await api.run_dag(url, "secret", {})
    assert upstream.launches == []


async def test_proxy_variables_are_ignored(upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert await api.run_dag(upstream.api_url, "", {}) == "t-1"


async def test_task_status_is_asked_with_an_encoded_id(upstream: ScriptedUpstream) -> None:
    upstream.status_answer = (200, {"status": "Completed", "results": {"a": 1}})
    status = await api.task_status(upstream.api_url, "", "a/b?c#d")
    assert status == api.Status("completed", {"status": "Completed", "results": {"a": 1}})


@pytest.mark.parametrize(
    "answer",
    [(404, {"status": "completed"}), (500, ""), *((200, said) for said in ([], {}, {"status": 1}, DEEP, "x"))],
    ids=lambda value: str(value)[:30],
)
async def test_a_status_that_says_nothing_is_none(upstream: ScriptedUpstream, answer: tuple[int, Any]) -> None:
    upstream.status_answer = answer
    assert await api.task_status(upstream.api_url, "", "t") is None


@pytest.mark.django_db(transaction=True)
async def test_a_refusal_in_broken_text_still_ends_the_run(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.launch_answer = (400, json.dumps({"message": "bad \x00 and \ud800 text"}))
    run = await ended(await launch(upstream_row, make_definition("a"), "one"))
    assert run.status == Run.Status.REJECTED
    assert "bad \\x00 and \\ud800 text" in run.notice
    assert len(upstream.launches) == 1
