"""The run page and its parts. The views read; what changes on the page comes over runs/web/live.py."""

import json
import time

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST, require_safe

from accounts.access import role_required
from accounts.models import Role, User
from runs import actions
from runs.models import Event, Run
from runs.web import render as regions
from runs.web.json_tree import tree

EARLIER = 200  # log rows that one click on "earlier" brings


def _run(run_id: int) -> Run:
    try:
        return regions.read_run(run_id)
    except Run.DoesNotExist:
        raise Http404(f"There is no run {run_id}.") from None


@require_safe
@role_required(Role.VIEWER)
def run(request: HttpRequest, run_id: int) -> HttpResponse:
    """The whole page, at the `seq` and `rev` that its socket goes on from."""
    found = _run(run_id)
    task_key = request.GET.get("task", "")[:300]
    user = request.user
    assert isinstance(user, User)
    return render(
        request,
        "runs/run.html",
        {
            "run": found,
            "body": SafeString(regions.body(found, task_key)),
            "sync": regions.place_of(found),
            "icons": ("waiting", "running", "succeeded", "failed", "lost", "stopped"),
            "now": f"{time.time():.3f}",
            "may_operate": user.may(Role.OPERATOR),
            "previous": Run.objects.filter(pk__lt=run_id).order_by("-pk").values_list("pk", flat=True).first(),
            "next": Run.objects.filter(pk__gt=run_id).order_by("pk").values_list("pk", flat=True).first(),
        },
    )


@require_safe
@role_required(Role.VIEWER)
def task(request: HttpRequest, run_id: int) -> HttpResponse:
    """The drawer's content for `?key=`."""
    return HttpResponse(regions.drawer(_run(run_id), request.GET.get("key", "")[:300]))


@require_safe
@role_required(Role.VIEWER)
def events(request: HttpRequest, run_id: int) -> HttpResponse:
    """Log rows before `?before=`, oldest first."""
    before = request.GET.get("before", "")
    if not (before.isascii() and before.isdigit()):
        raise BadRequest("`before` is the number of an event.")
    rows = list(_run(run_id).events.filter(seq__lt=int(before)).order_by("-seq").defer("payload")[:EARLIER])
    return HttpResponse("".join(map(regions.event_row, reversed(rows))))


@require_safe
@role_required(Role.VIEWER)
def event(request: HttpRequest, run_id: int, seq: int) -> HttpResponse:
    """One event's payload as a tree."""
    found = get_object_or_404(Event, run_id=run_id, seq=seq)
    size = len(found.payload)
    return HttpResponse(
        format_html(
            '<p class="e-about"><code>{}</code> <span class="muted">received {}</span> '
            '<span class="muted">{} bytes</span> '
            '<button type="button" class="small" data-copy="{}">Copy JSON</button></p>{}',
            found.event_type,
            regions.time_tag(found.received_at, "clock"),
            size,
            found.payload,
            tree(json.loads(found.payload)),
        )
    )


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
