"""What is told of a run that does not simply end: silent, overdue, lost; and what is launched again by itself."""

import asyncio
from typing import Any
from urllib.parse import unquote

import pytest
from websockets.asyncio.server import ServerConnection

from runs import actions, store
from runs.core import progress
from runs.core.times import ENOUGH_RUNS
from runs.models import Run, Upstream, Workflow
from runs.worker import backstop, follow, launching
from runs.worker.db import on_thread
from runs.worker.supervisor import Supervisor
from tests import seed
from tests.scripted import ScriptedUpstream, Visit, eventually, hold, saying
from tests.worker.conftest import Ended, attach, launch
from tests.worker.test_follow import BATCH, FINANCE, SUPPORT, SUPPORT_DEFINITION, TICKET, definition

pytestmark = pytest.mark.django_db(transaction=True)

FINANCE_DEFINITION = definition(FINANCE, "validate_financial_data")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(follow, "LEAST_PATIENCE", 0.1)
    monkeypatch.setattr(progress, "LEAST_PATIENCE", 0.1)
    settings.SILENT_AFTER_SECONDS = 0.3


async def until(run: Run, **fields: Any) -> Run:
    await eventually(lambda: on_thread(Run.objects.filter(pk=run.pk, **fields).exists))
    return await on_thread(Run.objects.get, pk=run.pk)


async def silent(run: Run) -> Run:
    return await until(run, silent_since__isnull=False)


async def save(upstream: Upstream, definition: dict[str, Any], **fields: Any) -> Workflow:
    """A workflow, watched in shorter times than a person may set."""
    workflow = await on_thread(actions.save_workflow, upstream=upstream, definition=definition)
    await on_thread(Workflow.objects.filter(pk=workflow.pk).update, **fields)
    return await on_thread(Workflow.objects.select_related("upstream").get, pk=workflow.pk)


def playing(kind: str, run_name: str, most: int = 99) -> Visit:
    """Plays a seed run, or its first frames, under the name by which it is asked for."""

    async def visit(socket: ServerConnection, number: int) -> None:
        assert socket.request is not None
        name = unquote(socket.request.path).rsplit("/", 1)[1]
        frames = [frame.replace(run_name, name) for frame in seed.frames(kind)[:most]]
        await saying(*frames, then=hold)(socket, number)

    return visit


# --- silent ---------------------------------------------------------------------------------------------------------


async def test_a_run_that_says_nothing_for_long_is_silent_until_it_speaks_again(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended, impatient: None
) -> None:
    frames = seed.frames("customer_support")
    go = asyncio.Event()

    async def visit(socket: ServerConnection, number: int) -> None:
        await saying(*frames[:2])(socket, number)
        await go.wait()
        await saying(*frames[2:], then=hold)(socket, number)

    upstream.visit = visit
    quiet = await silent(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert (quiet.status, quiet.connection, quiet.overdue) == ("running", "live", False)
    before = quiet.rev
    go.set()
    run = await ended(quiet)
    assert (run.status, run.silent_since) == ("succeeded", None)
    assert run.rev > before


async def test_a_task_that_usually_takes_longer_is_not_called_silent_before(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    worker: Supervisor,
    ended: Ended,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream.visit = playing("customer_support", TICKET)
    for number in range(ENOUGH_RUNS):  # each time the first task takes 5.3 seconds by the upstream's clock
        await ended(await launch(upstream_row, SUPPORT_DEFINITION, f"before {number}"))
    learned = await on_thread(store.usual_times, upstream_row.pk, SUPPORT)
    assert learned.tasks["sentiment_analyzer"].p90 == pytest.approx(5.333, abs=0.001)
    assert learned.tasks["send_notifications"].p50 is None, "its end is only inferred"

    looked = asyncio.Event()

    def looking(*args: Any) -> float:
        looked.set()
        return patience(*args)

    patience = follow.patience
    monkeypatch.setattr(follow, "patience", looking)
    upstream.visit = playing("customer_support", TICKET, 2)
    run = await launch(upstream_row, SUPPORT_DEFINITION, "now")
    await looked.wait()
    await asyncio.sleep(1.0)
    assert (await until(run, last_seq=2)).silent_since is None


async def test_who_is_not_connected_hears_nothing_and_is_not_called_silent(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, impatient: None
) -> None:
    upstream.visit = saying(*seed.frames("customer_support")[:2])
    run = await launch(upstream_row, SUPPORT_DEFINITION, TICKET)
    await until(run, last_seq=2)
    await upstream.stop()
    run = await until(run, connection="reconnecting")
    await asyncio.sleep(0.8)
    run = await on_thread(Run.objects.get, pk=run.pk)
    assert (run.connection, run.silent_since, run.status) == ("reconnecting", None, "running")


# --- overdue --------------------------------------------------------------------------------------------------------


async def test_a_run_past_the_deadline_of_its_workflow_is_overdue_and_followed_to_its_end(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    go = asyncio.Event()

    async def visit(socket: ServerConnection, number: int) -> None:
        await go.wait()
        await saying(*seed.frames("customer_support"), then=hold)(socket, number)

    upstream.visit = visit
    workflow = await save(upstream_row, SUPPORT_DEFINITION, deadline_seconds=0.3)
    run = await on_thread(actions.launch, workflow=workflow, run_name=TICKET)
    late = await until(run, overdue=True)
    assert not late.ended
    go.set()
    run = await ended(run)
    assert (run.status, run.overdue, run.last_seq) == ("succeeded", True, 7)


async def test_a_run_that_somebody_else_started_has_the_deadline_of_its_workflow_too(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor
) -> None:
    await save(upstream_row, SUPPORT_DEFINITION, deadline_seconds=0.3)
    await until(await attach(upstream_row, SUPPORT, TICKET), overdue=True)


# --- lost -----------------------------------------------------------------------------------------------------------


async def test_a_run_of_which_nothing_is_heard_for_long_is_lost(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    worker: Supervisor,
    ended: Ended,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follow, "LOST_GRACE_SECONDS", 0.0)
    settings.LOST_AFTER_SECONDS = 0.5
    run = await ended(await attach(upstream_row, FINANCE, "nobody"))
    assert run.status == "lost"
    assert "Nothing was heard of it for 0.5 s" in run.notice


async def test_an_upstream_that_says_that_the_run_goes_on_keeps_it_from_being_lost(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    worker: Supervisor,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follow, "LOST_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(backstop, "QUIET_SECONDS", 0.05)
    settings.LOST_AFTER_SECONDS = 1.0
    upstream.visit = saying(*seed.frames("customer_support")[:2], then=hold)
    run = await launch(upstream_row, SUPPORT_DEFINITION, TICKET)

    async def asked_for_long() -> bool:
        return upstream.status_questions >= 30

    await eventually(asked_for_long)
    assert (await on_thread(Run.objects.get, pk=run.pk)).status == "running"
    upstream.status_answer = (404, {"message": "no such task"})
    await until(run, status="lost")


async def test_a_run_taken_up_after_a_long_time_is_not_lost_before_the_upstream_was_asked(
    upstream: ScriptedUpstream, upstream_row: Upstream, ended: Ended, settings: Any
) -> None:
    upstream.visit = saying(*seed.frames("customer_support"), then=hold)
    run = await attach(upstream_row, SUPPORT, TICKET)
    settings.LOST_AFTER_SECONDS = 1.0
    await asyncio.sleep(1.2)
    working = Supervisor("late")
    task = asyncio.create_task(working.run())
    assert (await ended(run)).status == "succeeded"
    working.stop()
    await task


# --- retries --------------------------------------------------------------------------------------------------------


async def retries(run: Run) -> list[Run]:
    return await on_thread(lambda: list(Run.objects.filter(retry_of=run).order_by("pk")))


async def test_a_run_that_failed_with_a_listed_error_is_launched_again_so_many_times(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = playing("financial_data", BATCH)
    workflow = await save(
        upstream_row, FINANCE_DEFINITION, retry_limit=2, retry_pause=0.1, retry_on=["DataValidationError"]
    )
    first = await ended(await on_thread(actions.launch, workflow=workflow, run_name=BATCH, inputs={"day": 15}))

    async def both() -> bool:
        found = await retries(first)
        return len(found) == 2 and all(run.ended for run in found)

    await eventually(both)
    again = await retries(first)
    assert [(run.run_name, run.retry_number, run.status) for run in again] == [
        (f"{BATCH}-retry-1", 1, "failed"),
        (f"{BATCH}-retry-2", 2, "failed"),
    ]
    assert [body["run_name"] for body in upstream.launches] == [BATCH, *(run.run_name for run in again)]
    assert [body["default_inputs"] for body in upstream.launches] == [{"day": 15}] * 3
    for run in again:
        await ended(run)
    assert await on_thread(Run.objects.count) == 3


@pytest.mark.parametrize(
    "policy",
    [
        {"retry_limit": 0, "retry_on": ["DataValidationError"]},
        {"retry_limit": 3, "retry_on": []},
        {"retry_limit": 3, "retry_on": ["TimeoutError"]},
    ],
    ids=["never", "no error listed", "another error listed"],
)
async def test_one_that_failed_otherwise_is_not(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended, policy: dict[str, Any]
) -> None:
    upstream.visit = saying(*seed.frames("financial_data"), then=hold)
    workflow = await save(upstream_row, FINANCE_DEFINITION, retry_pause=0.0, **policy)
    run = await ended(await on_thread(actions.launch, workflow=workflow, run_name=BATCH))
    assert run.status == "failed"
    assert await retries(run) == []


async def test_a_retry_whose_name_is_taken_gets_another(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = saying(*seed.frames("financial_data"), then=hold)
    await attach(upstream_row, FINANCE, f"{BATCH}-retry-1")
    workflow = await save(
        upstream_row, FINANCE_DEFINITION, retry_limit=1, retry_pause=60.0, retry_on=["PipelineHaltedError"]
    )
    run = await ended(await on_thread(actions.launch, workflow=workflow, run_name=BATCH))
    (again,) = await retries(run)
    assert again.run_name.startswith(f"{BATCH}-retry-1-")
    assert again.status == "queued"


# --- a name in use ---------------------------------------------------------------------------------------------------


async def test_a_run_whose_events_come_before_its_launch_is_followed_and_not_launched(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    worker: Supervisor,
    ended: Ended,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launching, "RETRY_SECONDS", (60.0,))

    async def visit(socket: ServerConnection, number: int) -> None:
        await eventually(lambda: on_thread(Run.objects.filter(notice__contains="cannot be reached").exists))
        await saying(*seed.frames("customer_support"), then=hold)(socket, number)

    upstream.visit = visit
    await on_thread(Upstream.objects.update, api_url="http://127.0.0.1:9")
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert (run.status, run.last_seq, upstream.launches) == ("succeeded", 7, [])
    assert f"Events of a run named {TICKET} came before it was launched" in run.notice
