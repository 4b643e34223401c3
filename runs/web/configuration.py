"""The pages of what can be launched, and where: workflows (operators edit) and upstreams (admins only)."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import CharField, F, OuterRef, Q, Subquery, TextField, Value
from django.db.models.functions import Cast, Concat
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.access import role_required, signed_in
from runs import actions
from runs.actions import Refused
from runs.core import plan as plans
from runs.models import Run, Upstream, Workflow
from runs.web import durations, graph, jsontext, preview, versions
from runs.web.forms import UpstreamForm, WorkflowForm, show_refusal
from runs.web.pages import form_methods, status_of
from runs.web.watching_form import errors_met, pauses, watching_values

MOST_LISTED = 200
STRIP_LENGTH = 12  # last runs beside a workflow's name
RECENT_RUNS = 10

NEW_DEFINITION = {
    "tasks": [
        {
            "name": "first_task",
            "tag": "First task",
            "function": "call_lyzr_agent",
            "params": {"config": {"agent_id": "", "api_key": ""}, "message": {"input": "message"}},
        }
    ],
    "default_inputs": {"message": ""},
    "edges": [],
}


# --- workflows ---------------------------------------------------------------------------------------------------


class Strip(Subquery):
    """`id:status` of some rows in one text: a few index look-ups for each workflow, whatever its number of runs."""

    output_field = TextField()
    template = "(SELECT group_concat(strip.entry, ' ') FROM (%(subquery)s) strip)"

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(
            compiler,
            connection,
            template="(SELECT string_agg(strip.entry, ' ') FROM (%(subquery)s) strip)",
            **extra,
        )


def last_runs() -> Strip:
    entries = Run.objects.filter(workflow=OuterRef("pk")).order_by("-id")
    entry = Concat(Cast("pk", CharField()), Value(":"), F("status"), output_field=TextField())
    return Strip(entries.annotate(entry=entry).values("entry")[:STRIP_LENGTH])


def strip(text: str | None) -> list[dict[str, Any]]:
    """Oldest first, as time runs: [{id, status}]."""
    entries = [entry.partition(":") for entry in (text or "").split()]
    return sorted(({"id": int(number), "status": status} for number, _, status in entries), key=lambda run: run["id"])


@role_required("viewer")
@require_safe
def workflows(request: HttpRequest) -> HttpResponse:
    text = request.GET.get("q", "").strip()
    stored = Workflow.objects.select_related("upstream").defer("definition", "sealed").order_by("flow_name", "id")
    if text:
        stored = stored.filter(Q(flow_name__icontains=text) | Q(description__icontains=text))
    found = list(stored.annotate(strip_text=last_runs())[: MOST_LISTED + 1])
    context = {
        "rows": [(workflow, strip(workflow.strip_text)) for workflow in found[:MOST_LISTED]],
        "more": len(found) > MOST_LISTED,
        "q": text,
        "may_operate": signed_in(request).may("operator"),
    }
    return render(request, "workflows/list.html", context)


@role_required("viewer")
@require_safe
def workflow(request: HttpRequest, workflow_id: int) -> HttpResponse:
    """What it does task by task, and how its last runs went."""
    stored = get_object_or_404(Workflow.objects.select_related("upstream").defer("sealed"), pk=workflow_id)
    context = {
        "workflow": stored,
        **_planned(stored.definition),
        "definition": jsontext.pretty(stored.definition),
        "runs": Run.objects.listed().filter(workflow=stored)[:RECENT_RUNS],
        "deadline": None if stored.deadline_seconds is None else durations.write(stored.deadline_seconds),
        "pauses": pauses(stored),
        "versions": versions.listed(stored),
        "may_operate": signed_in(request).may("operator"),
    }
    return render(request, "workflows/page.html", context)


def _planned(definition: Any) -> dict[str, Any]:
    """The tasks in an order in which each comes after what it waits for, with the branches that lead on from it."""
    try:
        plan = plans.read(definition)
    except plans.PlanError as error:
        return {"tasks": [], "mistakes": error.mistakes}
    drawn = graph.drawn(graph.graph_of(definition))
    branches: dict[str, list[plans.Branch]] = {}
    for branch in plan.branches:
        branches.setdefault(branch.source, []).append(branch)
    ordered = sorted(plan.tasks, key=lambda task: (task.layer, task.position))
    return {
        "tasks": [(task, branches.get(task.name, [])) for task in ordered],
        "layers": 1 + max((task.layer for task in ordered), default=-1),
        "warnings": plan.warnings,
        "graph": drawn,
    }


@role_required("operator")
@form_methods
def workflow_new(request: HttpRequest) -> HttpResponse:
    return _edit_workflow(request, None)


@role_required("operator")
@form_methods
def workflow_edit(request: HttpRequest, workflow_id: int) -> HttpResponse:
    return _edit_workflow(request, get_object_or_404(Workflow.objects.select_related("upstream"), pk=workflow_id))


def _edit_workflow(request: HttpRequest, stored: Workflow | None) -> HttpResponse:
    status, mistakes = 200, None
    if request.method == "POST":
        form = WorkflowForm(request.POST)
        status = 422
        if form.is_valid():
            try:
                saved = actions.save_workflow(workflow=stored, user=signed_in(request), **form.cleaned_data)
            except Refused as refused:
                status = status_of(refused)
                mistakes = _definition_mistakes(form, refused)
            else:
                messages.success(request, f"Saved {saved.flow_name}.")
                return redirect(saved)
    else:
        form = WorkflowForm(initial=_workflow_values(stored))
    # A refused save has already put the new values on the row in memory; the page speaks of the stored one.
    stored = stored and Workflow.objects.filter(pk=stored.pk).first()
    context = {
        "form": form,
        "workflow": stored,
        "seen": preview.look(str(form["definition"].value() or ""), mistakes),
        "errors_met": errors_met(stored),
    }
    return render(request, "workflows/edit.html", context, status=status)


def _definition_mistakes(form: WorkflowForm, refused: Refused) -> list[plans.Mistake]:
    """The mistakes in the definition; mistakes in other fields are put there."""
    if not refused.mistakes:
        show_refusal(form, refused)
    found = []
    for mistake in refused.mistakes:
        if mistake.place in form.fields and mistake.place != "definition":
            form.add_error(mistake.place, mistake.message)
        else:
            found.append(mistake)
    return found


def _workflow_values(stored: Workflow | None) -> dict[str, Any]:
    if stored is None:
        upstream = _default()
        return {"upstream": upstream, "definition": jsontext.pretty(NEW_DEFINITION), **watching_values(None)}
    return {
        **watching_values(stored),
        "seen": stored.version,
        "upstream": stored.upstream,
        "flow_name": stored.flow_name,
        "description": stored.description,
        "definition": jsontext.pretty(stored.definition),
    }


@role_required("operator")
@form_methods
def workflow_delete(request: HttpRequest, workflow_id: int) -> HttpResponse:
    """Asks first; its runs stay either way."""
    stored = get_object_or_404(
        Workflow.objects.select_related("upstream").defer("definition", "sealed"), pk=workflow_id
    )
    if request.method == "POST":
        actions.delete_workflow(stored, user=signed_in(request))
        messages.success(request, f"Deleted the workflow {stored.flow_name}. Its runs are still in the list.")
        return redirect("workflows")
    context = {"workflow": stored, "has_runs": Run.objects.filter(workflow=stored).exists()}
    return render(request, "workflows/delete.html", context)


# --- upstreams ---------------------------------------------------------------------------------------------------


@role_required("admin")
@require_safe
def upstreams(request: HttpRequest) -> HttpResponse:
    default = _default()
    rows = [(upstream, upstream == default) for upstream in Upstream.objects.order_by("name")]
    return render(request, "upstreams/list.html", {"rows": rows, "why": _why_default(default)})


def _default() -> Upstream | None:
    try:
        return actions.default_upstream()
    except Refused:
        return None


def _why_default(default: Upstream | None) -> str:
    if default is None:
        return "No upstream is the default, so every launch must name one. One named “default” would be."
    if settings.UPSTREAM_API_URL and default.name == "default":
        return "“default” is used where none is named, because the environment defines it (UPSTREAM_API_URL)."
    if default.name == "default":
        return "“default” is used where none is named, because of its name."
    return f"“{default.name}” is used where none is named, because there is no upstream named “default”."


def _from_environment(upstream: Upstream | None) -> bool:
    """Whether the next start of the site sets its addresses anew."""
    if upstream is None:
        return False
    return upstream.name == "sandbox" or (upstream.name == "default" and bool(settings.UPSTREAM_API_URL))


@role_required("admin")
@form_methods
def upstream_new(request: HttpRequest) -> HttpResponse:
    return _edit_upstream(request, None)


@role_required("admin")
@form_methods
def upstream(request: HttpRequest, upstream_id: int) -> HttpResponse:
    stored = get_object_or_404(Upstream, pk=upstream_id)
    if request.method == "POST" and "delete" in request.POST:
        return _delete_upstream(request, stored)
    return _edit_upstream(request, stored)


def _delete_upstream(request: HttpRequest, stored: Upstream) -> HttpResponse:
    try:
        actions.delete_upstream(stored, user=signed_in(request))
    except Refused as refused:
        messages.error(request, refused.message)
        return redirect("upstream", stored.pk)
    messages.success(request, f"Deleted the upstream {stored.name}.")
    return redirect("upstreams")


def _edit_upstream(request: HttpRequest, stored: Upstream | None) -> HttpResponse:
    status = 200
    if request.method == "POST":
        form = UpstreamForm(request.POST, upstream=stored)
        status = 422
        if form.is_valid():
            fields = {name: form.cleaned_data[name] for name in ("name", "api_url", "socket_url", "studio_url")}
            try:
                saved = actions.save_upstream(upstream=stored, **fields, api_key=form.key(), user=signed_in(request))
            except Refused as refused:
                show_refusal(form, refused)
                status = status_of(refused)
            else:
                messages.success(request, f"Saved the upstream {saved.name}.")
                return redirect(reverse("upstreams"))
        # A refused save has already put the new values on the row in memory; the page speaks of the stored one.
        stored = stored and Upstream.objects.get(pk=stored.pk)
    else:
        names = ("name", "api_url", "socket_url", "studio_url")
        form = UpstreamForm(initial={name: getattr(stored, name, "") for name in names}, upstream=stored)
    in_use = stored is not None and (stored.runs.exists() or stored.workflows.exists())
    context = {"form": form, "upstream": stored, "in_use": in_use, "from_environment": _from_environment(stored)}
    return render(request, "upstreams/edit.html", context, status=status)
