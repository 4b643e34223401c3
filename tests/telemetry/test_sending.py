"""Who gets a trace, and when: at least once, the same each time, one worker at a time, for as long as it takes."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from django.db import OperationalError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from runs import store
from runs.models import EpochNow, Run, UnsentTrace
from runs.worker.db import on_thread
from telemetry import outbox, senders, sending
from telemetry.sending import TraceSender
from tests.factories import START, make_run, make_stream, make_task
from tests.receiver import Receiver
from tests.scripted import eventually
from tests.store.conftest import Hand
from tests.telemetry.collector import all_spans, requests, spans_of, values

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("soon")]

SITE = "https://runs.example.com"


def ended(number: int = 1, tasks: int = 0) -> list[Run]:
    """Runs whose followers have just let them go."""
    runs = [make_run(status=Run.Status.SUCCEEDED, finished_at=START + 9, connection="closed") for _ in range(number)]
    for run in runs:
        UnsentTrace.objects.create(run=run, next_at=0.0)
        for key in range(tasks):
            one = {"started_at": START, "finished_at": START + 1, "status": "succeeded", "inferred": False}
            make_task(run, f"task {key}", attempts=[one], position=key)
    return runs


type StartOne = Callable[[str], Awaitable[TraceSender]]


@pytest_asyncio.fixture
async def start() -> Any:
    """Starts a further sender of this process."""
    started: list[tuple[TraceSender, asyncio.Task[None]]] = []

    async def one(name: str) -> TraceSender:
        sender = TraceSender(name, SITE)
        started.append((sender, asyncio.create_task(sender.run())))
        return sender

    yield one
    for sender, _ in started:
        sender.stop()
    await asyncio.gather(*(task for _, task in started))


async def until_none_is_left() -> None:
    async def none() -> bool:
        return not await on_thread(UnsentTrace.objects.exists)

    await eventually(none, 40)


def heard(receiver: Receiver, number: int) -> Awaitable[Any]:
    async def so() -> bool:
        return len(receiver.heard) >= number

    return eventually(so, 40)


# --- what is noted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("endpoint", "noted"), [("http://127.0.0.1:4318", 1), ("", 0)])
def test_the_change_that_lets_a_run_go_notes_its_trace_where_somebody_wants_it(
    settings: Any, endpoint: str, noted: int
) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = endpoint
    run = make_run(status=Run.Status.RUNNING)
    make_stream(run, lease=None)
    (claim,) = store.claim("me", 1)
    hand = Hand(claim)
    hand.write({"event_type": "flow_started", "timestamp": START})
    assert not UnsentTrace.objects.exists()
    hand.write({"event_type": "flow_completed", "timestamp": START + 1}, done=True)
    assert UnsentTrace.objects.due().filter(run=run).count() == noted


def test_a_trace_goes_with_its_run() -> None:
    (run,) = ended()
    Run.objects.filter(pk=run.pk).delete()
    assert not UnsentTrace.objects.exists()


# --- the outbox ---------------------------------------------------------------------------------------------------


def test_what_one_worker_has_claimed_no_other_gets_until_the_lease_runs_out() -> None:
    ended()
    (first,) = outbox.claim("one", 10)
    assert outbox.claim("other", 10) == []
    UnsentTrace.objects.update(lease_until=EpochNow() - 1)
    (second,) = outbox.claim("other", 10)
    outbox.note_sent(first)
    assert UnsentTrace.objects.exists(), "who has lost the claim has no say"
    outbox.note_sent(second)
    assert not UnsentTrace.objects.exists()


def test_pauses_grow_to_an_hour_and_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    ended()
    pauses = []
    for _ in range(9):
        (claimed,) = outbox.claim("w", 10)
        pauses.append(outbox.note_failed(claimed, "no answer"))
        assert outbox.claim("w", 10) == []
        UnsentTrace.objects.update(next_at=0.0)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pauses[-2] == 3600
    assert UnsentTrace.objects.get().answer == "no answer"


# --- who empties it -------------------------------------------------------------------------------------------------


async def test_what_has_ended_arrives_once_with_what_the_receiver_asks_for(
    receiver: Receiver, start: StartOne, settings: Any
) -> None:
    settings.OTEL_EXPORTER_OTLP_HEADERS = {"x-team": "night shift"}
    settings.OTEL_SERVICE_NAME = "nightly"
    runs = await on_thread(ended, 20)
    await start("w")
    await until_none_is_left()
    assert sorted(values(span)["stepline.run.id"] for span in all_spans(receiver)) == [run.pk for run in runs]
    assert {one.headers["x-team"] for one in receiver.heard} == {"night shift"}
    for request in requests(receiver):
        resource = request.resource_spans[0].resource
        assert {pair.key: pair.value.string_value for pair in resource.attributes}["service.name"] == "nightly"


@pytest.mark.parametrize(("endpoint", "number"), [("http://127.0.0.1:4318", 1), ("", 0)])
def test_a_worker_sends_where_somebody_wants_it(settings: Any, endpoint: str, number: int) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = endpoint
    assert len(senders("w", SITE)) == number


def test_nothing_of_it_is_loaded_where_nobody_does() -> None:
    code = (
        "import sys, django; django.setup(); import runs.management.commands.worker; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": ""}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


async def test_a_long_run_comes_in_several_requests_and_as_one_trace(
    receiver: Receiver, start: StartOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SPANS_AT_ONCE", 4)
    await on_thread(ended, 1, 10)
    await start("w")
    await until_none_is_left()
    assert [len(spans_of(one)) for one in receiver.heard] == [4, 4, 3]
    assert len({span.trace_id for span in all_spans(receiver)}) == 1
    assert len({span.span_id for span in all_spans(receiver)}) == 11


@pytest.mark.parametrize("status", [-1, 307, 401, 404, 429, 500, 503])
async def test_a_receiver_that_fails_and_comes_back_gets_the_same_trace(
    receiver: Receiver, start: StartOne, status: int
) -> None:
    receiver.status, receiver.location = status, "http://127.0.0.1:9/elsewhere"
    await on_thread(ended, 2)
    await start("w")
    await heard(receiver, 4)
    failing = await on_thread(UnsentTrace.objects.kinds)
    assert failing["refused"] == 0
    receiver.status = 200
    await until_none_is_left()
    contents = [one.content for one in receiver.heard]
    assert len(contents) > len(set(contents)) == 2, "sent again, and not the same"


async def test_a_receiver_that_is_away_is_waited_for(receiver: Receiver, start: StartOne) -> None:
    await receiver.stop()
    await on_thread(ended)

    async def tried() -> bool:
        return await on_thread(UnsentTrace.objects.filter(attempts__gte=2, answer__startswith="no answer").exists)

    await start("w")
    await eventually(tried, 40)
    await receiver.start()
    await until_none_is_left()
    assert len(receiver.heard) == 1


@pytest.mark.parametrize("status", [400, 413])
async def test_what_the_receiver_cannot_read_is_not_sent_again_and_stays_to_be_seen(
    receiver: Receiver, start: StartOne, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status, receiver.words = status, "what is this?"

    async def refused() -> bool:
        return (await on_thread(UnsentTrace.objects.kinds))["refused"] == 1

    (run,) = await on_thread(ended)
    await start("w")
    await eventually(refused, 40)
    assert f"trace of run {run.pk} refused: answered {status}: what is this?" in caplog.text
    receiver.status = 200
    await on_thread(ended)
    await heard(receiver, 2)
    assert {values(span)["stepline.run.id"] for span in spans_of(receiver.heard[-1])} != {run.pk}


async def test_spans_that_a_receiver_drops_though_it_says_200_are_told(receiver: Receiver, start: StartOne) -> None:
    dropped = ExportTraceServiceResponse()
    dropped.partial_success.rejected_spans = 3
    dropped.partial_success.error_message = "too old"
    receiver.words = dropped.SerializeToString().decode()
    await on_thread(ended)
    await start("w")

    async def told() -> bool:
        return await on_thread(UnsentTrace.objects.filter(next_at=None, answer="3 spans dropped: too old").exists)

    await eventually(told, 40)


async def test_two_workers_share_the_work_and_double_nothing(receiver: Receiver, start: StartOne) -> None:
    receiver.pause = 0.02
    await on_thread(ended, 30)
    await start("one")
    await start("other")
    await until_none_is_left()
    assert len(receiver.heard) == 30


async def test_what_a_worker_left_behind_when_it_died_another_sends(receiver: Receiver, start: StartOne) -> None:
    await on_thread(ended)
    await on_thread(outbox.claim, "dead", 10)
    await start("heir")
    await on_thread(lambda: UnsentTrace.objects.update(lease_until=EpochNow() - 1))
    await until_none_is_left()
    assert len(receiver.heard) == 1


async def test_one_that_ends_while_a_receiver_hangs_gives_the_trace_back(
    receiver: Receiver, start: StartOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "DRAIN_SECONDS", 0.1)
    receiver.status = 0
    await on_thread(ended)
    sender = await start("w")
    await heard(receiver, 1)
    sender.stop()
    await eventually(lambda: on_thread(UnsentTrace.objects.filter(owner="", attempts=1).exists), 40)
    receiver.status = 200
    await start("heir")
    await until_none_is_left()


async def test_a_database_that_is_away_is_waited_for(
    receiver: Receiver, start: StartOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, failures = outbox.claim, list[int]()

    def fails_twice(owner: str, limit: int) -> list[outbox.Claimed]:
        if len(failures) < 2:
            failures.append(1)
            raise OperationalError("gone")
        return really(owner, limit)

    monkeypatch.setattr(outbox, "claim", fails_twice)
    await on_thread(ended)
    await start("w")
    await until_none_is_left()
    assert len(failures) == 2
