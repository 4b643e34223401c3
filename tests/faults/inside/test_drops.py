"""The upstream drops after any event, in any way, and sends again nothing, something or everything: all of it is kept
once, and a gap is shown just where one was possible.
"""

import itertools
import json
import random
import time
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from runs.upstream import stream
from tests.faults.inside.many import EXAMPLES, Case, Example, Found, Kept, Script, stage
from tests.faults.ledger import Ledger, size
from tests.faults.proxy import Link
from tests.worker.conftest import soon  # noqa: F401  # the same waits as in earnest, only shorter

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

WAYS = ("close 1000", "close 1011", "reset", "half-open")
REPLAYS = ("none", "all", "last 3", "reordered")


@pytest.fixture(autouse=True)
def patient(soon: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:  # noqa: F811
    """What decides about a gap or an end must not be decided by a machine that is busy with other things."""
    settings.LINGER_SECONDS = 1.0
    monkeypatch.setattr(stream, "KEEPALIVE_SECONDS", 2.0)


def again(frames: list[str], *, after: int, replay: str) -> list[str]:
    """What the upstream sends to the second connection."""
    match replay:
        case "none":
            return frames[after:]
        case "all":
            return frames
        case "last 3":
            return frames[max(0, after - 3) :]
        case _:
            return random.Random(after).sample(frames, len(frames))


def dropping(after: int, way: str, second: Callable[[list[str]], list[str]], missed: int = 0) -> Script:
    """After so many events the connection is lost in this way; the next one gets what `second` picks from the frames.

    `missed`: how many frames the upstream still sends where it cannot know that nobody hears it.
    """

    async def script(case: Case, socket: ServerConnection, link: Link) -> None:
        if link.number == 0:
            await case.launched.wait()  # before the launch, nothing could be missed
            await case.deliver(socket, case.frames[:after])
            case.dropped_at = time.time()
            await drop(case, socket, link, way)
            if way == "half-open":
                for frame in case.frames[after : after + missed]:
                    await socket.send(frame)
        else:
            await case.deliver(socket, second(case.frames))
        await socket.wait_closed()

    return script


async def drop(case: Case, socket: ServerConnection, link: Link, way: str) -> None:
    match way:
        case "reset":
            link.strike("reset")
        case "half-open":
            link.strike("hole")
        case _:
            await socket.close(int(way.removeprefix("close ")))
            case.injected += socket.protocol.close_rcvd is not None


def undisturbed(example: Example) -> Case:
    """What the others are compared with."""

    async def script(case: Case, socket: ServerConnection, link: Link) -> None:
        await case.launched.wait()
        await case.deliver(socket, case.frames)
        await socket.wait_closed()

    return Case(f"{example.name}, undisturbed", example, script)


def look_at_the_gap(found: Found, case: Case, kept: Kept) -> None:
    for gap in kept.gaps:
        assert gap.started_at is not None
        assert gap.ended_at is not None
        found.expect(case, "reason of the gap", gap.reason, "disconnected")
        found.expect(case, "gap from before to after", gap.started_at < gap.ended_at, True)
        if not gap.detail.startswith("closed"):  # nobody said so: it was away from when it was last heard
            found.expect(case, "gap from the drop on", gap.started_at <= case.dropped_at, True)


async def test_after_a_drop_all_that_came_is_kept_once_and_a_gap_shown_where_one_was_possible(ledger: Ledger) -> None:
    cases = [undisturbed(example) for example in EXAMPLES]
    for example in EXAMPLES:
        number = len(example.frames)
        ks = size([0, number // 2, number], list(range(number + 1)))
        for after, way, replay in itertools.product(ks, WAYS, REPLAYS):
            name = f"{example.name}, {way}, after {after}, {replay}"
            script = dropping(after, way, partial(again, after=after, replay=replay))
            cases.append(Case(name, example, script, gaps=int(after < number), after=after))
    found = Found()
    right: dict[str, Any] = {}  # by example: the state at the end
    async with stage() as playing:
        async for case, kept, launches in playing.play(cases):
            found.look(case, kept, launches)
            found.expect(case, "state", kept.facts, right.setdefault(case.example.name, kept.facts))
            look_at_the_gap(found, case, kept)
    assert found.problems == []
    ledger.enter(
        "upstream drops after event k, and sends again",
        times=len(cases) - len(EXAMPLES), injected=found.injected, lost=found.lost, doubled=found.doubled,
    )  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.name for example in EXAMPLES])
async def test_what_was_sent_while_nobody_was_connected_is_missing_and_the_run_ends_all_the_same(
    example: Example, ledger: Ledger
) -> None:
    number = len(example.frames)
    cases = []
    ks = size([1, number - 1], list(range(number)))
    for after, way in itertools.product(ks, WAYS):
        for missed in sorted({1, number - after}):
            name = f"{example.name}, {way}, after {after}, {missed} missed"
            script = dropping(after, way, itemgetter(slice(after + missed, None)), missed)
            cases.append(Case(name, example, script, gaps=1, after=after))
    found = Found()
    async with stage() as playing:
        playing.upstream.status_answer = (200, {"status": example.reported, "results": {}})
        async for case, kept, launches in playing.play(cases):
            found.look(case, kept, launches)
            look_at_the_gap(found, case, kept)
            came = [json.loads(frame) for frame in case.delivered]
            ended = {event["event_type"] for event in came} & {"flow_completed", "flow_error"}
            found.expect(case, "inferred end", kept.run.inferred, not ended)
            known = {event["task_name"] for event in came if event["event_type"] in ("task_completed", "task_failed")}
            told = {key for key, task in kept.tasks.items() if not task["inferred"]}
            found.expect(case, "tasks whose end was told", told, known)
    assert found.problems == []
    ledger.enter(
        "upstream drops after event k, and what it sends meanwhile is missing",
        times=len(cases), injected=found.injected, lost=found.lost, doubled=found.doubled,
    )  # fmt: skip
