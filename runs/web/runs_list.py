"""The runs list: filters and pages stand in the address. No view reads a payload for a list, and none counts rows."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from accounts.access import role_required, signed_in
from runs import listing
from runs.listing import Filters, Place, place_in
from runs.models import Failure, Run, SavedView, Workflow
from runs.web.flow_head import flow_head
from runs.web.forms import MOST_QUERY, ListFilter, filters_in
from runs.web.pages import MOST_CHOICES
from runs.web.render import Listed, list_sync

PAGE_SIZE = 50
MOST_VIEWS = 50  # that one person keeps


@role_required("viewer")
@require_safe
@vary_on_headers("HX-Request")
def runs(request: HttpRequest) -> HttpResponse:
    """The runs, newest first, filtered and paged by the address; htmx gets the table alone."""
    form = ListFilter(request.GET)
    filters = form.asked(timezone.now())  # what is wrong in the address is said beside its field, and left out
    page = list_page(filters, place_in(request.GET.get("before", "")), place_in(request.GET.get("after", "")))
    context = {
        "filters": form,
        "filtered": form.is_set(),
        "query": form.query(),
        **page,
        "sync": list_sync(
            Listed(
                revs=tuple((run.pk, run.rev) for run in page["runs"]),
                query=form.query(),
                floor=page["older"],
                counts=page["first_page"],
            )
        ),
        "head": flow_head(filters.flow_name) if filters.flow_name else None,
        "failure": Failure.objects.filter(pk=filters.failure).first() if filters.failure else None,
        "may_operate": signed_in(request).may("operator"),
    }
    if request.headers.get("HX-Request") == "true":
        return render(request, "runs/_runs_table.html", context)
    flows = Workflow.objects.order_by("flow_name").values_list("flow_name", flat=True).distinct()
    views = SavedView.objects.filter(user=signed_in(request)).order_by("name")
    return render(request, "runs/list.html", {**context, "flows": flows[:MOST_CHOICES], "views": views})


def list_page(filters: Filters, before: Place | None, after: Place | None) -> dict[str, Any]:
    """One page: older than `before`, newer than `after`, or the newest; and the places that its neighbours begin at."""
    if after:
        newer = listing.places(filters, PAGE_SIZE + 1, after=after, upwards=True)
        if len(newer) > PAGE_SIZE:
            return _page(newer[1:], older=newer[-1], newer=newer[1])
        before = None  # nothing is newer than what this page shows: it is the first
    found = listing.places(filters, PAGE_SIZE + 1, before=before)
    shown = found[:PAGE_SIZE]
    newest = shown[0] if shown else before and before._replace(run_id=before.run_id - 1)
    return _page(shown, older=shown[-1] if len(found) > PAGE_SIZE else None, newer=newest if before else None)


def _page(shown: list[Place], older: Place | None, newer: Place | None) -> dict[str, Any]:
    return {
        "runs": listing.runs_at(shown),
        "older": str(older) if older else "",
        "newer": str(newer) if newer else "",
        "first_page": newer is None,
    }


# --- from one run to the next ------------------------------------------------------------------------------------


@role_required("viewer")
@require_safe
def neighbour(request: HttpRequest, run_id: int, way: str) -> HttpResponse:
    """To the run that stands before (`older`) or after this one in the list with the filters of this address."""
    run = get_object_or_404(Run, pk=run_id)
    here, filters = Place(run.created_at, run.pk), filters_in(request.GET.urlencode())
    if way == "older":
        found = listing.places(filters, 1, before=here)
    else:
        found = listing.places(filters, 1, after=here, upwards=True)
    if found:
        return redirect("run", found[0].run_id)
    messages.info(request, f"There is no {way} run in the list{' with these filters' if filters != Filters() else ''}.")
    return redirect(run)


# --- saved views -------------------------------------------------------------------------------------------------


@role_required("viewer")
@require_POST
def view_save(request: HttpRequest) -> HttpResponse:
    """Keep the filters in `query` under `name`; those that had this name before are replaced."""
    user, name = signed_in(request), request.POST.get("name", "").replace("\0", "").strip()[:60]
    query = ListFilter(QueryDict(request.POST.get("query", "").replace("\0", "")[:MOST_QUERY])).query()
    mine = SavedView.objects.filter(user=user)
    if not name or not query:
        messages.error(request, "A view needs a name." if query else "Choose filters first: a view is what they are.")
    elif mine.exclude(name=name).count() >= MOST_VIEWS:
        messages.error(request, f"You have {MOST_VIEWS} views. Remove one to keep another.")
    else:
        SavedView.objects.update_or_create(user=user, name=name, defaults={"query": query})
        messages.success(request, f"The view “{name}” is kept.")
    return _list_at(query)


@role_required("viewer")
@require_POST
def view_delete(request: HttpRequest, view_id: int) -> HttpResponse:
    view = get_object_or_404(SavedView, pk=view_id, user=signed_in(request))
    SavedView.objects.filter(pk=view.pk).delete()
    messages.success(request, f"The view “{view.name}” is removed.")
    return _list_at(view.query)


def _list_at(query: str) -> HttpResponse:
    there = redirect("runs")
    there["Location"] += f"?{query}" if query else ""
    return there
