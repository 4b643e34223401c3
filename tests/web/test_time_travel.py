"""?at= shows a run as its page did right after that event, and leaves the run as it is alone."""

import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.test import Client

from runs import actions, publish, store
from runs.models import Run
from runs.web import render, scene, view
from runs.web.view import Asked
from tests.factories import START, make_definition, make_event, make_run, make_upstream
from tests.seed import frames
from tests.store.conftest import Hand, completed, started
from tests.store.test_history import ODD, failed
from tests.web.live_page import TASK, parts_of
from tests.web.test_live import in_thread, opened

pytestmark = pytest.mark.django_db(transaction=True)
SignIn = Callable[[str], Client]
type Story = list[dict[str, Any] | str]
GAP = "gap"

FAILING: Story = [
    {"event_type": "flow_started", "timestamp": START},
    started("fetch", START + 1, input={"url": "x"}),
    failed("fetch", START + 2),
    GAP,
    started("fetch", START + 4),
    completed("fetch", START + 5, output={"rows": 3}),
    *(started(f"part-{n}", START + 6, task_name="part") for n in range(7)),
    failed("part-3", START + 7, task_name="part", partial_results={"done": 2}),
    completed("part-5", START + 8, task_name="part"),
    {"event_type": "flow_error", "timestamp": START + 9, "error": {"type": "Halted", "message": "part failed"}},
]


def seed(name: str) -> Story:
    found: Story = []
    for frame in frames(name):
        try:
            found.append(json.loads(frame))
        except ValueError:
            continue
    return found


def plain(html: str) -> str:
    """Without what no event tells: the numbers of revisions and of rows, clocks that tick."""
    html = re.sub(r"\btask--?\d+", "task", html)
    html = re.sub(r' data-rev="[^"]*"', "", html)
    html = re.sub(r'<span(?: data-since="[^"]*")?(?: data-frozen)?>([^<]*)</span>', r"\1", html)
    return re.sub(r' <span class="muted now">[^<]*</span>', "", html)


def shown(html: str) -> dict[str, Any]:
    """What a page says of its run."""

    def part(begin: str, end: str) -> str:
        return plain(html.split(begin, 1)[1].split(end, 1)[0])

    return {
        "pill": part('<span class="pill', "</span>"),
        "facts": part('<dl class="facts">', '<div class="links">'),
        "progress": part('<div id="progress"', "</ul>"),
        "banners": part('<div id="banners"', "\n</div>"),
        "failure": part('<div id="failure">', '<div class="toolbar"'),
        "chips": part('id="state-chips"', "errors-only"),
        "rows": part('<ol class="tasks"', "</ol>"),
        "graph": part('id="graph">', '<div id="graph-in"'),
        "io": part('id="io"', "</section>"),
        "log": part('<ol class="log" id="log">', "</ol>"),
    }


class Clock:
    """Stands at the last event, as a past does."""

    moment = 0.0

    def time(self) -> float:
        return self.moment


def tell(
    story: Story, names: list[str], clock: Clock, look: Callable[[str], dict[str, Any]]
) -> tuple[Run, dict[int, dict[str, Any]]]:
    """A run that is told event by event, and what its page showed after each."""
    if names:
        run = actions.launch(definition=make_definition(*names), run_name="r", upstream=make_upstream())
    else:
        run = actions.attach(flow_name="Nightly", run_name="r", upstream=make_upstream())
    hand, pages = Hand(store.claim("me", 1)[0]), {}
    for payload in story:
        if payload == GAP:
            hand.write(gap=store.OpenGap("disconnected", hand.seq, START + 2, START + 3))
            continue
        assert isinstance(payload, dict)
        hand.write(payload)
        Run.objects.filter(pk=run.pk, status__in=Run.GOING_ON).update(status="running", connection="live")
        clock.moment = max(clock.moment, payload["timestamp"])
        pages[hand.seq] = look(f"/runs/{run.pk}/?view=graph")
    run.refresh_from_db()
    return run, pages


STORIES: dict[str, tuple[Story, list[str]]] = {
    "customer support": (seed("customer_support"), []),
    "financial data": (seed("financial_data"), []),
    "failing": (FAILING, ["fetch", "clean"]),
    "odd": (list(ODD), ["a", "b", "c", "d"]),
}


@pytest.fixture
def page(client_as: SignIn) -> Callable[[str], str]:
    client = client_as("operator")

    def get(path: str) -> str:
        answer = client.get(path)
        assert answer.status_code == 200
        return str(answer.content.decode())

    return get


@pytest.mark.parametrize("name", STORIES)
def test_every_past_is_what_the_page_showed_then(
    name: str, page: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(scene, "time", clock)
    run, pages = tell(*STORIES[name], clock, lambda path: shown(page(path)))
    monkeypatch.undo()
    assert run.last_seq == len(pages) > 2
    for seq, then in pages.items():
        html = page(f"/runs/{run.pk}/?at={seq}&view=graph")
        assert shown(html) == then, seq
        assert f"after event {seq} of {run.last_seq}" in html
    assert shown(page(f"/runs/{run.pk}/?at={run.last_seq}")) == shown(page(f"/runs/{run.pk}/"))


def test_before_the_first_event_all_is_still_to_come(page: Callable[[str], str]) -> None:
    run, _ = tell(*STORIES["failing"], Clock(), lambda path: {})
    html = page(f"/runs/{run.pk}/?at=0")
    assert re.findall(r'class="task s-(\w+)', html) == ["pending", "pending"]
    assert "before its first event of" in html
    assert 'data-status="launching"' in html
    assert 'id="log"></ol>' in html


def test_what_is_no_past_is_said_and_shown_as_it_is_now(page: Callable[[str], str]) -> None:
    run, _ = tell(*STORIES["failing"], Clock(), lambda path: {})
    now = shown(page(f"/runs/{run.pk}/"))
    for at, why in {
        "x": "“x” is not the number of an event, from 0 to 15.",
        "-1": "“-1” is not the number of an event",
        "16": "This run has no event 16: it has 15.",
        "999999999999999999": "is not the number of an event",
        "<b>": "“<b>” is not the number of an event",
    }.items():
        html = page(f"/runs/{run.pk}/?at={at}")
        assert why in unescape(html)
        assert shown(html) == now
        assert 'id="past" class="banners"></div>' in html


def test_only_so_many_events_can_be_gone_back_to(page: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = tell(*STORIES["failing"], Clock(), lambda path: {})
    monkeypatch.setattr(view, "MOST_EVENTS", 5)
    assert "Only the first 5 events of a run can be gone back to." in page(f"/runs/{run.pk}/?at=6")
    assert "after event 5 of 15" in page(f"/runs/{run.pk}/?at=5")


def test_a_lost_run_was_going_on_after_its_last_event(page: Callable[[str], str]) -> None:
    run = make_run(status="lost", notice="Nobody knows.", connection="closed", attached=True)
    make_event(run, payload=started("fetch"))
    html = page(f"/runs/{run.pk}/?at=1")
    assert 'data-status="running"' in html
    assert "now it is <b>lost</b>" in html
    assert "Nobody knows." not in html


def test_parts_of_a_page_are_of_its_past(page: Callable[[str], str]) -> None:
    run, _ = tell(*STORIES["failing"], Clock(), lambda path: {})
    path = f"/runs/{run.pk}/"
    assert "pill-failed" in page(f"{path}task/?key=fetch&at=3")
    assert "pill-succeeded" in page(f"{path}task/?key=fetch")
    assert "Nothing had been heard of this task by then." in page(f"{path}task/?key=id-part-3&at=3")
    assert "rows" not in page(f"{path}task/?key=fetch&at=3")
    assert re.findall(r'id="e-(\d+)"', page(f"{path}events/?first=2&at=4")) == ["2", "3", "4"]
    assert page(f"{path}events/?first=5&at=4") == ""
    assert json.loads(page(f"{path}place/?after=&at=3"))["line"] == 0
    assert json.loads(page(f"{path}place/?after=&at=5"))["line"] is None
    assert json.loads(page(f"{path}place/?key=id-part-3&fold=0&at=5"))["line"] is None
    assert json.loads(page(f"{path}place/?key=id-part-3&fold=0"))["line"] is not None
    assert json.loads(page(f"{path}times/?after=12"))["times"] == [START + 7, START + 8, START + 9]


async def test_a_page_goes_to_a_past_and_comes_back(in_memory_layer: None) -> None:
    run, _ = await in_thread(lambda: tell(*STORIES["failing"], Clock(), lambda path: {}))
    async with opened(run) as tab:
        await tab.acknowledge(at="3", turn="2")
        message = await tab.take()
        assert message.startswith("<!--2-->")
        assert tab.said["shows"] == "3"
        assert tab.events == [1, 2, 3]
        assert [re.search(r'data-state="(\w+)"', row)[1] for row in tab.tasks.values()] == ["failed", "pending"]  # type: ignore[index]
        assert "after event 3 of 15" in parts_of(message)["#past"]

        # What comes meanwhile is told in numbers; what it shows of the past stays. A retry is told of in the banners.
        await in_thread(lambda: make_event(Run.objects.get(pk=run.pk)))
        await tab.acknowledge(at="3")
        await publish.ring({run.pk})
        message = await tab.take()
        assert parts_of(message).keys() == {"#banners", "#past", "#travel-where", "#rows-in", "#sync"}
        assert TASK.findall(message) == []
        assert "after event 3 of 16" in message

        # Another filter is another part of the same past.
        await tab.acknowledge(at="3", wants="1", view="state=failed")
        await tab.take()
        assert ['data-name="fetch"' in row for row in tab.tasks.values()] == [True]

        await tab.acknowledge(at="")
        message = await tab.take()
        assert parts_of(message)["#past"].count("<") == 2
    fresh, _ = await in_thread(lambda: render.body(render.read_run(run.pk), Asked()))
    assert [plain(row) for row in tab.tasks.values()] == [plain(row[0]) for row in TASK.finditer(fresh)]
    assert tab.events == list(range(1, 17))
    assert {"#run-head", "#progress", "#failure", "#io", "#state-chips"} <= parts_of(message).keys()


async def test_a_past_that_there_is_not_is_answered_once(in_memory_layer: None) -> None:
    run, _ = await in_thread(lambda: tell(*STORIES["failing"], Clock(), lambda path: {}))
    async with opened(run) as tab:
        await tab.acknowledge(at="99", wants="1")
        await tab.take()
        assert tab.said["shows"] == ""
        await tab.acknowledge(at="99")
        assert await tab.socket.receive_nothing(0.3)
