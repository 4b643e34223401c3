"""The administrators' pages about all runs at once: who follows what, and what is in quarantine. They only read."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from accounts.access import role_required
from runs.models import Rejected, Run, Stream, Worker
from runs.web.launch_form import NAME_LENGTH

STREAMS_A_PAGE = 100
FRAMES_A_PAGE = 50
LARGEST_ID = 2**63 - 1
DISCONNECTED = "disconnected"


@role_required("admin")
@require_safe
@never_cache
@vary_on_headers("HX-Request")
def streams(request: HttpRequest) -> HttpResponse:
    """Every active stream and every worker; `?show=` one kind, `?worker=` one worker's. htmx gets the changing part."""
    show, worker = request.GET.get("show", ""), request.GET.get("worker", "")[:NAME_LENGTH]
    found = Stream.objects.listed(show if show in Stream.PLACES else "")
    if show == DISCONNECTED:
        found = found.filter(run__connection=Run.Connection.RECONNECTING)
    if worker:
        found = found.filter(owner=worker)
    if (before := cursor_in(request, "before")) is not None:
        found = found.filter(run_id__lt=before)
    rows = list(found[: STREAMS_A_PAGE + 1])
    context = {
        "streams": rows[:STREAMS_A_PAGE],
        "older": rows[STREAMS_A_PAGE - 1].run_id if len(rows) > STREAMS_A_PAGE else None,
        "first_page": before is None,
        "show": show,
        "worker": worker,
        "counts": counted(),
        "workers": list(Worker.objects.listed()),
        "latest_beat": Worker.LATEST_BEAT,
    }
    part = request.headers.get("HX-Request") == "true"
    return render(request, "operations/_streams.html" if part else "operations/streams.html", context)


def counted() -> dict[str, int]:
    """How many active streams there are of each kind, and in all."""
    counts = {"all": 0, DISCONNECTED: 0, **dict.fromkeys(Stream.PLACES, 0)}
    for kind in Stream.objects.kinds():
        counts["all"] += kind["streams"]
        counts[kind["place"]] += kind["streams"]
        if kind["connection"] == Run.Connection.RECONNECTING:
            counts[DISCONNECTED] += kind["streams"]
    return counts


@role_required("admin")
@require_safe
def quarantine(request: HttpRequest) -> HttpResponse:
    """The rejected frames of all runs, newest first, filtered and paged by the address. Previews are not read."""
    asked = {name: request.GET.get(name, "").replace("\0", "")[:NAME_LENGTH] for name in ("reason", "flow", "q")}
    found = Rejected.objects.listed().matching(reason=asked["reason"], flow_name=asked["flow"], text=asked["q"].strip())
    before = cursor_in(request, "before")
    if before is not None:
        found = found.filter(pk__lt=before)
    rows = list(found[: FRAMES_A_PAGE + 1])
    context: dict[str, Any] = {
        "frames": rows[:FRAMES_A_PAGE],
        "older": rows[FRAMES_A_PAGE - 1].pk if len(rows) > FRAMES_A_PAGE else None,
        "first_page": before is None,
        "asked": asked,
        "filtered": any(asked.values()),
        "reasons": sorted({*Rejected.objects.reasons(), *filter(None, [asked["reason"]])}),
    }
    return render(request, "operations/quarantine.html", context)


@role_required("admin")
@require_safe
def preview(request: HttpRequest, frame_id: int) -> HttpResponse:
    """What was kept of one frame, masked."""
    frame = get_object_or_404(Rejected.objects.only("preview"), pk=frame_id)
    if not frame.preview:
        return HttpResponse(format_html('<span class="faint">{}</span>', "Nothing of it was kept."))
    return HttpResponse(format_html("<code>{}</code>", frame.preview))


def cursor_in(request: HttpRequest, name: str) -> int | None:
    """A number of a row in the address; None where there is none or it is no number."""
    text = request.GET.get(name, "")
    if not (text.isascii() and text.isdigit()):
        return None
    return min(int(text[:20]), LARGEST_ID)
