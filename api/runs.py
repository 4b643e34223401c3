"""The calls about runs: launch, attach, list, look into, retry, stop watching."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from channels.db import database_sync_to_async
from django.db import connection
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from ninja import Header, Query, Router, Status

from api import schemas
from api.access import OPERATOR, caller
from api.conditional import unchanged
from api.idempotency import launched_once
from api.lookup import site, upstream_named
from api.paging import cursor, cut, place
from runs import actions, listing
from runs.facts import (
    EVENT_COLUMNS,
    Facts,
    event_json,
    gap_facts,
    output_of,
    rejected_facts,
    run_facts,
    task_facts,
)
from runs.listing import Filters, place_in
from runs.models import Event, Run

EVENTS_IN_A_PAGE = 200
LINES_AT_ONCE, BYTES_AT_ONCE = 1000, 1024**2  # about: as many as the size of those before lets expect
NDJSON = "application/x-ndjson"
ESTIMATED = {"progress": None}  # what of a run changes with the time that passes

router = Router(tags=["runs"])


def find(run_id: int) -> Run:
    run = Run.objects.listed().filter(pk=run_id).first()
    if run is None:
        raise Http404(f"There is no run {run_id}.")
    return run


def whole(request: HttpRequest, run: Run) -> Facts:
    """A run with its output."""
    event = Event.objects.filter(run=run, seq=run.output_seq).first() if run.output_seq else None
    return run_facts(run, base_url=site(request), output=output_of(event) if event else None)


@router.get("", response={200: schemas.RunsOut, 304: None})
def list_runs(request: HttpRequest, response: HttpResponse, query: Query[schemas.RunFilter]) -> Any:
    """The runs, newest first. Their `output` is null here: ask for the one run."""
    filters = Filters(
        statuses=tuple(query.status),
        flow_name=query.flow_name,
        text=query.q,
        since=query.since,
        until=query.until,
        failure=query.failure,
    )
    numbers = place("runs", query.cursor, 2)
    before = place_in(f"{numbers[0]}-{numbers[1]}") if numbers else None
    found, more = cut(listing.places(filters, query.limit + 1, before=before), query.limit)
    items = [run_facts(run, base_url=site(request)) for run in listing.runs_at(found)]
    following = cursor("runs", found[-1].microseconds, found[-1].run_id) if more else None
    same = unchanged(request, response, [item | ESTIMATED for item in items], following)
    return same or {"items": items, "next_cursor": following}


@router.post("", response={201: schemas.RunOut}, auth=OPERATOR)
def launch_run(
    request: HttpRequest, response: HttpResponse, body: schemas.LaunchIn, headers: Header[schemas.LaunchHeaders]
) -> Status[Facts]:
    """Launch a stored workflow, or the definition in the body. The run is `queued`; a worker takes it from there.

    409 when the upstream has a run of that name; 422 with the place of each mistake.
    """
    launch = partial(
        actions.launch,
        flow_name=body.flow_name,
        run_name=body.run_name,
        inputs=body.inputs,
        upstream=upstream_named(body.upstream),
        definition=body.definition,
        user=caller(request),
    )
    run = launched_once(request, response, headers.key, lambda also: launch(also=also))
    return Status(201, whole(request, run))


@router.post("/attach", response={201: schemas.RunOut}, auth=OPERATOR)
def attach_run(
    request: HttpRequest, response: HttpResponse, body: schemas.AttachIn, headers: Header[schemas.LaunchHeaders]
) -> Status[Facts]:
    """Follow a run that was started elsewhere. 409 when it is followed already."""
    attach = partial(
        actions.attach,
        upstream=upstream_named(body.upstream),
        flow_name=body.flow_name,
        run_name=body.run_name,
        user=caller(request),
    )
    run = launched_once(request, response, headers.key, lambda also: attach(also=also))
    return Status(201, whole(request, run))


@router.get("/{int:run_id}", response={200: schemas.RunOut, 304: None})
def get_run(request: HttpRequest, response: HttpResponse, run_id: int) -> Any:
    """One run. An answer of 304 says that nothing has changed but, with the time that passes, the estimates."""
    run = find(run_id)
    return unchanged(request, response, run.rev, run_facts(run, base_url="") | ESTIMATED) or whole(request, run)


@router.get("/{int:run_id}/tasks", response={200: schemas.TasksOut, 304: None})
def list_tasks(request: HttpRequest, response: HttpResponse, run_id: int, query: Query[schemas.TaskPage]) -> Any:
    """The tasks in the order of the page: as planned, then as they first appeared."""
    run = find(run_id)
    if same := unchanged(request, response, run.rev, query.cursor, query.limit):
        return same
    tasks = run.tasks.order_by("position", "pk")
    if after := place(f"tasks-{run_id}", query.cursor, 2):
        tasks = tasks.filter(Q(position__gt=after[0]) | Q(position=after[0], pk__gt=after[1]))
    page, more = cut(list(tasks[: query.limit + 1]), query.limit)
    return {
        "items": [task_facts(task) for task in page],
        "next_cursor": cursor(f"tasks-{run_id}", page[-1].position, page[-1].pk) if more else None,
    }


@router.get(
    "/{int:run_id}/events",
    response=schemas.EventsOut,
    openapi_extra={
        "responses": {
            200: {"content": {NDJSON: {"schema": {"type": "string", "description": "One event a line"}}}},
        }
    },
)
def list_events(request: HttpRequest, run_id: int, query: Query[schemas.EventFilter]) -> Any:
    """The events by `seq`. With `Accept: application/x-ndjson`: one event a line, all that are stored now."""
    find(run_id)
    if request.get_preferred_type(["application/json", NDJSON]) == NDJSON:
        answer: HttpResponse | StreamingHttpResponse = StreamingHttpResponse(
            lines(run_id, query.after, query.limit), content_type=NDJSON
        )
        answer["X-Accel-Buffering"] = "no"
    else:
        limit = query.limit or EVENTS_IN_A_PAGE
        page, more = cut(
            list(Event.objects.after(run_id, query.after, limit + 1).values_list(*EVENT_COLUMNS, named=True)), limit
        )
        items = ",".join(map(event_json, page))
        answer = HttpResponse(
            f'{{"items":[{items}],"next_after":{page[-1].seq if more else "null"}}}',
            content_type="application/json; charset=utf-8",
        )
    answer["Vary"] = "Accept"
    return answer


async def lines(run_id: int, after: int, limit: int | None) -> AsyncIterator[bytes]:
    """NDJSON, read a page at a time by seq: however long the run, one page is in memory."""

    def read(after: int, size: int) -> tuple[bytes, int, int]:
        page = list(Event.objects.after(run_id, after, size).values_list(*EVENT_COLUMNS, named=True))
        text = b"".join(event_json(event).encode() + b"\n" for event in page)
        if connection.vendor == "sqlite":  # else each thread that reads a part would keep up to 64 MiB of the file
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA shrink_memory")
        return text, page[-1].seq if page else after, len(page)

    size = EVENTS_IN_A_PAGE
    while limit is None or limit > 0:
        asked = min(size, limit or size)
        text, after, count = await database_sync_to_async(read, thread_sensitive=False)(after, asked)
        if text:
            yield text
        if count < asked:
            return
        limit = None if limit is None else limit - count
        size = max(1, min(LINES_AT_ONCE, count * BYTES_AT_ONCE // len(text)))  # as many as fit, by these


@router.get("/{int:run_id}/gaps", response=list[schemas.GapOut])
def list_gaps(request: HttpRequest, run_id: int, query: Query[schemas.ListFilter]) -> Iterator[Facts]:
    """The times in which nobody was connected. What the upstream sent then may be missing."""
    gaps = find(run_id).gaps.filter(pk__gt=query.after).order_by("pk")[: query.limit]
    return map(gap_facts, gaps)


@router.get("/{int:run_id}/rejected", response=list[schemas.RejectedOut])
def list_rejected(request: HttpRequest, run_id: int, query: Query[schemas.ListFilter]) -> Iterator[Facts]:
    """The frames in quarantine: what could not be an event of this run, each distinct content once."""
    frames = find(run_id).rejected.filter(pk__gt=query.after).order_by("pk")[: query.limit]
    return map(rejected_facts, frames)


@router.post("/{int:run_id}/retry", response={201: schemas.RunOut}, auth=OPERATOR)
def retry_run(
    request: HttpRequest,
    response: HttpResponse,
    run_id: int,
    headers: Header[schemas.LaunchHeaders],
    body: schemas.RetryIn | None = None,
) -> Status[Facts]:
    """Launch the same again as a new run, linked to this one by `retry_of`."""
    body = body or schemas.RetryIn.model_validate({})
    retry = partial(actions.retry, find(run_id), inputs=body.inputs, run_name=body.run_name, user=caller(request))
    run = launched_once(request, response, headers.key, lambda also: retry(also=also))
    return Status(201, whole(request, run))


@router.post("/{int:run_id}/stop-watching", response=schemas.RunOut, auth=OPERATOR)
def stop_watching_run(request: HttpRequest, run_id: int) -> Facts:
    """Stop following. The run itself goes on: the upstream has no way to cancel one."""
    return whole(request, actions.stop_watching(find(run_id), user=caller(request)))
