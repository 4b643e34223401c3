"""Live updates: a page gets what it lacks, once, in order, whatever is lost on the way; and nobody else gets it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.sessions.models import Session
from django.db import OperationalError, transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from runs import publish
from runs.models import Event, Run, Task
from runs.web import board, live, render
from runs.web.view import Asked
from tests.factories import START, make_gap, make_run, make_task, make_user
from tests.web.live_page import TASK, Page, client_of, cookie_of, parts_of, socket_to

pytestmark = pytest.mark.django_db(transaction=True)


@partial(database_sync_to_async, thread_sensitive=False)
def in_thread[R](function: Callable[[], R]) -> R:
    return function()


@transaction.atomic
def write(run: Run, *, events: int = 0, tasks: dict[str, str] | None = None, **fields: Any) -> None:
    """One write of a follower: rev goes up, tasks come or change, events are added."""
    rev = Run.objects.get(pk=run.pk).rev + 1
    for key, status in (tasks or {}).items():
        found = Task.objects.filter(run=run, key=key).first()
        attempts = [{"started_at": START, "finished_at": None, "status": status, "inferred": False}]
        if found:
            Task.objects.filter(pk=found.pk).update(status=status, attempts=attempts, rev=rev)
        else:
            make_task(run, key, status=status, attempts=attempts, rev=rev, added_rev=rev)
    seq = Run.objects.get(pk=run.pk).last_seq
    Event.objects.bulk_create(
        Event(
            run=run, seq=seq + n, event_type="task_started", timestamp=START + n, received_at=START + n,
            digest=f"{seq + n:032x}", payload='{"a":1}',
        )
        for n in range(1, events + 1)
    )  # fmt: skip
    Run.objects.filter(pk=run.pk).update(rev=rev, last_seq=F("last_seq") + events, **fields)


@asynccontextmanager
async def opened(run: Run, user: User | None = None, **said: str) -> AsyncIterator[Page]:
    """A page of this run as a browser opens it: first the HTML, then the socket, then what it has, and `said`."""

    def first() -> tuple[str, str]:
        client = client_of(user or make_user())
        return client.get(f"/runs/{run.pk}/").content.decode(), cookie_of(client)

    html, cookie = await in_thread(first)
    socket = socket_to(f"/live/runs/{run.pk}/", cookie)
    connected, _ = await socket.connect()
    assert connected
    page = Page(html, socket)
    await page.acknowledge(**said)
    try:
        yield page
    finally:
        await socket.disconnect()


async def until(page: Page, ready: Callable[[], bool]) -> None:
    while not ready():
        await page.take()
        await page.acknowledge()


@pytest.fixture
def run() -> Run:
    run = make_run()
    write(run, tasks={"fetch": "running", "clean": "pending"}, events=2)
    return Run.objects.get(pk=run.pk)


async def test_a_change_reaches_the_page_with_the_ring(run: Run) -> None:
    async with opened(run) as page:
        await in_thread(lambda: write(run, tasks={"fetch": "succeeded", "report": "pending"}, events=1))
        await publish.ring({run.pk})
        await page.take()
    assert page.events == [1, 2, 3]
    assert ["succeeded" in row for row in page.tasks.values()] == [True, False, False]


async def test_a_page_that_lacks_nothing_gets_nothing(run: Run) -> None:
    async with opened(run) as page:
        await publish.ring({run.pk})
        assert await page.socket.receive_nothing(0.3)


async def test_nothing_more_is_sent_before_the_acknowledgement(run: Run) -> None:
    async with opened(run) as page:
        await in_thread(lambda: write(run, events=1))
        await publish.ring({run.pk})
        await page.take()
        for _ in range(3):
            await in_thread(lambda: write(run, events=1))
            await publish.ring({run.pk})
        assert await page.socket.receive_nothing(0.3)
        await page.acknowledge()
        await page.take()
    assert page.events == [1, 2, 3, 4, 5, 6], "what came meanwhile comes in one message"


async def test_a_lost_ring_costs_only_the_time_of_a_poll(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0.05)
    async with opened(run) as page:
        await in_thread(lambda: write(run, events=1))
        await page.take()
    assert page.events == [1, 2, 3]


async def test_a_page_that_comes_back_gets_what_it_missed(run: Run) -> None:
    async with opened(run) as page:
        pass
    await in_thread(lambda: write(run, tasks={"report": "running"}, events=2))
    cookie = await in_thread(lambda: cookie_of(client_of(make_user())))
    page.socket = socket_to(f"/live/runs/{run.pk}/", cookie)
    await page.socket.connect()
    await page.acknowledge()
    await page.take()
    await page.socket.disconnect()
    assert page.events == [1, 2, 3, 4]
    assert len(page.tasks) == 3


async def test_after_a_flood_the_page_has_the_end_of_the_log_and_no_more(run: Run) -> None:
    async with opened(run) as page:
        await in_thread(lambda: write(run, events=render.BATCH))
        await publish.ring({run.pk})
        await page.take()
        assert page.events == list(range(1, render.BATCH + 3)), "what a message holds comes whole"
        await page.acknowledge()
        await in_thread(lambda: write(run, events=10_000))
        await publish.ring({run.pk})
        await page.take()
        last = 10_000 + render.BATCH + 2
        assert page.events == list(range(last - render.LOG_FIRST + 1, last + 1))
        assert page.messages == 2
        await page.acknowledge()
        assert await page.socket.receive_nothing(0.2)


async def test_a_page_that_does_not_show_the_end_of_the_log_is_told_only_how_much_there_is(run: Run) -> None:
    async with opened(run, log="0") as page:
        await in_thread(lambda: write(run, events=5))
        await publish.ring({run.pk})
        await page.take()
        assert (page.events, page.said["since"]) == ([1, 2], "7")
        page.said["since"] = "0"  # its reader has come back to the end
        await page.acknowledge(wants="1")
        await page.take()
    assert page.events == [1, 2, 3, 4, 5, 6, 7]


async def test_a_page_gets_the_rows_of_its_window_and_no_other(run: Run) -> None:
    await in_thread(lambda: write(run, tasks={f"t{n:03d}": "pending" for n in range(500)}))
    async with opened(run) as page:
        assert len(page.tasks) == board.WINDOW
        await in_thread(lambda: write(run, tasks={"t001": "running", "t400": "running"}))
        await publish.ring({run.pk})
        rows = TASK.findall(parts_of(await page.take())["#rows-in"])
        assert len(rows) == 1, "t400 is not in sight"
        await page.acknowledge(first="390", wants="1")
        await page.take()
        assert len(page.tasks) == board.WINDOW
        assert sum('data-state="running"' in row for row in page.tasks.values()) == 1
        assert any('data-name="t400"' in row for row in page.tasks.values())
        await page.acknowledge(first="390")
        assert await page.socket.receive_nothing(0.2), "once is enough"


async def test_only_the_rows_that_a_moved_window_lacks_are_sent(run: Run) -> None:
    await in_thread(lambda: write(run, tasks={f"t{n:03d}": "pending" for n in range(500)}))
    async with opened(run) as page:
        for first, rows in ((100, board.WINDOW), (125, 25), (100, 25)):
            await page.acknowledge(first=str(first), wants="1")
            assert len(TASK.findall(parts_of(await page.take())["#rows-in"])) == rows
            assert len(page.tasks) == board.WINDOW
            await page.acknowledge(first=str(first))


async def test_a_filter_holds_for_what_comes_later(run: Run) -> None:
    async with opened(run) as page:
        await page.acknowledge(view="state=running", wants="1")
        await page.take()
        assert ["fetch" in row for row in page.tasks.values()] == [True]
        await page.acknowledge(view="state=running")
        await in_thread(lambda: write(run, tasks={"clean": "running", "fetch": "succeeded"}))
        await publish.ring({run.pk})
        await page.take()
        assert ["clean" in row for row in page.tasks.values()] == [True]


async def test_what_a_page_asks_for_is_answered_while_nothing_happens_and_by_its_turn(run: Run) -> None:
    async with opened(run) as page:
        assert await page.socket.receive_nothing(0.2)
        await page.acknowledge(view="find=clean", wants="1", turn="7")
        assert (await page.take()).startswith("<!--7-->")
        assert len(page.tasks) == 1


async def test_siblings_become_a_fold_when_there_are_six_of_them(run: Run) -> None:
    def add(first: int, last: int) -> None:
        rev = Run.objects.get(pk=run.pk).rev + 1
        for n in range(first, last):
            make_task(run, f"part-{n}", name="part", rev=rev, added_rev=rev)
        Run.objects.filter(pk=run.pk).update(rev=rev)

    async with opened(run) as page:
        await in_thread(lambda: add(0, 5))
        await publish.ring({run.pk})
        await page.take()
        assert len(page.tasks) == 7
        await page.acknowledge()
        await in_thread(lambda: add(5, 6))
        await publish.ring({run.pk})
        await page.take()
        assert [row.partition("-")[0] for row in page.tasks] == ["task", "task", "fold"]
        await page.acknowledge(view="open=part", wants="1")
        await page.take()
        assert len(page.tasks) == 9


async def test_live_changes_lead_to_the_page_that_a_reload_would_show(run: Run) -> None:
    async with opened(run) as page:

        async def follow() -> None:
            while True:
                await page.take(30)
                await page.acknowledge()

        following = asyncio.create_task(follow())
        states = ["running", "failed", "running", "succeeded"]
        for n in range(40):
            tasks = {f"t{n // 3}": states[n % 4], f"u{n % 7}": states[n % 3]}
            await in_thread(lambda tasks=tasks, n=n: write(run, tasks=tasks, events=n % 4))  # type: ignore[misc]
            await publish.ring({run.pk})
        last = await in_thread(lambda: Run.objects.get(pk=run.pk))
        while (page.said["rev"], page.said["since"]) != (str(last.rev), str(last.last_seq)):
            assert not following.done(), following.result()
            await asyncio.sleep(0.02)
        following.cancel()
    fresh, _ = await in_thread(lambda: render.body(render.read_run(run.pk), Asked()))
    reloaded = Page(fresh, page.socket)
    shown = {task: row.split('class="', 1)[1].split('"')[0] for task, row in page.tasks.items()}
    expected = {task: row.split('class="', 1)[1].split('"')[0] for task, row in reloaded.tasks.items()}
    assert shown == expected
    assert list(page.tasks) == list(reloaded.tasks)
    assert page.events[-len(reloaded.events) :] == reloaded.events
    assert page.events == list(range(1, last.last_seq + 1))


async def test_rows_written_while_a_page_is_read_come_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read = render.read_run
    pending = {"more": True}

    def read_early(run_id: int, before: Run | None = None) -> Run:
        found = read(run_id, before)
        if pending.pop("more", None):
            write(run, tasks={"late": "running", "fetch": "succeeded"}, events=1)
        return found

    async with opened(run) as page:
        await in_thread(lambda: write(run, tasks={"report": "running"}, events=1))
        monkeypatch.setattr(render, "read_run", read_early)
        await publish.ring({run.pk})
        await until(page, lambda: len(page.tasks) == 4)
    assert page.events == [1, 2, 3, 4]


async def test_a_page_older_than_a_reset_is_drawn_anew(run: Run) -> None:
    async with opened(run) as page:

        def reset() -> None:
            Task.objects.filter(run=run, key="clean").delete()
            write(run, tasks={"fetch": "failed"}, reset_rev=Run.objects.get(pk=run.pk).rev + 1)

        await in_thread(reset)
        await publish.ring({run.pk})
        message = await page.take()
    assert "#run" in parts_of(message)
    assert len(page.tasks) == 1


async def test_rows_that_have_not_changed_follow_when_the_timeline_moves(run: Run) -> None:
    def came(message: str) -> list[str]:
        return TASK.findall(parts_of(message)["#rows-in"])

    async with opened(run) as page:
        [fetch, clean] = page.tasks
        await in_thread(lambda: write(run, tasks={"fetch": "succeeded"}))
        await publish.ring({run.pk})
        assert came(await page.take()) == [fetch]
        await page.acknowledge()

        await in_thread(lambda: (make_gap(run), write(run)))
        await publish.ring({run.pk})
        await page.take()
        assert ['class="gap"' in page.tasks[row] for row in (fetch, clean)] == [True, True], "a gap crosses every row"
        await page.acknowledge()

        before = dict(page.tasks)
        await in_thread(lambda: write(run, started_at=START - 100))
        await publish.ring({run.pk})
        await page.take()
        assert page.tasks[fetch] != before[fetch], "its bar begins further right"
        await page.acknowledge()

        await in_thread(lambda: write(run, tasks={"fetch": "failed"}))
        await publish.ring({run.pk})
        assert came(await page.take()) == [fetch], "once is enough"


async def test_a_page_is_told_when_the_task_in_its_drawer_moves_on(run: Run) -> None:
    async with opened(run) as page:
        await page.acknowledge(task="fetch", wants="1")
        before = parts_of(await page.take())["#sync"]
        await page.acknowledge(task="fetch")
        await in_thread(lambda: write(run, tasks={"fetch": "succeeded"}))
        await publish.ring({run.pk})
        after = parts_of(await page.take())["#sync"]
        revs = [int(html.split('data-task-rev="')[1].split('"')[0]) for html in (before, after)]
        assert 0 < revs[0] < revs[1]


async def test_sockets_at_the_same_place_share_one_reading(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[Any] = []
    changes = render.run_changes

    def counted(*place: Any) -> tuple[str, int] | None:
        found = changes(*place)
        if found:
            readings.append(place)
        return found

    monkeypatch.setattr(render, "run_changes", counted)
    async with opened(run) as one, opened(run) as two, opened(run) as three:
        await in_thread(lambda: write(run, events=1))
        await publish.ring({run.pk})
        for page in (one, two, three):
            await page.take()
    assert len(readings) == 1


async def test_an_acknowledgement_of_what_was_read_last_costs_no_reading(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 30.0)
    rings: list[int] = []
    changes = render.run_changes

    def counted(*place: Any) -> tuple[str, int] | None:
        rings.append(place[-1])
        return changes(*place)

    async with opened(run) as page:
        assert await page.socket.receive_nothing(0.2)
        monkeypatch.setattr(render, "run_changes", counted)
        for n in range(3):
            await in_thread(lambda: write(run, events=1))
            await publish.ring({run.pk})
            await page.take()
            await page.acknowledge()
            assert await page.socket.receive_nothing(0.2)
            assert len(rings) == n + 1, "one ring, one reading"
        await page.acknowledge(wants="1")
        await page.take()
    assert len(rings) == 4, "what a page asks for is read, whether or not anything came"
    assert page.events == [1, 2, 3, 4, 5]


async def test_a_slow_page_holds_up_no_other(run: Run) -> None:
    async with opened(run) as slow, opened(run) as quick:
        for n in range(3):
            await in_thread(lambda: write(run, events=1))
            await publish.ring({run.pk})
            await until(quick, lambda n=n: quick.events[-1] == 3 + n)  # type: ignore[misc]
        await slow.take()
        await slow.acknowledge()
        await until(slow, lambda: slow.events[-1] == 5)
    assert slow.events == quick.events


@pytest.mark.parametrize(("every", "hot"), [(0.009, True), (0.011, False)])
async def test_a_run_is_hot_above_a_hundred_events_a_second_however_small_its_batches(
    monkeypatch: pytest.MonkeyPatch, every: float, hot: bool
) -> None:
    clock = {"now": 100.0}
    monkeypatch.setattr(live.time, "monotonic", lambda: clock["now"])
    consumer = live.RunConsumer()
    consumer.begin()
    found = False
    for _ in range(1000):
        found = consumer._hot(1)
        clock["now"] += every
    assert found is hot


async def test_a_hot_run_sends_at_most_twenty_messages_a_second(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(live, "HOT_RATE", 0.0)
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    async with opened(run) as page:
        monkeypatch.setattr(live.asyncio, "sleep", noted)
        for n in range(3):
            await in_thread(lambda: write(run, events=1))
            await publish.ring({run.pk})
            await until(page, lambda n=n: page.events[-1] == 3 + n)  # type: ignore[misc]
    assert pauses.count(live.HOT_PAUSE) >= 2
    assert live.HOT_PAUSE >= 1 / 20


async def test_the_feed_ends_with_its_last_socket(run: Run) -> None:
    group = publish.run_group(run.pk)
    async with opened(run) as one, opened(run) as two:
        await in_thread(lambda: write(run, events=1))
        await publish.ring({run.pk})
        await one.take()
        await two.take()
        assert len(live.FEEDS._feeds[group].sockets) == 2
    assert group not in live.FEEDS._feeds
    assert not live.DOORKEEPER._inside


async def test_a_layer_that_fails_closes_no_socket(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        async def new_channel(self) -> str:
            raise ConnectionError("gone")

    working = publish.layer
    monkeypatch.setattr(publish, "layer", Broken)
    async with opened(run) as page:
        await in_thread(lambda: write(run, events=1))
        await page.take()  # the feed's next try wakes it
        await page.acknowledge()
        monkeypatch.setattr(publish, "layer", working)
        await in_thread(lambda: write(run, events=1))
        await page.take()
    assert page.events == [1, 2, 3, 4]


async def test_a_page_whose_reading_fails_is_closed_with_a_code_that_can_be_sent_and_comes_back(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OperationalError("gone")

    async with opened(run) as page:
        monkeypatch.setattr(render, "run_changes", fail)
        await publish.ring({run.pk})
        said = await page.socket.receive_output(10)
    assert said["type"] == "websocket.close"
    # What daphne's protocol lets an application send, and below what the pages take for "do not come back".
    assert said["code"] == 1000


# --- who may listen -------------------------------------------------------------------------------------------


async def closing(path: str, cookie: str = "", origin: str = "http://127.0.0.1:8000") -> int | None:
    """The code with which the server closes, or None when the connection was not even accepted."""
    socket = socket_to(path, cookie, origin)
    connected, _ = await socket.connect()
    if not connected:
        return None
    said = await socket.receive_output(10)
    assert said["type"] == "websocket.close"
    return int(said["code"])


@pytest.mark.parametrize("path", ["/live/runs/{}/", "/live/runs/"])
async def test_nobody_listens_without_signing_in(run: Run, path: str) -> None:
    assert await closing(path.format(run.pk)) == live.UNAUTHENTICATED


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://127.0.0.1.evil.example",
        "null",
        "",
        "http://127.0.0.1:8000@evil.example",
        "file://",
        "https://127.0.0.1:8000",
        "http://127.0.0.1:8001",
        "http://127.0.0.1",
        "http://localhost:8000",
        "http://127.0.0.1:8000/",
    ],
)
async def test_nobody_listens_from_another_site(run: Run, origin: str) -> None:
    cookie = await in_thread(lambda: cookie_of(client_of(make_user())))
    assert await closing(f"/live/runs/{run.pk}/", cookie, origin) is None


async def test_nobody_listens_under_a_host_that_is_not_the_sites(run: Run) -> None:
    cookie = await in_thread(lambda: cookie_of(client_of(make_user())))
    socket = socket_to(f"/live/runs/{run.pk}/", cookie, "http://evil.example")
    socket.scope["headers"][0] = (b"host", b"evil.example")
    connected, _ = await socket.connect()
    assert not connected


async def test_only_pages_that_came_by_https_listen_where_the_site_is_https(run: Run, settings: Any) -> None:
    settings.HTTPS = True
    path = f"/live/runs/{run.pk}/"
    cookie = await in_thread(lambda: cookie_of(client_of(make_user())))
    assert await closing(path, cookie, "http://127.0.0.1:8000") is None
    socket = socket_to(path, cookie, "https://127.0.0.1:8000")
    assert (await socket.connect())[0]
    await socket.disconnect()


async def test_pages_of_a_trusted_origin_listen(run: Run, settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://runs.example.com"]
    cookie = await in_thread(lambda: cookie_of(client_of(make_user())))
    socket = socket_to(f"/live/runs/{run.pk}/", cookie, "https://runs.example.com")
    assert (await socket.connect())[0]
    await socket.disconnect()


async def test_a_run_that_is_not_there_is_said_to_be_so() -> None:
    cookie = await in_thread(lambda: cookie_of(client_of(make_user())))
    assert await closing("/live/runs/123456789/", cookie) == live.NOT_FOUND


LEAVING: dict[str, Callable[[User], Any]] = {
    "signing out": lambda user: Session.objects.all().delete(),
    "being disabled": lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
    "a lower role": lambda user: User.objects.filter(pk=user.pk).update(role="viewer"),
    "a new password": lambda user: User.objects.filter(pk=user.pk).update(password="md5$other"),
    "the end of its time": lambda user: Session.objects.update(expire_date=timezone.now()),
}


@pytest.mark.parametrize("leaving", LEAVING)
async def test_a_socket_ends_with(run: Run, monkeypatch: pytest.MonkeyPatch, leaving: str) -> None:
    assert live.CHECK_SECONDS < 2
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.05)
    user = await in_thread(lambda: make_user("operator"))
    async with opened(run, user) as page, opened(run, await in_thread(lambda: make_user("viewer"))) as other:
        assert await page.socket.receive_nothing(0.2)
        await in_thread(lambda: LEAVING[leaving](user))
        said = await page.socket.receive_output(10)
        assert said == {"type": "websocket.close", "code": live.UNAUTHENTICATED}
        if leaving not in ("signing out", "the end of its time"):
            assert await other.socket.receive_nothing(0.2)


async def test_a_socket_that_opens_while_the_others_are_asked_about_stays_open(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.05)
    asking, go_on = threading.Event(), threading.Event()
    ask = live._still_good

    def slowly(passes: Any) -> Any:
        found = ask(passes)
        asking.set()
        go_on.wait(10)
        return found

    async with opened(run):
        monkeypatch.setattr(live, "_still_good", slowly)
        assert await asyncio.to_thread(asking.wait, 10)
        async with opened(run) as late:
            go_on.set()
            assert await late.socket.receive_nothing(0.5)


async def test_nothing_is_pushed_on_trust_that_is_too_old(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that fails must not leave the sockets of people open who may no longer listen."""

    def broken(passes: Any) -> Any:
        raise OSError("no answer")

    ask = live._still_good
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(live, "TRUST_SECONDS", 0.2)
    user = await in_thread(make_user)
    async with opened(run, user) as page:
        monkeypatch.setattr(live, "_still_good", broken)
        await asyncio.sleep(0.5)
        await in_thread(lambda: User.objects.filter(pk=user.pk).update(is_active=False))
        await in_thread(lambda: write(run, events=1))
        await publish.ring({run.pk})
        assert await page.socket.receive_nothing(0.5)
        monkeypatch.setattr(live, "_still_good", ask)
        assert (await page.socket.receive_output(10))["code"] == live.UNAUTHENTICATED


async def test_a_push_that_waited_for_trust_goes_out_when_it_is_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.3)
    monkeypatch.setattr(live, "TRUST_SECONDS", 0.0)
    async with opened(run) as page:
        await asyncio.sleep(0.1)
        monkeypatch.setattr(live, "TRUST_SECONDS", 2.0)
        await in_thread(lambda: write(run, events=1))
        await publish.ring({run.pk})
        await page.take()
    assert page.events == [1, 2, 3]


@pytest.mark.parametrize(
    "text", [" ", "{", "[]", "null", '{"since":-1,"rev":0}', '{"since":"x"}', "[" * 30_000, '{"since":1e400,"rev":{}}']
)
async def test_nonsense_is_passed_over(run: Run, text: str) -> None:
    async with opened(run) as page:
        await page.socket.send_to(text_data=text)
        await in_thread(lambda: write(run, events=1))
        await publish.ring({run.pk})
        await page.take()
    assert page.events == [1, 2, 3]


async def test_what_is_too_large_or_binary_ends_the_socket(run: Run) -> None:
    half = "ü" * (live.MAX_INBOUND // 2 + 1)  # counted in bytes
    for message in ({"text_data": "x" * (live.MAX_INBOUND + 1)}, {"text_data": half}, {"bytes_data": b"{}"}):
        async with opened(run) as page:
            await page.socket.send_to(**message)  # type: ignore[arg-type]
            assert (await page.socket.receive_output(10))["code"] == live.TOO_LARGE


async def test_a_flood_of_messages_ends_the_socket(run: Run) -> None:
    async with opened(run) as page:
        for _ in range(int(live.INBOUND_BURST) * 2):
            await page.socket.send_to(text_data="{}")
        assert (await page.socket.receive_output(10))["code"] == live.TOO_MANY


# --- the list -------------------------------------------------------------------------------------------------


async def test_the_list_gets_the_rows_that_changed_and_the_number_of_new_runs(run: Run) -> None:
    def prepare() -> tuple[Run, str]:
        return make_run(upstream=run.upstream), cookie_of(client_of(make_user()))

    other, cookie = await in_thread(prepare)
    socket = socket_to("/live/runs/", cookie)
    await socket.connect()
    said = {
        "revs": f"{run.pk}:{run.rev},{other.pk}:{other.rev}",
        "query": "",
        "floor": "",
        "fresh": "0",
        "counts": "yes",
    }
    await socket.send_to(text_data=json.dumps(said))
    assert await socket.receive_nothing(0.2)
    await in_thread(lambda: write(run, status="failed"))
    await publish.ring({run.pk})
    parts = parts_of(await socket.receive_from(10))
    assert set(parts) == {f"#run-{run.pk}", "#list-sync"}
    assert f"{run.pk}:{run.rev + 1}" in parts["#list-sync"]
    await socket.send_to(text_data=json.dumps({**said, "revs": f"{run.pk}:{run.rev + 1},{other.pk}:{other.rev}"}))
    newer = await in_thread(lambda: make_run(upstream=run.upstream))
    await publish.ring({newer.pk})
    parts = parts_of(await socket.receive_from(10))
    assert set(parts) == {"#list-sync"}
    assert 'name="fresh" value="1"' in parts["#list-sync"]
    await socket.disconnect()
