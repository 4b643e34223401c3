"""One socket: what it says happened, in order; when it comes back, and when it had better wait."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection

from runs.models import Gap, Rejected, Run, Upstream
from runs.upstream import connection, stream
from runs.upstream.connection import Refused
from runs.upstream.stream import Away, Connected, Frames, Happening
from runs.worker.db import on_thread
from runs.worker.supervisor import Supervisor
from tests import seed
from tests.faults.proxy import fault_proxy
from tests.scripted import ScriptedUpstream, eventually, hold, saying
from tests.servers import free_port
from tests.worker.conftest import Ended, attach


async def until(url: str, enough: Callable[[list[Happening]], Any], seconds: float = 10.0) -> list[Happening]:
    """What happens on this socket up to the moment that `enough` is true of it."""
    seen: list[Happening] = []
    async with asyncio.timeout(seconds), aclosing(stream.follow(url, asyncio.Event())) as happenings:
        async for what in happenings:
            seen.append(what)
            if enough(seen):
                break
    return seen


def kinds(seen: list[Happening]) -> list[type]:
    return [type(what) for what in seen]


def texts(seen: list[Happening]) -> list[str | bytes | Refused]:
    return [text for what in seen if isinstance(what, Frames) for text, _ in what.frames]


def aways(seen: list[Happening]) -> list[Away]:
    return [what for what in seen if isinstance(what, Away)]


@pytest.fixture
def url(upstream: ScriptedUpstream) -> str:
    return stream.address(upstream.socket_url, "flow", "run")


@pytest.mark.parametrize(
    ("flow", "run"),
    [
        ("plain", "name"), ("a/b", "c d"), ("50%", "?x=1#y"), ("Flöw 🦉", "..a.."), ("%2F", "%"), ("a+b", "a&b=c;d"),
        ("x" * 300, "ü" * 300),
    ],
)  # fmt: skip
async def test_names_reach_the_upstream_as_they_are(upstream: ScriptedUpstream, flow: str, run: str) -> None:
    await until(stream.address(upstream.socket_url, flow, run), lambda seen: True)
    assert upstream.paths == [f"/ws/{flow}/{run}"]


def test_a_name_cannot_leave_its_place_in_the_address() -> None:
    assert stream.address("ws://host/base", "a/b?c", "d#e") == "ws://host/base/ws/a%2Fb%3Fc/d%23e"


async def test_frames_come_in_order_with_the_time_of_their_receipt(upstream: ScriptedUpstream, url: str) -> None:
    sent = [str(number) for number in range(3000)]
    upstream.visit = saying(*sent, then=hold)
    before = time.time()
    seen = await until(url, lambda seen: len(texts(seen)) == len(sent))
    assert texts(seen) == sent
    times = [at for what in seen if isinstance(what, Frames) for _, at in what.frames]
    assert times == sorted(times)
    assert before <= times[0]
    assert times[-1] <= time.time()
    assert max(len(what.frames) for what in seen if isinstance(what, Frames)) <= stream.MAX_BATCH


async def test_a_slow_owner_slows_the_upstream_and_loses_nothing(upstream: ScriptedUpstream, url: str) -> None:
    sent = 0

    async def visit(socket: ServerConnection, number: int) -> None:
        nonlocal sent
        while sent < 5000:
            await socket.send(f"{sent} " + "x" * 20_000)
            sent += 1
        await hold(socket, number)

    upstream.visit = visit
    got: list[str | bytes | Refused] = []
    async with asyncio.timeout(60), aclosing(stream.follow(url, asyncio.Event())) as happenings:
        while not got:
            got += texts([await anext(happenings)])
        before, after = -1, sent
        while before != after:  # nobody takes anything: it must come to a halt
            await asyncio.sleep(0.3)
            before, after = after, sent
        assert after < 5000
        while len(got) < 5000:
            got += texts([await anext(happenings)])
    assert [str(text).split(" ")[0] for text in got] == [str(number) for number in range(5000)]


async def test_an_upstream_is_not_given_up_while_a_slow_owner_keeps_its_socket_from_being_read(
    upstream: ScriptedUpstream, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEEPALIVE_SECONDS", 1.0)
    sent = [f"{number} " + "x" * 20_000 for number in range(4000)]
    upstream.visit = saying(*sent, then=hold)
    got: list[str | bytes] = []
    async with asyncio.timeout(60), aclosing(stream.follow(url, asyncio.Event())) as happenings:
        while not got:
            got += texts([await anext(happenings)])
        await asyncio.sleep(4.0)  # far longer than a pong is waited for
        while len(got) < len(sent):
            what = await anext(happenings)
            assert isinstance(what, Frames)
            got += texts([what])
    assert got == sent


async def test_an_upstream_that_answers_no_ping_is_away_since_it_was_last_heard(
    upstream: ScriptedUpstream, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEEPALIVE_SECONDS", 0.5)
    answering = asyncio.Event()
    upstream.visit = saying("a", then=hold)
    async with fault_proxy(int(upstream.socket_url.rpartition(":")[2])) as proxy:

        async def fall_silent() -> float:
            await answering.wait()
            await asyncio.sleep(1.2)  # longer than a ping takes: it is no gap while pongs come
            proxy.links[0].strike("hole")
            return time.time()

        falling = asyncio.create_task(fall_silent())
        seen: list[Happening] = []
        async with (
            asyncio.timeout(30),
            aclosing(stream.follow(f"ws://127.0.0.1:{proxy.port}/ws/a/b", asyncio.Event())) as happenings,
        ):
            async for what in happenings:
                seen.append(what)
                if isinstance(what, Frames):
                    answering.set()
                if isinstance(what, Away):
                    break
    silent_at = await falling
    (away,) = aways(seen)
    assert kinds(seen) == [Connected, Frames, Away]
    assert (away.was_connected, away.reason) == (True, "the upstream answered no ping")
    assert seen[1].frames[0][1] < away.at <= silent_at  # type: ignore[union-attr]


async def test_what_was_sent_before_a_close_is_given_out_before_it_is_away(
    upstream: ScriptedUpstream, url: str
) -> None:
    upstream.visit = saying("a", "b", "c")
    seen = await until(url, aways)
    assert texts(seen) == ["a", "b", "c"]
    assert kinds(seen)[0] is Connected
    (away,) = aways(seen)
    assert (away.was_connected, away.oversized, away.reason) == (True, False, "closed by the upstream with 1000")


@pytest.mark.parametrize(
    ("code", "words", "reason"),
    [(1011, "", "closed by the upstream with 1011"), (4000, "go", "closed by the upstream with 4000 (go)")],
)
async def test_a_close_is_told_with_code_and_reason(
    upstream: ScriptedUpstream, url: str, code: int, words: str, reason: str
) -> None:
    async def visit(socket: ServerConnection, number: int) -> None:
        await socket.close(code, words)

    upstream.visit = visit
    assert aways(await until(url, aways))[0].reason == reason


async def test_a_connection_that_breaks_is_told_as_such(upstream: ScriptedUpstream, url: str) -> None:
    async def visit(socket: ServerConnection, number: int) -> None:
        await socket.send("a")
        await asyncio.sleep(0.1)
        socket.transport.abort()

    upstream.visit = visit
    seen = await until(url, aways)
    assert texts(seen) == ["a"]
    assert aways(seen)[0].reason == "the connection broke"


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", "127.0.0.1:{closed}"])
async def test_an_address_that_cannot_be_reached_is_tried_again(host: str) -> None:
    url = f"ws://{host.format(closed=free_port())}/ws/a/b"
    seen = await until(url, lambda seen: len(seen) == 3)
    assert kinds(seen) == [Away, Away, Away]
    assert not any(away.was_connected for away in aways(seen))


async def test_a_refused_handshake_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    seen = await until(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", lambda seen: len(seen) == 3)
    server.close()
    assert kinds(seen) == [Away, Away, Away]
    assert "404" in aways(seen)[0].reason


async def test_proxy_variables_are_ignored(
    upstream: ScriptedUpstream, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "ws_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert kinds(await until(url, lambda seen: True)) == [Connected]


async def test_the_upstream_is_pinged_in_its_own_way(
    upstream: ScriptedUpstream, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PING_SECONDS", 0.05)

    async def visit(socket: ServerConnection, number: int) -> None:
        while len(upstream.received) < 3:
            await asyncio.sleep(0.01)
        await socket.send("enough")
        await hold(socket, number)

    upstream.visit = visit
    await until(url, texts)
    assert [json.loads(message) for message in upstream.received[:3]] == [{"type": "ping"}] * 3


# --- waiting before the next try ----------------------------------------------------------------------------------


def test_the_wait_doubles_up_to_a_limit_and_never_falls_below_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BACKOFF_FIRST", 0.5)
    monkeypatch.setattr(stream, "BACKOFF_MOST", 30.0)
    assert [stream.backoff(n, lambda: 1.0) for n in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [stream.backoff(n, lambda: 0.0) for n in range(8)] == [0.25, 0.5, 1, 2, 4, 8, 15, 15]
    assert stream.backoff(10**9, lambda: 1.0) == 30.0


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For each wait, how many failures it was for."""
    asked: list[int] = []

    def wait(failures: int) -> float:
        asked.append(failures)
        return 0.0

    monkeypatch.setattr(stream, "backoff", wait)
    return asked


@pytest.mark.parametrize("greeting", [(), ("Connection established", '{"type": "system"}')], ids=["silent", "greets"])
async def test_a_server_that_accepts_and_closes_at_once_is_waited_for_longer_and_longer(
    upstream: ScriptedUpstream, url: str, waits: list[int], greeting: tuple[str, ...]
) -> None:
    upstream.visit = saying(*greeting)
    await until(url, lambda seen: len(aways(seen)) == 6)
    assert waits == [0, 1, 2, 3, 4]


async def test_a_connection_that_gave_an_event_begins_the_waits_anew(
    upstream: ScriptedUpstream, url: str, waits: list[int]
) -> None:
    async def visit(socket: ServerConnection, number: int) -> None:
        if number == 3:
            await socket.send('{"event_type": "x"}')

    upstream.visit = visit
    await until(url, lambda seen: len(aways(seen)) == 6)
    assert waits == [0, 1, 2, 0, 1]


async def test_a_frame_for_which_the_connection_is_closed_never_leads_to_a_quick_reconnect(
    upstream: ScriptedUpstream, url: str, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_REFUSED", 1000)
    upstream.visit = saying('{"event_type": "before"}', "x" * 1001, "after", then=hold)
    seen = await until(url, lambda seen: len(aways(seen)) == 5)
    assert set(texts(seen)) == {'{"event_type": "before"}'}
    assert all(away.oversized and away.was_connected for away in aways(seen))
    assert waits == [0, 1, 2, 3], "what came before the frame must not begin the waits anew"


async def test_a_frame_of_just_the_limit_is_taken(
    upstream: ScriptedUpstream, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_FRAME", 1000)
    upstream.visit = saying("x" * 1000, then=hold)
    assert texts(await until(url, texts)) == ["x" * 1000]


# --- messages that are refused while the connection goes on -------------------------------------------------------


def fragments(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


async def refusals(upstream: ScriptedUpstream, url: str, *messages: Any) -> list[Refused]:
    """What is refused of these messages; around them stand good ones that must come through."""

    async def visit(socket: ServerConnection, number: int) -> None:
        for message in ("before", *messages, "after"):
            if isinstance(message, bytes):
                await socket.send(message, text=True)
            else:
                await socket.send(message)
        await hold(socket, number)

    upstream.visit = visit
    found = texts(await until(url, lambda seen: "after" in texts(seen)))
    assert (found[0], found[-1]) == ("before", "after")
    refused = [one for one in found if isinstance(one, Refused)]
    assert len(refused) == len(found) - 2
    return refused


async def test_a_frame_that_is_too_large_is_refused_with_its_size_and_its_beginning_and_the_next_one_is_taken(
    upstream: ScriptedUpstream, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_FRAME", 1000)
    monkeypatch.setattr(connection, "BEGINNING", 300)
    large = "".join(map(str, range(2000)))
    other = large[:-1] + "x"
    refused = await refusals(upstream, url, large, fragments(large, 100), large, other)
    assert {(one.reason, one.size, one.beginning) for one in refused} == {
        ("frame-too-large", len(large), large[:300].encode())
    }
    first, _, again, differs = [one.content for one in refused]
    assert first == again != differs


async def test_a_large_frame_on_a_slow_line_is_waited_for_although_no_ping_is_answered_meanwhile(
    upstream: ScriptedUpstream, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEEPALIVE_SECONDS", 0.3)
    large = "x" * 60_000

    async def visit(socket: ServerConnection, number: int) -> None:
        socket.transport.pause_reading()  # type: ignore[attr-defined]  # an answer may not stand inside a frame
        socket.transport.write(b"\x81\x7e" + len(large).to_bytes(2))
        for piece in fragments(large, 1000):
            socket.transport.write(piece.encode())
            await asyncio.sleep(0.05)  # three seconds in all: longer than a closing connection is still read
        socket.transport.resume_reading()  # type: ignore[attr-defined]
        await hold(socket, number)

    upstream.visit = visit
    seen = await until(url, texts)
    assert texts(seen) == [large]
    assert aways(seen) == []


async def test_text_that_is_no_utf_8_is_refused_and_the_next_frame_is_taken(
    upstream: ScriptedUpstream, url: str
) -> None:
    (refused,) = await refusals(upstream, url, b'{"event_type": "\xed\xa0\x80"}')
    assert (refused.reason, refused.size, refused.beginning[:15]) == ("not-utf-8", 21, b'{"event_type": ')


async def test_of_frames_that_are_too_large_only_their_beginnings_wait_for_a_slow_owner(
    upstream: ScriptedUpstream, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_FRAME", 1000)
    monkeypatch.setattr(connection, "BEGINNING", 300)
    queued: list[int] = []
    queue = ClientConnection.process_event

    def process_event(socket: ClientConnection, event: Any) -> None:
        queued.append(len(getattr(event, "data", b"")))
        queue(socket, event)

    monkeypatch.setattr(ClientConnection, "process_event", process_event)
    refused = await refusals(upstream, url, *["x" * 5000] * 20)
    assert len(refused) == 20
    assert max(queued) == 300


@pytest.fixture
def followed(upstream_row: Upstream, worker: Supervisor) -> Upstream:
    return upstream_row


@pytest.mark.django_db(transaction=True)
async def test_a_run_in_which_every_replay_brings_a_frame_that_closes_it_keeps_one_row_of_it_and_ends(
    upstream: ScriptedUpstream, followed: Upstream, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_REFUSED", 20_000)
    frames = seed.frames("financial_data")
    enough = asyncio.Event()

    async def visit(socket: ServerConnection, number: int) -> None:
        await socket.send(frames[0])
        if not enough.is_set():
            await socket.send("x" * 30_000)
        await saying(*frames[1:], then=hold)(socket, number)

    upstream.visit = visit
    run = await attach(followed, "Financial_Data_Pipeline", "daily_batch_20240215")

    async def several() -> bool:
        return await on_thread(Run.objects.filter(pk=run.pk, rejected_count__gte=3).exists)

    await eventually(several)
    enough.set()
    run = await ended(run)
    row = await on_thread(Rejected.objects.get, run=run)
    assert (row.reason, row.count) == ("frame-too-large", run.rejected_count)
    assert (run.status, run.last_seq) == ("failed", len(frames))
    assert await on_thread(Gap.objects.filter(run=run).count) == run.gap_count > 0


async def test_one_that_leaves_is_given_all_that_had_arrived(upstream: ScriptedUpstream, url: str) -> None:
    sent = [json.dumps({"event_type": "x", "n": n}) for n in range(2000)]
    all_sent = asyncio.Event()

    async def visit(socket: ServerConnection, number: int) -> None:
        for frame in sent:
            await socket.send(frame)
        all_sent.set()
        await hold(socket, number)

    upstream.visit = visit
    leave = asyncio.Event()
    seen: list[Happening] = []
    async with asyncio.timeout(20), aclosing(stream.follow(url, leave)) as happenings:
        async for what in happenings:
            seen.append(what)
            if len(seen) == 2:  # connected, and the first frames
                await all_sent.wait()
                leave.set()
    assert texts(seen) == sent
    assert aways(seen) == []
    assert len(upstream.paths) == 1
