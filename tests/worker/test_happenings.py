"""What a follower leaves for whoever tells people."""

from typing import Any

import pytest

from runs import actions
from runs.core import progress
from runs.models import Happening, Run, Task, Upstream, Workflow
from runs.worker import follow
from runs.worker.db import on_thread
from runs.worker.supervisor import Supervisor
from tests import seed
from tests.scripted import ScriptedUpstream, eventually, hold, saying
from tests.worker.conftest import Ended, attach, launch
from tests.worker.test_follow import BATCH, FINANCE, SUPPORT, SUPPORT_DEFINITION, TICKET

pytestmark = pytest.mark.django_db(transaction=True)


async def happenings(run: Run) -> list[Happening]:
    return await on_thread(lambda: list(Happening.objects.filter(run_id=run.pk).order_by("pk")))


async def kinds(run: Run) -> list[str]:
    return [happening.kind for happening in await happenings(run)]


async def test_a_run_that_succeeds_leaves_one(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = saying(*seed.frames("customer_support"), then=hold)
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    (happening,) = await happenings(run)
    assert (happening.kind, happening.at, happening.seq) == ("run-succeeded", run.finished_at, run.output_seq)


async def test_a_run_that_fails_leaves_each_failed_task_and_its_own_failure_masked(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    secret = "sk-live-0123456789abcdef0123"
    frames = [frame.replace("Missing", f"{secret} Missing") for frame in seed.frames("financial_data")]
    upstream.visit = saying(*frames, *frames, then=hold)
    run = await ended(await attach(upstream_row, FINANCE, BATCH))
    found = await happenings(run)
    failed = await on_thread(lambda: list(Task.objects.filter(run_id=run.pk, status="failed")))
    assert failed
    assert [one.kind for one in found] == ["task-failed"] * len(failed) + ["run-failed"]
    assert {one.task_key for one in found[:-1]} == {task.key for task in failed}
    assert [one.error for one in found[:-1]] == [task.error for task in failed]
    assert (found[-1].error, found[-1].seq) == (run.error, run.error_seq)
    assert secret not in str([one.error for one in found])


async def test_a_refused_launch_leaves_one(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.launch_answer = (422, {"message": "no such agent"})
    assert await kinds(await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))) == ["run-refused"]


async def test_a_lost_run_leaves_one(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    worker: Supervisor,
    ended: Ended,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    settings.LOST_AFTER_SECONDS = 0.3
    monkeypatch.setattr(follow, "LOST_GRACE_SECONDS", 0.3)
    upstream.visit = saying(*seed.frames("customer_support")[:1], then=hold)
    run = await ended(await attach(upstream_row, SUPPORT, TICKET))
    assert (run.status, await kinds(run)) == ("lost", ["run-lost"])


async def test_a_run_that_somebody_stops_leaves_none(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = saying(*seed.frames("customer_support")[:1], then=hold)
    run = await attach(upstream_row, SUPPORT, TICKET)
    await eventually(lambda: on_thread(Run.objects.filter(pk=run.pk, last_seq=1).exists))
    await on_thread(actions.stop_watching, await on_thread(Run.objects.get, pk=run.pk))
    assert await kinds(await ended(run)) == []


async def test_a_silent_run_leaves_one_for_each_silence(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    worker: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    monkeypatch.setattr(follow, "LEAST_PATIENCE", 0.1)
    monkeypatch.setattr(progress, "LEAST_PATIENCE", 0.1)
    settings.SILENT_AFTER_SECONDS = 0.3
    upstream.visit = saying(*seed.frames("customer_support")[:2], then=hold)
    run = await attach(upstream_row, SUPPORT, TICKET)
    await eventually(lambda: on_thread(Run.objects.filter(pk=run.pk, silent_since__isnull=False).exists))
    assert await kinds(run) == ["run-silent"]


async def test_an_overdue_run_leaves_one_and_no_second_when_it_ends(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    frames = seed.frames("customer_support")

    async def until_overdue(socket: Any, number: int) -> None:
        await saying(*frames[:2])(socket, number)
        await eventually(lambda: on_thread(Run.objects.filter(overdue=True).exists))
        await saying(*frames[2:], then=hold)(socket, number)

    upstream.visit = until_overdue
    workflow = await on_thread(actions.save_workflow, upstream=upstream_row, definition=SUPPORT_DEFINITION)
    await on_thread(Workflow.objects.filter(pk=workflow.pk).update, deadline_seconds=0.5)
    workflow = await on_thread(Workflow.objects.select_related("upstream").get, pk=workflow.pk)
    run = await ended(await on_thread(actions.launch, workflow=workflow, run_name=TICKET))
    assert sorted(await kinds(run)) == ["run-overdue", "run-succeeded"]
