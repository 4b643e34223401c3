"""From an upstream's socket to the rows: real sockets, a scripted upstream, the seed's own frames."""

import asyncio
import json
from typing import Any

import pytest
from cryptography.fernet import Fernet
from websockets.asyncio.server import ServerConnection

from runs import actions, store, vault
from runs.core import plan as plans
from runs.models import Event, Gap, Rejected, Run, Task, Upstream
from runs.worker.db import on_thread
from runs.worker.supervisor import Supervisor
from tests import seed
from tests.scripted import ScriptedUpstream, eventually, hold, saying
from tests.worker.conftest import Ended, attach, launch

pytestmark = pytest.mark.django_db(transaction=True)

SUPPORT, TICKET = "Customer_Support_Pipeline", "ticket_78453"
FINANCE, BATCH = "Financial_Data_Pipeline", "daily_batch_20240215"
SECRETS = ("sk-prod-sentiment-key", "sf_prod_token_xyz", "prod-support-incidents")


def definition(flow_name: str, *names: str) -> dict[str, Any]:
    tasks = [{"name": name, "function": "call_lyzr_agent", "params": {"config": {}}} for name in names]
    for before, task in zip(names, tasks[1:], strict=False):
        task["params"]["input"] = {"depends": before}  # type: ignore[index]
    return {"flow_name": flow_name, "tasks": tasks, "default_inputs": {}}


SUPPORT_DEFINITION = definition(SUPPORT, "sentiment_analyzer", "update_salesforce", "send_notifications")


async def tasks(run: Run) -> dict[str, Task]:
    return {task.name: task for task in await on_thread(lambda: list(Task.objects.filter(run=run)))}


async def gaps(run: Run) -> list[Gap]:
    return await on_thread(lambda: list(Gap.objects.filter(run=run).order_by("pk")))


async def types(run: Run) -> list[str]:
    return await on_thread(
        lambda: list(Event.objects.filter(run=run).order_by("seq").values_list("event_type", flat=True))
    )


async def test_the_support_run_of_the_seed_ends_right(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = saying(*seed.frames("customer_support"), then=hold)
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert (run.status, run.tasks_total, run.tasks_succeeded, run.last_seq) == ("succeeded", 3, 3, 7)
    assert (run.execution_time, run.gap_count, run.conflict) == (13.41, 0, False)
    found = await tasks(run)
    assert {name: (task.status, task.inferred) for name, task in found.items()} == {
        "sentiment_analyzer": ("succeeded", False),
        "update_salesforce": ("succeeded", False),
        "send_notifications": ("succeeded", True),
    }
    terminal = await on_thread(Event.objects.get, run=run, seq=found["send_notifications"].output_seq)
    assert json.loads(terminal.payload)["output"]["send_notifications"]["pagerduty_incident"] == "PD-12345"
    assert upstream.launches[0]["run_name"] == TICKET


async def test_the_schema_of_the_inputs_is_not_sent(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = saying(*seed.frames("customer_support"), then=hold)
    schema = {"properties": {"city": {"default": "Oslo"}}}
    await ended(await launch(upstream_row, SUPPORT_DEFINITION | {"input_schema": schema}, TICKET))
    [sent] = upstream.launches
    assert sent["default_inputs"] == {"city": "Oslo"}
    assert "input_schema" not in sent


async def test_the_financial_run_of_the_seed_fails_with_its_error(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = saying(*seed.frames("financial_data"), then=hold)
    run = await ended(await launch(upstream_row, definition(FINANCE, "validate_financial_data"), BATCH))
    assert (run.status, run.tasks_total, run.tasks_failed) == ("failed", 1, 1)
    assert run.error == {
        "type": "PipelineHaltedError",
        "message": "Data quality threshold not met, stopping pipeline",
        "code": "QUALITY_THRESHOLD_FAILED",
    }
    task = (await tasks(run))["validate_financial_data"]
    assert task.error["type"] == "DataValidationError"


async def test_no_secret_of_the_seed_reaches_any_table(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = saying(*seed.frames("customer_support"), '{"api_key": "sk-prod-sentiment-key', then=hold)
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))

    def everything() -> str:
        rows = [*Event.objects.filter(run=run).values(), *Rejected.objects.values(), *Task.objects.values()]
        return json.dumps([*rows, *Run.objects.values()], default=str)

    kept = await on_thread(everything)
    assert "sentiment-v2" in kept
    assert not [secret for secret in SECRETS if secret in kept]
    assert run.rejected_count == 1


@pytest.mark.parametrize("dropped_after", range(8))
@pytest.mark.parametrize("replay", ["none", "all", "last 3"])
async def test_a_socket_that_drops_after_any_event_loses_nothing_that_is_sent_again_and_shows_the_gap(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    worker: Supervisor,
    ended: Ended,
    dropped_after: int,
    replay: str,
) -> None:
    frames = seed.frames("customer_support")
    again = {"none": dropped_after, "all": 0, "last 3": max(0, dropped_after - 3)}[replay]

    async def visit(socket: ServerConnection, number: int) -> None:
        if number == 0:
            while not upstream.launches:  # dropped after the launch, so that a gap is possible
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
        for frame in frames[:dropped_after] if number == 0 else frames[again:]:
            await socket.send(frame)
        if number == 0:
            socket.transport.abort()
        else:
            await hold(socket, number)

    upstream.visit = visit
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert (run.status, run.tasks_succeeded, run.last_seq) == ("succeeded", 3, len(frames))
    over = dropped_after == len(frames)
    assert run.gap_count == (0 if over else 1)
    for gap in await gaps(run):
        assert gap.reason == "disconnected"
        assert gap.ended_at is not None


async def test_a_run_attached_in_the_middle_shows_what_it_missed(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = saying(*seed.frames("customer_support")[3:], then=hold)
    run = await ended(await attach(upstream_row, SUPPORT, TICKET))
    assert (run.status, run.last_seq, run.gap_count) == ("succeeded", 4, 1)
    assert [(gap.reason, gap.started_at) for gap in await gaps(run)] == [("late", None)]
    assert not upstream.launches


async def test_an_attached_run_whose_beginning_is_sent_again_has_no_gap(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = saying(*seed.frames("financial_data"), then=hold)
    run = await ended(await attach(upstream_row, FINANCE, BATCH))
    assert (run.status, run.tasks_failed, run.gap_count) == ("failed", 1, 0)


async def test_the_socket_is_open_before_the_launch_and_names_are_percent_encoded(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    connected_at_launch: list[int] = []

    async def visit(socket: ServerConnection, number: int) -> None:
        connected_at_launch.append(len(upstream.launches))
        ended_frame = {"event_type": "flow_completed", "timestamp": 1756806000.5, "output": {"a": 1}}
        await socket.send(json.dumps(ended_frame))
        await hold(socket, number)

    upstream.visit = visit
    flow, name = "Flöw / 50 % #1?", "run with spaces/and .. slashes"
    run = await ended(await launch(upstream_row, definition(flow, "a"), name))
    assert connected_at_launch == [0]
    assert run.status == "succeeded"
    assert upstream.paths == [f"/ws/{flow}/{name}"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((422, {"detail": [{"loc": ["body", "tasks"], "msg": "field required"}]}), "field required"),
        ((400, {"message": "No call_lyzr_agent task is present"}), "No call_lyzr_agent task is present"),
        ((401, "go away"), "go away"),
    ],
)
async def test_a_refused_launch_says_what_the_upstream_said(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    worker: Supervisor,
    ended: Ended,
    answer: tuple[int, Any],
    words: str,
) -> None:
    upstream.launch_answer = answer
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert run.status == "rejected"
    assert words in run.notice
    assert str(answer[0]) in run.notice
    assert len(upstream.launches) == 1


async def test_an_upstream_that_is_down_at_the_launch_is_tried_again_until_it_is_up(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    ports = [int(url.rsplit(":", 1)[1]) for url in (upstream.socket_url, upstream.api_url)]
    await upstream.stop()
    run = await launch(upstream_row, SUPPORT_DEFINITION, TICKET)

    async def told() -> bool:
        return await on_thread(Run.objects.filter(pk=run.pk, notice__contains="cannot be reached").exists)

    await eventually(told)
    upstream.visit = saying(*seed.frames("customer_support"), then=hold)
    await upstream.start(*ports)
    run = await ended(run)
    assert (run.status, run.notice, len(upstream.launches)) == ("succeeded", "", 1)


async def test_an_upstream_that_stays_down_ends_the_launch_with_a_clear_word(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended, settings: Any
) -> None:
    settings.LAUNCH_DEADLINE_SECONDS = 0.3
    await upstream.stop()
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert run.status == "rejected"
    assert "could not be reached" in run.notice
    assert "Nothing was launched" in run.notice


async def test_a_launch_without_an_answer_is_unconfirmed_followed_and_never_sent_twice(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.launch_answer = None
    go = asyncio.Event()

    async def visit(socket: ServerConnection, number: int) -> None:
        await go.wait()
        await saying(*seed.frames("customer_support"), then=hold)(socket, number)

    upstream.visit = visit
    run = await launch(upstream_row, SUPPORT_DEFINITION, TICKET)

    async def unconfirmed() -> bool:
        return await on_thread(Run.objects.filter(pk=run.pk, notice__startswith="Launch unconfirmed").exists)

    await eventually(unconfirmed)
    go.set()
    run = await ended(run)
    assert (run.status, run.notice, len(upstream.launches)) == ("succeeded", "", 1)


async def test_an_unconfirmed_launch_of_which_nothing_comes_is_lost_not_failed(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended, settings: Any
) -> None:
    settings.LAUNCH_DEADLINE_SECONDS = 0.3
    upstream.launch_answer = (500, {"message": "oops"})
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert run.status == "lost"
    assert "500: oops" in run.notice


async def test_an_unconfirmed_launch_whose_events_come_is_followed_past_the_deadline_of_launches(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended, settings: Any
) -> None:
    settings.LAUNCH_DEADLINE_SECONDS = 0.3
    upstream.launch_answer = (502, "bad gateway")
    frames = seed.frames("customer_support")

    async def visit(socket: ServerConnection, number: int) -> None:
        while not upstream.launches:
            await asyncio.sleep(0.01)
        await socket.send(frames[0])
        await asyncio.sleep(1.0)
        await saying(*frames[1:], then=hold)(socket, number)

    upstream.visit = visit
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert (run.status, run.last_seq) == ("succeeded", 7)


async def test_what_the_upstream_says_when_it_closes_is_masked_before_it_is_kept(
    upstream: ScriptedUpstream,
    upstream_row: Upstream,
    worker: Supervisor,
    ended: Ended,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "sk-prod-ABCDEFGHIJKLMNOPQRSTUV"

    async def visit(socket: ServerConnection, number: int) -> None:
        frames = seed.frames("customer_support")
        await socket.send(frames[0] if number == 0 else frames[-1])
        if number == 0:
            await socket.close(1008, f"bad key {secret}")
        else:
            await hold(socket, number)

    upstream.visit = visit
    caplog.set_level("INFO")
    run = await ended(await attach(upstream_row, SUPPORT, TICKET))
    (gap,) = await gaps(run)
    assert "bad key [masked:" in gap.detail
    assert secret not in gap.detail + caplog.text


async def test_stopping_before_the_launch_says_that_nothing_was_launched(
    upstream: ScriptedUpstream, upstream_row: Upstream, ended: Ended
) -> None:
    run = await launch(upstream_row, SUPPORT_DEFINITION, TICKET)
    await on_thread(actions.stop_watching, run)
    working = Supervisor("late worker")
    task = asyncio.create_task(working.run())
    run = await ended(run)
    working.stop()
    await task
    assert (run.status, len(upstream.launches)) == ("stopped", 0)
    assert "Nothing was launched" in run.notice


async def test_a_launch_sealed_under_a_lost_key_is_not_sent_and_says_what_to_do(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended, settings: Any
) -> None:
    run = await on_thread(sealed_under_another_key, upstream_row, settings, Fernet.generate_key().decode())
    run = await ended(run)
    assert (run.status, len(upstream.launches)) == ("rejected", 0)
    assert "FERNET_KEYS" in run.notice


def sealed_under_another_key(upstream: Upstream, settings: Any, other: str) -> Run:
    known, settings.FERNET_KEYS = settings.FERNET_KEYS, [other]
    sealed = vault.seal({})
    settings.FERNET_KEYS = known
    return store.create_run(
        upstream=upstream,
        flow_name=SUPPORT,
        run_name=TICKET,
        user_id=None,
        definition=SUPPORT_DEFINITION,
        inputs={},
        sealed=sealed,
        plan=plans.read(SUPPORT_DEFINITION),
    )


async def test_the_end_that_was_sent_while_nobody_listened_is_found_by_task_status(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    frames = seed.frames("customer_support")

    async def visit(socket: ServerConnection, number: int) -> None:
        while not upstream.launches:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        if number == 0:
            for frame in frames[:3]:
                await socket.send(frame)
            upstream.status_answer = (
                200,
                {"status": "completed", "results": {"sentiment_analyzer": 1, "update_salesforce": 2}},
            )
        else:
            await hold(socket, number)

    upstream.visit = visit
    run = await ended(await launch(upstream_row, SUPPORT_DEFINITION, TICKET))
    assert (run.status, run.inferred, run.gap_count) == ("succeeded", True, 1)
    found = {name: (task.status, task.inferred) for name, task in (await tasks(run)).items()}
    assert found == {
        "sentiment_analyzer": ("succeeded", False),
        "update_salesforce": ("succeeded", True),
        "send_notifications": ("unknown", True),
    }


async def test_bad_frames_go_to_quarantine_and_the_next_good_event_lands(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    good = seed.frames("financial_data")
    bad = ["{", "[]", '{"event_type": "x", "run_name": "another"}', "{"]
    mixed = [frame for pair in zip(bad, good, strict=True) for frame in pair]
    upstream.visit = saying(*mixed, "Echoing: hello", '{"type": "pong"}', then=hold)
    run = await ended(await launch(upstream_row, definition(FINANCE, "validate_financial_data"), BATCH))
    assert (run.status, run.last_seq, run.rejected_count) == ("failed", 4, 4)
    rows = await on_thread(lambda: {(row.reason, row.count) for row in Rejected.objects.filter(run=run)})
    assert rows == {("invalid-json", 2), ("not-an-object", 1), ("other-run", 1)}


async def test_repeats_without_a_timestamp_are_events_of_their_own_within_a_connection_and_replays_across(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    beat = json.dumps({"event_type": "heartbeat", "flow_name": FINANCE})
    stamped = json.dumps({"event_type": "heartbeat", "flow_name": FINANCE, "timestamp": 1756806200.5})

    async def visit(socket: ServerConnection, number: int) -> None:
        for frame in (beat, beat, stamped, stamped):
            await socket.send(frame)
        if number == 1:
            await socket.send(beat)
            await saying(*seed.frames("financial_data"), then=hold)(socket, number)

    upstream.visit = visit
    run = await ended(await attach(upstream_row, FINANCE, BATCH))
    assert (await types(run)).count("heartbeat") == 4
    receipts = await on_thread(
        lambda: list(
            Event.objects.filter(run=run, event_type="heartbeat").order_by("seq").values_list("occurrence", "receipts")
        )
    )
    assert receipts == [(0, 2), (1, 2), (0, 4), (2, 1)]


async def test_stopping_to_watch_ends_the_following_and_says_so(
    upstream: ScriptedUpstream, upstream_row: Upstream, worker: Supervisor, ended: Ended
) -> None:
    upstream.visit = saying(*seed.frames("customer_support")[:2], then=hold)
    run = await launch(upstream_row, SUPPORT_DEFINITION, TICKET)

    async def running() -> bool:
        return await on_thread(Run.objects.filter(pk=run.pk, last_seq=2).exists)

    await eventually(running)
    await on_thread(actions.stop_watching, await on_thread(Run.objects.get, pk=run.pk))
    run = await ended(run)
    assert run.status == "stopped"
    assert "goes on at the upstream" in run.notice
