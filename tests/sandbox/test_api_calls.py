"""An `api_call` goes out for real only when that is allowed and nothing is scripted."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.sandbox.playing import named, play, task, workflow


class Server:
    """Answers every request with `status` and `body`, and keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.status = 200
        self.body = b'{"case": 7}'
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await reader.readexactly(int(lengths[0].split(b":")[1])) if lengths else b""
        self.requests.append(head + body)
        answer = f"HTTP/1.1 {self.status} X\r\nLocation: {self.url}/other\r\nContent-Type: application/json\r\n"
        writer.write(f"{answer}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body)
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield made
    listening.close()
    await listening.wait_closed()


def calling(url: str, **params: object) -> dict[str, object]:
    config = {"url": url, "method": "POST", "headers": {"Authorization": "Bearer t"}}
    return workflow(task("agent"), task("call", "api_call", config=config, name="Ada", **params))


async def test_nothing_is_called_unless_allowed(server: Server) -> None:
    events = await play(calling(server.url))
    assert server.requests == []
    assert events[-1]["output"]["call"]["status_code"] == 200


async def test_an_unscripted_call_is_made(server: Server, settings: Any) -> None:
    settings.SANDBOX_ALLOW_API_CALLS = True
    events = await play(calling(server.url))
    assert events[-1]["output"]["call"] == {"status_code": 200, "response": {"case": 7}}
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST / ")
    assert b"Authorization: Bearer t" in head
    assert json.loads(body) == {"name": "Ada"}


async def test_a_scripted_call_is_not_made_even_when_allowed(server: Server, settings: Any) -> None:
    settings.SANDBOX_ALLOW_API_CALLS = True
    events = await play(calling(server.url, sandbox={"output": "scripted"}))
    assert server.requests == []
    assert events[-1]["output"]["call"] == "scripted"


@pytest.mark.parametrize(("status", "code"), [(500, 500), (302, 302)])
async def test_an_error_or_a_redirect_fails_the_task(server: Server, settings: Any, status: int, code: int) -> None:
    settings.SANDBOX_ALLOW_API_CALLS = True
    server.status = status
    events = await play(calling(server.url))
    assert named(events, "task_failed", "call")[0]["error"]["code"] == code
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "not a url", "ftp://x.example/"])
async def test_a_call_that_cannot_be_made_fails_the_task(settings: Any, url: str) -> None:
    settings.SANDBOX_ALLOW_API_CALLS = True
    events = await play(calling(url))
    assert events[-1]["event_type"] == "flow_error"
    assert url in named(events, "task_failed", "call")[0]["error"]["message"]


async def test_an_answer_beyond_the_limit_fails_the_task(
    server: Server, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SANDBOX_ALLOW_API_CALLS = True
    monkeypatch.setattr("sandbox.answers.MAX_ANSWER_BYTES", 100)
    server.body = b"x" * 101
    events = await play(calling(server.url))
    assert named(events, "task_failed", "call")[0]["error"]["code"] == "TOO_LARGE"
