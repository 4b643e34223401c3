"""task-status as the last word on a run whose stream has ended without one, whatever else its answer holds."""

import asyncio
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from runs.models import Event, Upstream
from runs.worker.db import on_thread
from runs.worker.supervisor import Supervisor
from tests import seed
from tests.scripted import ScriptedUpstream, hold
from tests.worker.conftest import Ended, launch
from tests.worker.test_follow import SUPPORT_DEFINITION, TICKET

pytestmark = pytest.mark.django_db(transaction=True)

ANSWERS: dict[str, Any] = {
    "plain": {"status": "completed", "results": {"sentiment_analyzer": 1}},
    "about another run": {"status": "completed", "flow_name": "another", "run_name": "another"},
    "nested too deeply": '{"status": "completed", "results": ' + "[" * 200 + "]" * 200 + "}",
    "not a number": '{"status": "completed", "results": {"sentiment_analyzer": NaN}}',
    "an event itself": {"status": "completed", "event_type": "flow_error", "type": "ping", "timestamp": "soon"},
    "half a character": '{"status": "completed", "results": {"sentiment_analyzer": "\\ud800\\u0000"}}',
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_an_answer_that_says_over_settles_the_run(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended, what: str
) -> None:
    async def visit(socket: ServerConnection, number: int) -> None:
        while not upstream.launches:
            await asyncio.sleep(0.01)
        if number:
            await hold(socket, number)
        await socket.send(seed.frames("customer_support")[0])
        upstream.status_answer = (200, ANSWERS[what])

    upstream.visit = visit
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert (run.status, run.inferred, run.gap_count) == ("succeeded", True, 1)
    report = await on_thread(Event.objects.get, run=run, source="status")
    assert report.event_type == "stepline.task_status"
    assert upstream.status_questions < 20


async def test_an_answer_that_says_it_goes_on_leaves_the_run_alone(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    frames = seed.frames("customer_support")

    async def visit(socket: ServerConnection, number: int) -> None:
        if number == 0:
            while not upstream.launches:
                await asyncio.sleep(0.01)
            await socket.send(frames[0])
            return
        while upstream.status_questions < 3:
            await asyncio.sleep(0.01)
        for frame in frames[1:]:
            await socket.send(frame)
        await hold(socket, number)

    upstream.visit = visit
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert (run.status, run.inferred, run.last_seq) == ("succeeded", False, len(frames))


async def test_one_answer_alone_is_not_believed_while_events_may_be_on_their_way(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended, settings: Any
) -> None:
    settings.LINGER_SECONDS = 1.5
    frames = seed.frames("customer_support")

    async def visit(socket: ServerConnection, number: int) -> None:
        if number == 0:
            while not upstream.launches:
                await asyncio.sleep(0.01)
            await socket.send(frames[0])
            upstream.status_answer = (200, {"status": "failed"})
            return
        while not upstream.status_questions:
            await asyncio.sleep(0.01)
        for frame in frames[1:]:
            await socket.send(frame)
        await hold(socket, number)

    upstream.visit = visit
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert (run.status, run.inferred, run.conflict) == ("succeeded", False, False)
