"""A run as the spans of a trace: one for the run, and below it one for each attempt of a task, with the times of the
events. What is sent is what is stored, and so masked.

The ids are made of the run alone: sent a second time, it is the same trace.
"""

import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

from django.conf import settings
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from runs.core import timeline
from runs.core.state import short_error
from runs.models import Event, Run, Task

type Error = dict[str, Any] | None
type Attributes = dict[str, str | int | bool]

LATEST: Final = 2**63 - 1  # nanoseconds: what every receiver can hold
SCOPE: Final = InstrumentationScope("stepline")
SUCCEEDED: Final = Status(StatusCode.OK)
UNKNOWN: Final = Status(StatusCode.UNSET)  # of what nobody knows how it ended


def spans(run_id: int, site: str) -> list[ReadableSpan]:
    """All spans of an ended run, that of the run first. Raises Run.DoesNotExist. `site`: where its page is."""
    run = Run.objects.select_related("upstream", "retry_of__upstream", "stream").get(pk=run_id)
    # What OTEL_RESOURCE_ATTRIBUTES says, too; nothing of this process, which another try may not come from.
    resource = OTELResourceDetector().detect().merge(Resource({"service.name": settings.OTEL_SERVICE_NAME}))
    root = context_of(run)
    attempts = list(_attempts(run, root, resource))
    return [_whole(run, root, resource, attempts, site), *attempts]


def context_of(run: Run, *place: object) -> SpanContext:
    """The ids of the run's own span, or of the span at this place in it. `run`: with its upstream.

    Not of the run's number alone: another Stepline that sends to the same receiver has a run of that number, too.
    """
    names = [run.pk, run.upstream.name, run.flow_name, run.run_name, run.created_at.isoformat()]
    trace = blake2b(json.dumps(names).encode(), person=b"trace", digest_size=16).digest()
    span = blake2b(json.dumps(place).encode(), key=trace, person=b"span", digest_size=8).digest()
    return SpanContext(int.from_bytes(trace), int.from_bytes(span), is_remote=False, trace_flags=TraceFlags(1))


def _whole(run: Run, context: SpanContext, resource: Resource, attempts: list[ReadableSpan], site: str) -> ReadableSpan:
    starts = [span.start_time for span in attempts if span.start_time is not None]
    began = _nanoseconds(run.started_at) if run.started_at is not None else None
    if began is None:
        began = min(starts, default=_nanoseconds(run.created_at.timestamp()))
    # Of a run that ended without anybody saying when: when we let go of it.
    ended = run.finished_at if run.finished_at is not None else run.connection_since
    attributes: Attributes = {
        "stepline.run.id": run.pk,
        "stepline.run.name": run.run_name,
        "stepline.flow": run.flow_name,
        "stepline.upstream": run.upstream.name,
        "stepline.status": run.status,
        "stepline.url": site + run.get_absolute_url(),
        "stepline.inferred": run.inferred or run.finished_at is None,
        "stepline.conflict": run.conflict,
        "stepline.attached": run.attached,
        "stepline.gaps": run.gap_count,
        "stepline.retry_number": run.retry_number,
    }
    if run.notice:
        attributes["stepline.notice"] = run.notice
    error = run.error
    if run.status == Run.Status.REJECTED:
        error = {"type": "refused", "message": run.notice}
    failed = run.status in (Run.Status.FAILED, Run.Status.REJECTED)
    return ReadableSpan(
        name=run.flow_name,
        context=context,
        resource=resource,
        instrumentation_scope=SCOPE,
        attributes=attributes | _error_attributes(error if failed else None),
        links=[Link(context_of(run.retry_of))] if run.retry_of else [],
        status=_failed(error) if failed else SUCCEEDED if run.status == Run.Status.SUCCEEDED else UNKNOWN,
        start_time=began,
        end_time=max(began, _nanoseconds(ended) if ended is not None else began),
    )


def _attempts(run: Run, root: SpanContext, resource: Resource) -> Iterator[ReadableSpan]:
    """A span for each bar of the run's timeline."""
    errors = _errors(run)
    let_go = run.finished_at if run.finished_at is not None else run.connection_since
    for task in Task.objects.filter(run=run).order_by("position").iterator(chunk_size=500):
        for number, attempt in enumerate(task.attempts, start=1):
            known = timeline.Span(
                attempt.get("started_at"), attempt.get("finished_at"), attempt["status"], attempt.get("inferred", False)
            )
            for bar in timeline.bars([known], 0.0):
                began = _nanoseconds(bar.x0)
                ended = bar.x1 if bar.x1 is not None else let_go  # it ran when we let go of the run
                attributes: Attributes = {
                    "stepline.task.key": task.key,
                    "stepline.task.name": task.name,
                    "stepline.attempt": number,
                    "stepline.status": bar.status,
                    "stepline.inferred": bar.inferred or bar.x1 is None,
                }
                if task.function:
                    attributes["stepline.task.function"] = task.function
                failed = bar.status == Task.Status.FAILED
                error = errors.get((task.key, known.finished_at), task.error) if failed else None
                yield ReadableSpan(
                    name=task.name,
                    context=context_of(run, task.key, number),
                    parent=root,
                    resource=resource,
                    instrumentation_scope=SCOPE,
                    attributes=attributes | _error_attributes(error),
                    status=_failed(error) if failed else SUCCEEDED if bar.status == "succeeded" else UNKNOWN,
                    start_time=began,
                    end_time=max(began, _nanoseconds(ended) if ended is not None else began),
                )


def _errors(run: Run) -> dict[tuple[str, float | None], Error]:
    """(task key, time) -> the error of the attempt that failed then: a task's row has that of the last one only."""
    failures = Event.objects.filter(run=run, event_type="task_failed", source=Event.Source.STREAM)
    rows = failures.values_list("task_key", "timestamp", "received_at", "payload")
    return {
        (key, received_at if timestamp is None else timestamp): short_error(json.loads(payload).get("error"))
        for key, timestamp, received_at, payload in rows.iterator(chunk_size=500)
    }


def _failed(error: Error) -> Status:
    words = ": ".join(filter(None, (error["type"], error["message"]))) if error else ""
    return Status(StatusCode.ERROR, words)


def _error_attributes(error: Error) -> Attributes:
    if not error:
        return {}
    named = {"error.type": error["type"], "error.message": error["message"], "error.code": error.get("code", "")}
    return {name: value for name, value in named.items() if value}


def _nanoseconds(time: float) -> int:
    """Epoch seconds as a span has them; what lies before 1970 or beyond all clocks, at the nearest end."""
    return min(max(0, round(time * 1e6) * 1000), LATEST)
