"""What a run looks like as a trace: its spans are the bars of its timeline."""

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from runs.models import Run
from telemetry.spans import LATEST, spans
from tests.factories import START, make_event, make_run, make_task

pytestmark = pytest.mark.django_db

SITE = "https://runs.example.com"
ERROR = {"type": "TimeoutError", "message": "no answer within 30 s", "code": "504"}


def attempt(start: float | None, end: float | None, status: str = "succeeded", **more: Any) -> dict[str, Any]:
    return {"started_at": start, "finished_at": end, "status": status, "inferred": False, **more}


def ended_run(**fields: Any) -> Run:
    return make_run(**{"status": Run.Status.SUCCEEDED, "finished_at": START + 9.5, "connection": "closed", **fields})


def trace_of(run: Run) -> tuple[ReadableSpan, list[ReadableSpan]]:
    root, *rest = spans(run.pk, SITE)
    encode_spans([root, *rest])  # whatever stands in it can be sent
    return root, rest


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def context(span: ReadableSpan) -> tuple[int, int]:
    found = span.get_span_context()
    assert found is not None
    return found.trace_id, found.span_id


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e6) * 1000


def test_the_run_is_the_root_and_says_what_it_is() -> None:
    run = ended_run(gap_count=2)
    root, rest = trace_of(run)
    assert (root.name, root.parent, rest) == (run.flow_name, None, [])
    assert (root.start_time, root.end_time) == (nanoseconds(START), nanoseconds(START + 9.5))
    assert root.status.status_code == StatusCode.OK
    said = attributes(root)
    assert said["stepline.url"] == f"{SITE}/runs/{run.pk}/"
    assert (said["stepline.flow"], said["stepline.run.name"]) == (run.flow_name, run.run_name)
    assert (said["stepline.upstream"], said["stepline.run.id"]) == (run.upstream.name, run.pk)
    assert (said["stepline.status"], said["stepline.inferred"], said["stepline.gaps"]) == ("succeeded", False, 2)
    assert "error.type" not in said


def test_each_attempt_is_a_span_under_it_with_its_own_error() -> None:
    run = ended_run(status=Run.Status.FAILED, error=ERROR)
    tries = [
        attempt(START, START + 1, "failed"),
        attempt(START + 2, START + 3, "failed"),
        attempt(START + 4, START + 5),
    ]
    make_task(run, "fetch", attempts=tries, status="succeeded", error=ERROR, function="api_call")
    for number, at in enumerate((START + 1, START + 3)):
        payload = {"event_type": "task_failed", "error": {"type": f"Error{number}", "message": "m"}}
        make_event(run, "task_failed", payload, task_key="fetch", timestamp=at)
    root, rest = trace_of(run)
    assert [span.parent and span.parent.span_id for span in rest] == [context(root)[1]] * 3
    assert [(span.start_time, span.end_time) for span in rest] == [
        (nanoseconds(one["started_at"]), nanoseconds(one["finished_at"])) for one in tries
    ]
    assert [span.status.status_code for span in rest] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.OK]
    assert [span.status.description for span in rest] == ["Error0: m", "Error1: m", None]
    assert [attributes(span).get("error.type") for span in rest] == ["Error0", "Error1", None]
    assert [attributes(span)["stepline.attempt"] for span in rest] == [1, 2, 3]
    assert root.status.status_code == StatusCode.ERROR
    assert root.status.description == "TimeoutError: no answer within 30 s"
    assert attributes(root)["error.code"] == "504"


def test_an_end_that_nobody_reported_is_flagged_and_is_no_failure() -> None:
    run = ended_run(status=Run.Status.LOST, finished_at=None, connection_since=START + 60, notice="Nothing came.")
    make_task(run, "open", attempts=[attempt(START + 1, None, "running")], status="running")
    make_task(run, "settled", attempts=[attempt(START, START + 2, "unknown", inferred=True)], status="unknown")
    make_task(run, "pending")
    root, (still_open, settled) = trace_of(run)
    assert root.status.status_code == StatusCode.UNSET
    assert (attributes(root)["stepline.inferred"], attributes(root)["stepline.notice"]) == (True, "Nothing came.")
    assert root.end_time == still_open.end_time == nanoseconds(START + 60)
    assert [attributes(span)["stepline.inferred"] for span in (still_open, settled)] == [True, True]
    assert [span.status.status_code for span in (still_open, settled)] == [StatusCode.UNSET] * 2


def test_a_run_that_was_refused_says_so() -> None:
    run = ended_run(status=Run.Status.REJECTED, started_at=None, finished_at=None, notice="422: no such agent")
    root, _ = trace_of(run)
    assert root.start_time == nanoseconds(run.created_at.timestamp())
    assert (root.status.status_code, root.status.description) == (StatusCode.ERROR, "refused: 422: no such agent")


def test_the_ids_are_the_same_each_time_and_those_of_no_other_run_or_attempt() -> None:
    run = ended_run()
    for key in ("a", "b"):
        make_task(run, key, attempts=[attempt(START, START + 1, "failed"), attempt(START + 1, START + 2)])
    first, again = ([context(span) for span in spans(run.pk, SITE)] for _ in range(2))
    assert first == again
    assert len(set(first)) == 5
    assert len({trace for trace, _ in first}) == 1
    assert not {*first} & {context(span) for span in spans(ended_run().pk, SITE)}


def test_a_retry_leads_back_to_the_run_it_repeats() -> None:
    run = ended_run()
    retry = ended_run(upstream=run.upstream, retry_of=run, retry_number=1)
    (link,) = trace_of(retry)[0].links
    assert (link.context.trace_id, link.context.span_id) == context(trace_of(run)[0])


@pytest.mark.parametrize("odd", [-1e12, 1e300, 0.0])
def test_times_that_no_clock_has_are_bent_to_what_can_be_sent(odd: float) -> None:
    run = ended_run(started_at=START, finished_at=odd)
    make_task(run, "t", attempts=[attempt(odd, START, "succeeded")])
    for span in spans(run.pk, SITE):
        assert span.start_time is not None
        assert span.end_time is not None
        assert 0 <= span.start_time <= span.end_time <= LATEST


def test_a_trace_costs_the_same_number_of_questions_whatever_its_size(django_assert_num_queries: Any) -> None:
    run = ended_run()
    for number in range(20):
        make_task(run, f"t{number}", attempts=[attempt(START, START + 1)])
    with django_assert_num_queries(3):
        assert len(spans(run.pk, SITE)) == 21
