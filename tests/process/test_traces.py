"""Runs of the shipped workflows as a receiver of traces gets them, beside the rows of the database they come from."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.process.fixtures import MakeHome
from tests.process.programs import ROOT
from tests.receiver import receiver
from tests.scripted import eventually
from tests.telemetry.collector import all_spans, values

FLOWS = sorted(json.loads(path.read_text())["flow_name"] for path in (ROOT / "sandbox" / "workflows").glob("*.json"))
OUTCOMES = {
    "succeeded": Status.STATUS_CODE_OK,
    "failed": Status.STATUS_CODE_ERROR,
    "unknown": Status.STATUS_CODE_UNSET,
}


def rows(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "stepline.sqlite3", timeout=20) as connection:
        return connection.execute(statement).fetchall()


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e6) * 1000


def expected(folder: Path, run_id: int) -> list[tuple[Any, ...]]:
    """What the spans of the run's tasks have to say, from the rows that its timeline is drawn from."""
    found = []
    for key, name, attempts in rows(
        folder, f"SELECT key, name, attempts FROM runs_task WHERE run_id = {run_id} ORDER BY position"
    ):
        for number, one in enumerate(json.loads(attempts), start=1):
            begin, end = one["started_at"] or one["finished_at"], one["finished_at"] or one["started_at"]
            if begin is not None:
                times = nanoseconds(begin), nanoseconds(end)
                found.append((key, name, number, *times, one["status"], one["inferred"], OUTCOMES[one["status"]]))
    return found


def said(span: Span) -> tuple[Any, ...]:
    known = values(span)
    return (
        known["stepline.task.key"],
        span.name,
        known["stepline.attempt"],
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        known["stepline.status"],
        known["stepline.inferred"],
        span.status.code,
    )


async def test_each_shipped_workflow_arrives_as_a_trace_that_equals_its_timeline(home: MakeHome) -> None:
    assert len(FLOWS) == 6
    async with receiver() as collector:
        collector.words = ""
        here = home(SANDBOX_SPEED=40, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}")
        _, api = await here.serve()
        for flow in FLOWS:
            await api.launch(flow_name=flow)

        async def all_told() -> bool:
            followed = rows(here.folder, "SELECT 1 FROM runs_stream WHERE active")
            return not followed and not rows(here.folder, "SELECT 1 FROM runs_unsenttrace")

        await eventually(all_told, 90)
        spans = all_spans(collector)
        roots = {values(span)["stepline.run.id"]: span for span in spans if not span.parent_span_id}
        runs = rows(here.folder, "SELECT id, flow_name, run_name, status, started_at, finished_at, error FROM runs_run")
        assert sorted(roots) == sorted(run[0] for run in runs)
        assert {run[1] for run in runs} == set(FLOWS)
        assert {run[3] for run in runs} >= {"succeeded", "failed"}, "nothing failed: no error was looked at"
        tries = 0
        for run_id, flow, name, status, started_at, finished_at, error in runs:
            root = roots[run_id]
            known = values(root)
            assert (root.name, known["stepline.run.name"], known["stepline.status"]) == (flow, name, status)
            assert (root.start_time_unix_nano, root.end_time_unix_nano) == tuple(
                map(nanoseconds, (started_at, finished_at))
            )
            assert root.status.code == OUTCOMES[status]
            assert known.get("error.type") == (json.loads(error)["type"] if status == "failed" else None)
            assert known["stepline.url"] == f"http://127.0.0.1:{api.port}/runs/{run_id}/"
            below = [span for span in spans if span.trace_id == root.trace_id and span is not root]
            assert {span.parent_span_id for span in below} <= {root.span_id}
            assert [said(span) for span in below] == expected(here.folder, run_id)
            tries = max(tries, *(int(values(span)["stepline.attempt"]) for span in below))
        assert tries > 1, "no task was tried twice"
        assert len({(span.trace_id, span.span_id) for span in spans}) == len(spans), "something was sent twice"


async def test_a_site_that_is_killed_before_its_traces_are_taken_sends_them_when_it_is_back(home: MakeHome) -> None:
    async with receiver() as collector:
        collector.words, collector.status = "", 503
        here = home(SANDBOX_SPEED=40, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}")
        program, api = await here.serve()
        run_id = await api.launch(flow_name="Customer_Support_Pipeline")

        async def tried() -> bool:
            return bool(rows(here.folder, "SELECT 1 FROM runs_unsenttrace WHERE answer LIKE 'answered 503%'"))

        await eventually(tried, 40)
        program.kill()
        (refused,) = {one.content for one in collector.heard}
        collector.status = 200
        await here.serve(port=api.port)

        async def taken() -> bool:
            return not rows(here.folder, "SELECT 1 FROM runs_unsenttrace")

        await eventually(taken, 40)
        assert collector.heard[-1].content == refused, "another trace than the one that was not taken"
        assert {values(span).get("stepline.run.id") for span in all_spans(collector)} == {run_id, None}
