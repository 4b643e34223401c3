"""The run page and its parts. The views read; what changes on the page comes over runs/web/live.py.

`guest`: the reader was let in by a link, and is shown this run and nothing else.
"""

import json
import time

import msgspec
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST, require_safe

from accounts.access import role_required, signed_in
from accounts.models import Role, User
from runs import actions
from runs.core.outline import Fold
from runs.history import MOST_EVENTS
from runs.models import Event, Launch, Run
from runs.templatetags.rows import time_tag
from runs.web import in_and_out
from runs.web import render as regions
from runs.web.json_tree import tree
from runs.web.readers import for_readers
from runs.web.view import Asked, farthest, number

MOST_TIMES = 2000  # of events that are told at once


def _run(run_id: int) -> Run:
    try:
        return regions.read_run(run_id)
    except Run.DoesNotExist:
        raise Http404(f"There is no run {run_id}.") from None


@for_readers
def run(request: HttpRequest, run_id: int, guest: bool) -> HttpResponse:
    """The whole page, at the `seq` and `rev` that its socket goes on from."""
    found = _run(run_id)
    asked = Asked.of_page(request.GET, guest)
    scene = regions.scene_of(found, asked)
    body, sync = regions.body(found, asked, scene)
    context = {
        "run": found,
        "body": SafeString(body),  # nosec B703  # rendered by a template
        "sync": sync,
        "asked": asked,
        "then": scene.run,
        "most_events": MOST_EVENTS,
        **regions.travelled(scene, found, asked),
        "icons": ("waiting", "running", "succeeded", "failed", "lost", "stopped"),
        "now": f"{time.time():.3f}",
    }
    if guest:
        return render(request, "shared/run.html", context)
    if request.GET.get("at") and scene.at is None:
        messages.warning(request, _misplaced(request.GET["at"], found))
    context |= {
        "may_operate": signed_in(request).may(Role.OPERATOR),
        "previous": Run.objects.filter(pk__lt=run_id).order_by("-pk").values_list("pk", flat=True).first(),
        "next": Run.objects.filter(pk__gt=run_id).order_by("pk").values_list("pk", flat=True).first(),
    }
    return render(request, "runs/run.html", context)


def _misplaced(at: str, run: Run) -> str:
    """Why this is no past of the run."""
    last = farthest(run.last_seq)
    if number(at) is not None and last < run.last_seq:
        why = f"Only the first {last} events of a run can be gone back to."
    elif number(at) is not None:
        why = f"This run has no event {number(at)}: it has {run.last_seq}."
    else:
        why = f"“{at[:40]}” is not the number of an event, from 0 to {last}."
    return f"{why} You see the run as it is now."


@for_readers
def task(request: HttpRequest, run_id: int, guest: bool) -> HttpResponse:
    """The drawer's content for `?key=`, of the past `?at=`."""
    scene = regions.scene_of(_run(run_id), Asked.of_page(request.GET, guest))
    return HttpResponse(regions.drawer(scene, request.GET.get("key", "")[:300].replace("\0", "")))


@for_readers
def events(request: HttpRequest, run_id: int, guest: bool) -> HttpResponse:
    """A window of log rows, from the event of number `?first=` on, and up to `?at=`."""
    first = number(request.GET.get("first"))
    if first is None:
        raise BadRequest("`first` is the number of an event.")
    found, asked = _run(run_id), Asked.of_page(request.GET, guest)
    last = found.last_seq if asked.at is None else asked.at
    rows = Event.objects.heads().after(found.pk, first - 1, max(0, min(regions.LOG_FIRST, last - first + 1)))
    return HttpResponse("".join(map(regions.event_row, rows)))


@for_readers
def times(request: HttpRequest, run_id: int, guest: bool) -> JsonResponse:
    """When the events after the one of number `?after=` were, for who plays them: {times: [epoch seconds]}."""
    after = number(request.GET.get("after"))
    if after is None:
        raise BadRequest("`after` is the number of an event, or 0.")
    events = Event.objects.after(_run(run_id).pk, after, MOST_TIMES).only("run_id", "seq", "timestamp", "received_at")
    return JsonResponse({"times": [regions.event_time(event) for event in events]})


@for_readers
def place(request: HttpRequest, run_id: int, guest: bool) -> JsonResponse:
    """Which row of this view holds the task of `?key=`, or is the next failed one below the row `?after=`.

    {line: a row's number or null, open: the name of the fold that is to be opened first, or null}
    """
    asked = Asked.of_page(request.GET, guest)
    scene = regions.scene_of(_run(run_id), asked)
    scene.catch_up()
    outline = scene.kept.outline
    arranged = outline.arrange(asked.view)
    key = request.GET.get("key", "")[:300]
    if not key:
        after = request.GET.get("after", "")
        return JsonResponse(
            {"line": arranged.next_trouble(int(after) if number(after) is not None else -1), "open": None}
        )
    line = arranged.line_of(key)
    found = arranged.lines[line] if line is not None else None
    if not isinstance(found, Fold):
        return JsonResponse({"line": line, "open": None})
    opened = outline.arrange(msgspec.structs.replace(asked.view, opened=asked.view.opened | {found.name}))
    return JsonResponse({"line": opened.line_of(key), "open": found.name})


@for_readers
def event(request: HttpRequest, run_id: int, guest: bool, seq: int) -> HttpResponse:
    """One event's payload as a tree."""
    found = get_object_or_404(Event, run_id=run_id, seq=seq)
    size = len(found.payload)
    return HttpResponse(
        format_html(
            '<p class="e-about"><code>{}</code> <span class="muted">received {}</span> '
            '<span class="muted">{} bytes</span> '
            '<button type="button" class="small" data-copy="{}">Copy JSON</button></p>{}',
            found.event_type,
            time_tag(found.received_at, "clock"),
            size,
            found.payload,
            tree(json.loads(found.payload)),
        )
    )


@for_readers
def run_input(request: HttpRequest, run_id: int, guest: bool) -> HttpResponse:
    """What the run was launched with, as a tree."""
    try:
        return HttpResponse(in_and_out.whole(in_and_out.input_of(_run(run_id))))
    except Launch.DoesNotExist:
        raise Http404(f"The input of run {run_id} is not known.") from None


@for_readers
def run_output(request: HttpRequest, run_id: int, guest: bool) -> HttpResponse:
    """What the run ended with, as a tree."""
    try:
        return HttpResponse(in_and_out.whole(in_and_out.output_of(_run(run_id))))
    except Event.DoesNotExist:
        raise Http404(f"Run {run_id} has no output.") from None


@require_safe
@role_required(Role.VIEWER)
def rejected(request: HttpRequest, run_id: int) -> HttpResponse:
    """The quarantine of one run."""
    found = _run(run_id)
    return render(request, "runs/rejected.html", {"run": found, "rejected": found.rejected.order_by("-last_at")[:200]})


@require_POST
@role_required(Role.OPERATOR)
def stop_watching(request: HttpRequest, run_id: int) -> HttpResponse:
    """Ask the run's follower to end."""
    found = _run(run_id)
    user = request.user
    assert isinstance(user, User)
    try:
        actions.stop_watching(found, user=user)
    except actions.Refused as refused:
        messages.error(request, refused.message)
    else:
        messages.success(request, "Watching ends in a moment. The run itself goes on at the upstream.")
    return redirect(found)
