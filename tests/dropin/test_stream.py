"""The upstream's socket, served by us: the history, then what comes, each once; who may; and when it ends."""

import asyncio
import base64
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import Token, User
from dropin import frames, refusals, stream
from runs import publish
from runs.core import decode
from runs.models import Event, Run
from runs.web import live
from tests.dropin.conftest import Visitor, finish, in_thread, tell
from tests.factories import make_event, make_run, make_token, make_upstream, make_user
from tests.web.live_page import client_of, cookie_of

pytestmark = pytest.mark.django_db(transaction=True)

OURS = "http://127.0.0.1:8000"


@pytest.fixture
def token() -> str:
    return make_token("viewer")


@pytest.fixture
def run() -> Run:
    run = make_run()
    tell(run, "flow_started", "task_started")
    return run


@pytest.fixture
def ended() -> Run:
    run = make_run()
    tell(run, "flow_started", "task_started", "task_completed", "flow_completed", status="succeeded")
    finish(run)
    return run


async def write(run: Run, *event_types: str, **fields: Any) -> None:
    await in_thread(lambda: tell(run, *event_types, **fields))
    await publish.ring({run.pk})


# --- what comes -----------------------------------------------------------------------------------------------------


async def test_the_history_comes_in_order_then_what_is_written(run: Run, token: str) -> None:
    visitor = Visitor(run, token)
    assert await visitor.connect() is None
    assert [(await visitor.next())["_seq"] for _ in range(2)] == [1, 2]
    await write(run, "task_completed")
    frame = await visitor.next()
    assert frame == {
        "event_type": "task_completed",
        "run_name": run.run_name,
        "timestamp": frame["timestamp"],
        "_seq": 3,
    }
    await visitor.leave()


async def test_a_lost_ring_costs_only_the_time_of_a_poll(run: Run, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0.05)
    visitor = Visitor(run, token, after=2)
    await visitor.connect()
    await in_thread(lambda: tell(run, "task_completed"))
    assert (await visitor.next())["_seq"] == 3
    await visitor.leave()


async def test_a_long_history_comes_whole_whatever_its_batches(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare() -> Run:
        run = make_run()
        tell(run, *["task_started"] * 249, "flow_error", status="failed")
        finish(run)
        return run

    run = await in_thread(prepare)
    for most, size in ((100, 10**6), (7, 10**6), (250, 500), (10**6, 10**6)):
        monkeypatch.setattr(frames, "MOST", most)
        monkeypatch.setattr(frames, "MOST_SIZE", size)
        visitor = Visitor(run, token, after="0")
        await visitor.connect()
        assert await visitor.until_closed() == ([*range(1, 251)], 1000)


@pytest.mark.parametrize("name", ["a b", "ünï/cødé", "100%", "why?", "#1", "a/b/c", "%2F", "…", "x" * 300, "a+b&c=d"])
async def test_names_of_every_kind_are_found(name: str, token: str) -> None:
    run = await in_thread(lambda: make_run(flow_name=name, run_name=name[::-1]))
    await in_thread(lambda: tell(run, "flow_started"))
    visitor = Visitor(run, token)
    assert await visitor.connect() is None
    assert (await visitor.next())["run_name"] == name[::-1]
    await visitor.leave()


@pytest.mark.parametrize(
    "path", ["/ws/", "/ws/a", "/ws//", "/ws/a/", "/ws/a/b/c", "/ws/a/..", "/ws/a/%00", "/ws/%FF/b"]
)
async def test_what_is_no_address_is_not_found(path: str, token: str, run: Run) -> None:
    visitor = Visitor(run, token, after="1")
    visitor.socket.scope["raw_path"] = path.encode()
    assert await visitor.connect() in (4404, 4400)


async def test_the_default_upstream_is_meant_where_several_have_the_name(token: str) -> None:
    def prepare() -> list[Run]:
        upstreams = [make_upstream(name=name) for name in ("first", "default", "last")]
        runs = [make_run(upstream=upstream, run_name="same") for upstream in upstreams]
        for number, run in enumerate(runs):
            tell(run, *["flow_started"] * (number + 1))
        return runs

    runs = await in_thread(prepare)
    for asked, last in (({}, 2), ({"upstream": "first"}, 1), ({"upstream": "last"}, 3)):
        visitor = Visitor(runs[0], token, **asked)
        await visitor.connect()
        assert [(await visitor.next())["_seq"] for _ in range(last)] == [*range(1, last + 1)]
        assert await visitor.socket.receive_nothing(0.1)
        await visitor.leave()
    assert await Visitor(runs[0], token, upstream="none of these").connect() == 4404


async def test_sockets_that_wait_for_the_same_event_share_one_reading(
    run: Run, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[int] = []
    read = frames.read

    def counted(run_id: int, after: int) -> frames.Batch:
        batch = read(run_id, after)
        readings.extend([after] if batch.frames else [])
        return batch

    monkeypatch.setattr(frames, "read", counted)
    visitors = [Visitor(run, token, after=2) for _ in range(4)]
    for visitor in visitors:
        await visitor.connect()
    await asyncio.sleep(0.3)
    await write(run, "task_completed")
    for visitor in visitors:
        assert (await visitor.next())["_seq"] == 3
        await visitor.leave()
    assert readings == [2]
    assert not live.FEEDS._feeds
    assert not live.DOORKEEPER._inside


async def test_what_we_asked_the_upstream_for_is_marked(run: Run, token: str) -> None:
    def prepare() -> None:
        payload = {"event_type": "stepline.task_status", "status": "completed", "results": {}}
        run.refresh_from_db()
        make_event(run, "stepline.task_status", payload, source=Event.Source.STATUS)
        Run.objects.filter(pk=run.pk).update(status="succeeded", inferred=True)
        finish(run)

    await in_thread(prepare)
    visitor = Visitor(run, token, after=2)
    await visitor.connect()
    frame = await visitor.next()
    assert (frame["_source"], frame["_seq"], frame["status"]) == ("status", 3, "completed")
    assert await visitor.closing() == (1000, "the run has succeeded")


@pytest.mark.parametrize(
    "text",
    [
        r'{"event_type":"x","nul":"a\u0000b","back":"c:\\dir\\u0000"}',
        r'{"event_type":"x","half":"\ud800","\udfff":["\\",{"\\u0000":1}]}',
        '{"event_type":"x","big":123456789012345678901,"f":1.5,"_seq":"theirs"}',
        '{"event_type":"x","ü":"…🚨 \u2028"}',
    ],
)
def test_a_frame_goes_out_as_it_came(text: str) -> None:
    came = decode.decode(text, decode.Address("f", "r", b"key"), 1.0)
    assert not isinstance(came, decode.Noise | decode.Rejected)
    stored = json.dumps(came.payload, ensure_ascii=False, separators=(",", ":"))
    out = json.loads(frames.frame(7, "stream", ",".join(came.flags), stored))
    assert out == {**json.loads(text), "_seq": 7}


def test_a_frame_with_nothing_in_it_stays_json() -> None:
    assert json.loads(frames.frame(1, "stream", "", "{ }")) == {"_seq": 1}


# --- resuming -------------------------------------------------------------------------------------------------------


async def test_a_client_that_drops_and_resumes_at_random_gets_each_event_once(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(20261125)
    monkeypatch.setattr(frames, "MOST", 9)
    run = await in_thread(make_run)
    drops, got = 0, list[int]()

    async def upstream() -> None:
        while drops < 100:
            await write(run, *["task_started"] * draw.randint(1, 12))
            await asyncio.sleep(draw.random() * 0.02)
        await write(run, "flow_completed", status="succeeded")
        await write(run, "task_completed")  # late
        await in_thread(lambda: finish(run))
        await publish.ring({run.pk})

    speaking = asyncio.create_task(upstream())
    while True:
        visitor = Visitor(run, token, after=got[-1] if got else "0")
        assert await visitor.connect() is None
        if drops == 100:
            seqs, code = await visitor.until_closed()
            got += seqs
            break
        for _ in range(draw.randint(0, 15)):
            if await visitor.socket.receive_nothing(0.3):
                break
            got.append((await visitor.next())["_seq"])
        await visitor.leave(draw.choice([1000, 1001, 1005, 1006]))
        drops += 1
    await speaking
    last = await in_thread(lambda: Run.objects.get(pk=run.pk).last_seq)
    assert got == [*range(1, last + 1)]
    assert (code, last > 150) == (1000, True)


@pytest.mark.parametrize(("after", "code"), [("-1", 4400), ("x", 4400), ("1.5", 4400), ("9" * 16, 4400), ("3", 4400)])
async def test_a_place_that_cannot_be_is_refused(run: Run, token: str, after: str, code: int) -> None:
    assert await Visitor(run, token, after=after).connect() == code


# --- pings ----------------------------------------------------------------------------------------------------------


async def test_a_ping_is_answered(run: Run, token: str) -> None:
    visitor = Visitor(run, token, after=2)
    await visitor.connect()
    for text in ('{"type":"ping"}', '{"type": "ping", "more": 1}'):
        await visitor.socket.send_to(text_data=text)
        assert await visitor.next() == {"type": "pong"}
    for text in ("hello", "[]", '{"type":"pong"}', '{"type":["ping"]}', '{"since":1}'):
        await visitor.socket.send_to(text_data=text)
    assert await visitor.socket.receive_nothing(0.2)
    await visitor.leave()


async def test_a_ping_is_answered_while_a_run_is_waited_for(token: str) -> None:
    visitor = Visitor(Run(flow_name="F", run_name="to come"), token)
    await visitor.connect()
    await visitor.socket.send_to(text_data='{"type":"ping"}')
    assert await visitor.next() == {"type": "pong"}
    await visitor.leave()
    assert not live.FEEDS._feeds


async def test_a_flood_of_pings_ends_the_socket(run: Run, token: str) -> None:
    visitor = Visitor(run, token, after=2)
    await visitor.connect()
    for _ in range(int(live.INBOUND_BURST) * 2):
        await visitor.socket.send_to(text_data='{"type":"ping"}')
    while (said := await visitor.socket.receive_output(10))["type"] != "websocket.close":
        pass
    assert said["code"] == live.TOO_MANY
    await visitor.leave()


# --- the end --------------------------------------------------------------------------------------------------------


async def test_late_events_still_come_before_it_closes(run: Run, token: str) -> None:
    visitor = Visitor(run, token, after=2)
    await visitor.connect()
    await write(run, "flow_completed", status="succeeded")
    assert (await visitor.next())["_seq"] == 3
    assert await visitor.socket.receive_nothing(0.2)
    await write(run, "task_completed")
    assert (await visitor.next())["_seq"] == 4
    await in_thread(lambda: finish(run))
    await publish.ring({run.pk})
    assert await visitor.closing() == (1000, "the run has succeeded")


@pytest.mark.parametrize("status", ["lost", "stopped", "rejected"])
async def test_a_run_that_ended_without_an_event_is_said_to_have(run: Run, token: str, status: str) -> None:
    await in_thread(lambda: Run.objects.filter(pk=run.pk).update(status=status, connection="closed"))
    visitor = Visitor(run, token)
    await visitor.connect()
    assert [(await visitor.next())["_seq"] for _ in range(2)] == [1, 2]
    code, reason = await visitor.closing()
    assert code == 4410
    assert status in reason


@pytest.mark.parametrize("leaves", [True, False], ids=["on the terminal event", "when it is closed"])
async def test_the_endless_loop_of_the_sample_client_ends(ended: Run, token: str, leaves: bool) -> None:
    visitor = Visitor(ended, token)
    await visitor.connect()
    if leaves:
        while (await visitor.next())["event_type"] != "flow_completed":
            pass
        await visitor.leave()
    else:
        assert await visitor.until_closed() == ([1, 2, 3, 4], 1000)
    assert [await Visitor(ended, token).connect() for _ in range(3)] == [4429] * 3


async def test_a_client_with_more_patience_is_refused_twice_as_often(ended: Run, token: str) -> None:
    for times in (refusals.FIRST, 2 * refusals.FIRST, 4 * refusals.FIRST):
        visitor = Visitor(ended, token)
        assert await visitor.connect() is None
        await visitor.until_closed()
        assert [await Visitor(ended, token).connect() for _ in range(times)] == [4429] * times


async def test_one_who_starts_anew_gets_in_before_giving_up(ended: Run, token: str) -> None:
    visitor = Visitor(ended, token)
    await visitor.connect()
    await visitor.until_closed()
    tries = [Visitor(ended, token) for _ in range(4)]  # the first, and three more
    assert [await one.connect() for one in tries] == [4429] * 3 + [None]
    assert await tries[-1].until_closed() == ([1, 2, 3, 4], 1000)


async def test_it_is_forgotten_after_a_while(ended: Run, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "FORGET_SECONDS", 1)
    visitor = Visitor(ended, token)
    await visitor.connect()
    await visitor.until_closed()
    await asyncio.sleep(1.2)
    again = Visitor(ended, token)
    assert await again.connect() is None
    await again.leave()


async def test_nobody_else_is_refused(ended: Run, token: str) -> None:
    visitor = Visitor(ended, token, agent="one")
    await visitor.connect()
    await visitor.until_closed()
    other_token = await in_thread(lambda: make_token("viewer"))
    other_run = await in_thread(make_run)
    others = [
        Visitor(ended, other_token, agent="one"),
        Visitor(ended, token, agent="two"),
        Visitor(ended, token, agent="one", origin="https://app.example"),
        Visitor(ended, token, agent="one", after="0"),
        Visitor(ended, token, agent="one", after="3"),
        Visitor(other_run, token, agent="one"),
    ]
    assert [await other.connect() for other in others] == [None] * len(others)
    assert await Visitor(ended, token, agent="one", after="4").connect() == 4429
    for other in others:
        await other.leave()


@pytest.mark.parametrize("code", [1001, 1006], ids=["left the page", "lost the connection"])
async def test_one_who_may_not_have_got_it_is_let_in(ended: Run, token: str, code: int) -> None:
    visitor = Visitor(ended, token)
    await visitor.connect()
    for _ in range(4):
        await visitor.next()
    await visitor.leave(code)
    again = Visitor(ended, token)
    assert await again.connect() is None
    await again.leave()


async def test_one_who_leaves_before_the_end_is_let_in(ended: Run, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST", 2)
    hold = asyncio.Event()
    hand_over = stream.StreamConsumer._hand_over

    async def held(self: stream.StreamConsumer, batch: frames.Batch) -> None:
        await hand_over(self, batch)
        await hold.wait()

    monkeypatch.setattr(stream.StreamConsumer, "_hand_over", held)
    visitor = Visitor(ended, token)
    await visitor.connect()
    await visitor.next()
    await visitor.leave()
    hold.set()
    again = Visitor(ended, token)
    assert await again.connect() is None
    await again.leave()


async def test_a_cache_that_fails_refuses_nobody(ended: Run, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __getitem__(self, name: str) -> Any:
            raise ConnectionError("gone")

    monkeypatch.setattr(refusals, "caches", Broken())
    for _ in range(2):
        visitor = Visitor(ended, token)
        assert await visitor.connect() is None
        await visitor.until_closed()


# --- a run that is not there (yet) ----------------------------------------------------------------------------------


async def test_a_client_may_come_before_its_run(token: str) -> None:
    upstream = await in_thread(make_upstream)
    visitor = Visitor(Run(flow_name="F", run_name="soon"), token)
    assert await visitor.connect() is None
    assert await visitor.socket.receive_nothing(0.2)
    run = await in_thread(lambda: make_run(upstream=upstream, flow_name="F", run_name="soon"))
    await write(run, "flow_started")
    assert (await visitor.next())["_seq"] == 1
    await write(run, "flow_completed", status="succeeded", connection="closed")
    assert await visitor.until_closed() == ([2], 1000)
    assert await Visitor(run, token).connect() == 4429


async def test_a_run_that_never_comes_is_waited_for_once(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WAIT_SECONDS", 0.3)
    upstream = await in_thread(make_upstream)
    nowhere = Run(flow_name="F", run_name="never")
    visitor = Visitor(nowhere, token)
    await visitor.connect()
    assert await visitor.closing() == (4404, "there is no run of this name")
    assert [await Visitor(nowhere, token).connect() for _ in range(2)] == [4404] * 2
    await in_thread(lambda: make_run(upstream=upstream, flow_name="F", run_name="never"))
    late = Visitor(nowhere, token)
    assert await late.connect() is None, "it has come after all"
    await late.leave()


async def test_a_run_that_is_removed_ends_the_socket(run: Run, token: str) -> None:
    visitor = Visitor(run, token, after=2)
    await visitor.connect()
    await in_thread(lambda: Run.objects.filter(pk=run.pk).delete())
    await publish.ring({run.pk})
    assert (await visitor.closing())[0] == 4404


# --- who may --------------------------------------------------------------------------------------------------------


async def test_a_session_gets_in_from_the_sites_own_pages_only(run: Run) -> None:
    cookie = await in_thread(lambda: cookie_of(client_of(make_user())))
    visitor = Visitor(run, cookie=cookie, origin=OURS)
    assert await visitor.connect() is None
    assert (await visitor.next())["_seq"] == 1
    await visitor.leave()
    for origin in ("http://evil.example", "null", "file://", "https://127.0.0.1.evil.example"):
        assert await Visitor(run, cookie=cookie, origin=origin).connect() is not None
    assert await Visitor(run, cookie=cookie).connect() == 4401


async def test_a_token_gets_in_from_anywhere(run: Run, token: str) -> None:
    basic = base64.b64encode(f"{token}:".encode()).decode()
    for header in (f"authorization: Bearer {token}", f"x-api-key: {token}", f"authorization: Basic {basic}"):
        name, _, value = header.partition(": ")
        visitor = Visitor(run, origin="https://app.example")
        visitor.socket.scope["headers"].append((name.encode(), value.encode()))
        assert await visitor.connect() is None, name
        await visitor.leave()


@pytest.mark.parametrize("text", ["stl_wrong", "x" * 500, "\x00", "ü"])
async def test_a_bad_token_is_not_made_good_by_a_session(run: Run, text: str) -> None:
    cookie = await in_thread(lambda: cookie_of(client_of(make_user("admin"))))
    assert await Visitor(run, text, cookie=cookie, origin=OURS).connect() == 4401
    assert await Visitor(run).connect() == 4401
    assert await Visitor(run, origin=OURS).connect() == 4401


async def test_a_proxys_own_password_does_not_stand_in_the_way_of_a_session(run: Run) -> None:
    cookie = await in_thread(lambda: cookie_of(client_of(make_user())))
    visitor = Visitor(run, cookie=cookie, origin=OURS)
    visitor.socket.scope["headers"].append((b"authorization", b"Basic dGVhbTpzZWNyZXQ="))
    assert await visitor.connect() is None
    await visitor.leave()


LEAVING: dict[str, Callable[[], Any]] = {
    "a token that is revoked": lambda: Token.objects.update(revoked_at=timezone.now()),
    "a token that expires": lambda: Token.objects.update(expires_at=timezone.now()),
    "a token that is deleted": lambda: Token.objects.all().delete(),
    "a user who is disabled": lambda: User.objects.update(is_active=False),
    "signing out": lambda: Session.objects.all().delete(),
}


@pytest.mark.parametrize("what", LEAVING)
async def test_a_socket_ends_with(run: Run, token: str, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    assert live.CHECK_SECONDS < 2
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.05)
    cookie = await in_thread(lambda: cookie_of(client_of(make_user())))
    by_token, by_session = Visitor(run, token, after=2), Visitor(run, cookie=cookie, origin=OURS, after=2)
    for visitor in (by_token, by_session):
        assert await visitor.connect() is None
        assert await visitor.socket.receive_nothing(0.2)
    await in_thread(LEAVING[what])
    for visitor, kind in ((by_token, "token"), (by_session, "signing out")):
        if kind in what or "user" in what:
            assert (await visitor.closing())[0] == live.UNAUTHENTICATED
        else:
            assert await visitor.socket.receive_nothing(0.2)
            await visitor.leave()
