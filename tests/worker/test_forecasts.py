"""A follower foresees its run's end by what earlier runs took, writes that with each change, and teaches the next."""

import asyncio
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from runs import store
from runs.core.times import ENOUGH_RUNS
from runs.models import Run, Task, Upstream, UsualTimes
from runs.worker.db import on_thread
from runs.worker.supervisor import Supervisor
from tests import seed
from tests.scripted import ScriptedUpstream, eventually, hold, saying
from tests.worker.conftest import Ended, launch
from tests.worker.test_follow import SUPPORT, SUPPORT_DEFINITION, TICKET
from tests.worker.test_watching import playing, until

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_run_of_a_known_flow_has_a_forecast_until_it_ends(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    worker: Supervisor,
    ended: Ended,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream.visit = playing("customer_support", TICKET)
    for number in range(ENOUGH_RUNS):
        before = await ended(await launch(upstream_row, SUPPORT_DEFINITION, f"before {number}"))
        assert before.forecast is None
    asked: list[str] = []
    read = store.usual_times
    monkeypatch.setattr(store, "usual_times", lambda *flow: asked.append(flow[1]) or read(*flow))

    frames, go = seed.frames("customer_support"), asyncio.Event()

    async def visit(socket: ServerConnection, number: int) -> None:
        await saying(*frames[:2])(socket, number)
        await go.wait()
        for frame in frames[2:]:
            await saying(frame)(socket, number)
            await asyncio.sleep(0.02)  # each in a write of its own
        await hold(socket, number)

    upstream.visit = visit
    run = await until(await launch(upstream_row, SUPPORT_DEFINITION, TICKET), last_seq=2)
    assert run.forecast is not None
    first = await on_thread(Task.objects.get, run=run, name="sentiment_analyzer")
    assert first.status == "running"
    assert first.usual_p90 == pytest.approx(5.333, abs=0.001)
    assert run.forecast["overruns_at"] == pytest.approx(first.started_at + first.usual_p90 + 1, abs=0.01)
    go.set()
    run = await ended(run)
    assert (run.status, run.forecast) == ("succeeded", None)
    assert asked == [SUPPORT, SUPPORT], "once when it was made, once when somebody began to follow it"

    async def learned() -> bool:
        row = await on_thread(UsualTimes.objects.get)
        return [entry[0] for entry in row.whole][-1:] == [run.pk]

    await eventually(learned)


async def test_a_run_that_is_stopped_or_fails_leaves_no_forecast_and_teaches_nothing(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = playing("customer_support", TICKET)
    for number in range(ENOUGH_RUNS):
        await ended(await launch(upstream_row, SUPPORT_DEFINITION, f"before {number}"))
    taught: Any = (await on_thread(UsualTimes.objects.get)).whole
    upstream.visit = playing("customer_support", TICKET, 2)
    run = await until(await launch(upstream_row, SUPPORT_DEFINITION, TICKET), last_seq=2)
    assert run.forecast is not None
    await on_thread(store.request_stop, run.pk)
    stopped = await ended(run)
    assert (stopped.status, stopped.forecast) == ("stopped", None)
    assert (await on_thread(UsualTimes.objects.get)).whole == taught
    assert await on_thread(Run.objects.filter(forecast__isnull=False).count) == 0
