"""The versions of a workflow: what each changed, and bringing one back."""

from typing import Any, NamedTuple

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.access import role_required, signed_in
from runs import actions
from runs.actions import Refused
from runs.core import changes as versions
from runs.core.difference import Difference
from runs.models import Workflow, WorkflowVersion
from runs.web import jsontext, view
from runs.web.changes import Changes, changes

MOST_TASKS = 200  # that a page shows the changes of
MOST_FIELDS = 30  # places of one task, or outside the tasks
MOST_COUNTED = 1000
MOST_LETTERS = 120  # of a value


class Part(NamedTuple):
    """Changes at one task, or ("" as the name) outside the tasks."""

    name: str
    kind: str
    fields: Changes


class Compared(NamedTuple):
    parts: tuple[Part, ...]
    more: int  # tasks that are not shown
    words: str


def compare(before: Any, after: Any) -> Compared:
    """What a reader sees of the changes from one masked definition to the other."""
    found = versions.changes(before, after)
    parts = [_part(task.name, task.kind, task.fields) for task in found.tasks[:MOST_TASKS]]
    if found.rest:
        parts.append(_part("", "changed", found.rest))
    return Compared(tuple(parts), max(0, len(found.tasks) - MOST_TASKS), versions.words(found))


def _part(name: str, kind: str, fields: tuple[Difference, ...]) -> Part:
    return Part(name, kind, changes(fields, MOST_FIELDS, letters=MOST_LETTERS, counted=MOST_COUNTED))


def listed(workflow: Workflow) -> QuerySet[WorkflowVersion]:
    """Newest first, without the definitions."""
    return workflow.versions.select_related("saved_by").defer("definition", "sealed").order_by("-number")


@role_required("viewer")
@require_safe
def version(request: HttpRequest, workflow_id: int, number: int) -> HttpResponse:
    """One version and what it changed. `?against=N`: compared with that one, else with the one before."""
    stored = get_object_or_404(
        Workflow.objects.select_related("upstream").defer("definition", "sealed"), pk=workflow_id
    )
    kept = stored.versions.select_related("saved_by").defer("sealed")
    others = [one.number for one in listed(stored) if one.number != number]
    asked = request.GET.get("against", "")
    chosen = view.number(asked)
    against = chosen if chosen in others else next((one for one in others if one < number), None)
    shown_version = kept.filter(number=number).first()
    context: dict[str, Any] = {"workflow": stored, "number": number, "version": shown_version, "others": others}
    if shown_version is None:
        return render(request, "workflows/version.html", context, status=404)
    context |= {
        "against": against,
        "unknown": asked if chosen not in others else "",
        "definition": jsontext.pretty(shown_version.definition),
        "present": number == stored.version,
        "may_operate": signed_in(request).may("operator"),
    }
    if against is not None:
        other = kept.get(number=against)
        context["compared"] = compare(other.definition, shown_version.definition)
    return render(request, "workflows/version.html", context)


@role_required("operator")
@require_POST
def restore(request: HttpRequest, workflow_id: int, number: int) -> HttpResponse:
    """The definition of this version becomes the present one, as a new version."""
    versions = WorkflowVersion.objects.select_related("workflow__upstream")
    kept = get_object_or_404(versions, workflow=workflow_id, number=number)
    before = kept.workflow.version
    try:
        saved = actions.restore_version(kept, user=signed_in(request))
    except Refused as refused:
        messages.error(request, f"Version {number} was not restored: {refused.message}")
        return redirect(kept)
    if saved.version == before:
        messages.success(request, f"Version {number} is what {saved.flow_name} has now; there was nothing to restore.")
    else:
        messages.success(request, f"Restored version {number} of {saved.flow_name} as version {saved.version}.")
    return redirect(saved)
