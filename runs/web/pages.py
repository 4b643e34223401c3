"""The pages that make runs: launching, launching again, attaching.

Views read and word; what may be done is decided in runs/actions.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from accounts.access import role_required, signed_in
from runs import actions
from runs.actions import Overtaken, Refused, Taken
from runs.core import schema as schemas
from runs.models import Run, Upstream, Workflow
from runs.web.forms import AttachForm, show_refusal
from runs.web.launch_form import LaunchForm

MOST_CHOICES = 200  # workflows to choose from, and flow names offered while typing

form_methods = require_http_methods(["GET", "HEAD", "POST"])


def status_of(refused: Refused) -> int:
    return 409 if isinstance(refused, Taken | Overtaken) else 422


# --- launching ---------------------------------------------------------------------------------------------------


@role_required("operator")
@form_methods
def launch(request: HttpRequest) -> HttpResponse:
    """`?workflow=ID` or `?flow=NAME` (and `&upstream=NAME`): its form. Without either: which workflow?"""
    workflow = _asked_workflow(request)
    if workflow is None:
        return _choose_workflow(request)
    inputs = _inputs_of(workflow.definition)

    def go(run_name: str, entered: dict[str, Any]) -> Run:
        return actions.launch(workflow=workflow, run_name=run_name, inputs=entered, user=signed_in(request))

    context = {"workflow": workflow}
    return _launch_page(
        request, workflow.upstream, workflow.flow_name, inputs, schemas.of(workflow.definition), go, context
    )


@role_required("operator")
@form_methods
def retry(request: HttpRequest, run_id: int) -> HttpResponse:
    """Launch again what a run was launched with. A POST without the form's fields changes nothing of it."""
    run = get_object_or_404(Run.objects.select_related("upstream", "workflow", "launch"), pk=run_id)
    launched = getattr(run, "launch", None)
    if launched is None or not launched.sealed:
        return render(request, "runs/launch.html", {"retry_of": run, "unknown": True}, status=409)

    def go(run_name: str, entered: dict[str, Any] | None) -> Run:
        return actions.retry(run, run_name=run_name, inputs=entered, user=signed_in(request))

    if request.method == "POST" and "run_name" not in request.POST:
        try:
            return redirect(go("", None))
        except Refused as refused:
            context = {"retry_of": run, "refused": refused.message}
            return render(request, "runs/launch.html", context, status=status_of(refused))
    context = {"retry_of": run, "workflow": run.workflow}
    schema = schemas.of(launched.definition)
    return _launch_page(request, run.upstream, run.flow_name, dict(launched.inputs), schema, go, context)


def _launch_page(
    request: HttpRequest,
    upstream: Upstream,
    flow_name: str,
    inputs: Mapping[str, Any],
    schema: dict[str, Any] | None,
    go: Callable[[str, dict[str, Any]], Run],
    context: dict[str, Any],
) -> HttpResponse:
    """The form made from `inputs` and `schema`, and what it sends: `go(run name, inputs)` launches."""
    status = 200
    if request.method == "POST":
        form = LaunchForm(inputs, schema, request.POST)
        status = 422
        if form.is_valid():
            try:
                return redirect(go(form.cleaned_data["run_name"], form.entered()))
            except Refused as refused:
                show_refusal(form, refused)
                status = status_of(refused)
    else:
        run_name = request.GET.get("run_name") or actions.mint_run_name(flow_name)
        form = LaunchForm(inputs, schema, initial={"run_name": run_name}, link=request.GET.dict())
    taken = None
    if status == 409:
        taken = Run.objects.filter(upstream=upstream, flow_name=flow_name, run_name=form.data["run_name"]).first()
    context |= {
        "form": form,
        "flow_name": flow_name,
        "upstream": upstream,
        "strangers": form.strangers,
        "taken": taken,
        "fresh_name": actions.mint_run_name(flow_name) if status == 409 else "",
    }
    return render(request, "runs/launch.html", context, status=status)


def _asked_workflow(request: HttpRequest) -> Workflow | None:
    """The workflow that the address names; None when it names none, or a flow that is not saved here."""
    stored = Workflow.objects.select_related("upstream")
    if number := request.GET.get("workflow"):
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise Http404(f"There is no workflow {number!r}.")
        return get_object_or_404(stored, pk=int(number))
    named = stored.filter(flow_name=request.GET.get("flow", "")).order_by("id")
    if where := request.GET.get("upstream"):
        return named.filter(upstream__name=where).first()
    return _at_default(named) or named.first()


def _at_default(named: QuerySet[Workflow]) -> Workflow | None:
    try:
        return named.filter(upstream=actions.default_upstream()).first()
    except Refused:
        return None


def _choose_workflow(request: HttpRequest) -> HttpResponse:
    text = request.GET.get("q", "").strip()
    stored = Workflow.objects.select_related("upstream").defer("definition", "sealed").order_by("flow_name", "id")
    if text:
        stored = stored.filter(flow_name__icontains=text)
    found = list(stored[: MOST_CHOICES + 1])
    context = {
        "workflows": found[:MOST_CHOICES],
        "more": len(found) > MOST_CHOICES,
        "q": text,
        "missing": request.GET.get("flow", ""),
        "link_inputs": request.GET.urlencode(),
    }
    return render(request, "runs/launch.html", context, status=404 if context["missing"] else 200)


def _inputs_of(definition: Any) -> dict[str, Any]:
    inputs = definition.get("default_inputs") if isinstance(definition, dict) else None
    return dict(inputs) if isinstance(inputs, dict) else {}


# --- attaching ---------------------------------------------------------------------------------------------------


@role_required("operator")
@form_methods
def attach(request: HttpRequest) -> HttpResponse:
    """Follow a run that was started elsewhere."""
    status, taken = 200, None
    if request.method == "POST":
        form = AttachForm(request.POST)
        status = 422
        if form.is_valid():
            address = dict(form.cleaned_data)  # a refusal takes its field out of the form's own
            try:
                return redirect(actions.attach(**address, user=signed_in(request)))
            except Refused as refused:
                show_refusal(form, refused)
                status = status_of(refused)
                taken = Run.objects.filter(**address).first() if isinstance(refused, Taken) else None
    else:
        form = AttachForm(initial=_attach_defaults(request))
    flows = Workflow.objects.order_by("flow_name").values_list("flow_name", flat=True).distinct()
    context = {
        "form": form,
        "taken": taken,
        "flows": flows[:MOST_CHOICES],
        "upstreams_exist": Upstream.objects.exists(),
        "may_admin": signed_in(request).may("admin"),
    }
    return render(request, "runs/attach.html", context, status=status)


def _attach_defaults(request: HttpRequest) -> dict[str, Any]:
    """What a link prefills (`upstream`, `flow_name`, `run_name`), else the default upstream."""
    named = Upstream.objects.filter(name=request.GET.get("upstream", "")).first()
    if named is None:
        try:
            named = actions.default_upstream()
        except Refused:
            named = None
    return {"upstream": named, **{name: request.GET.get(name, "") for name in ("flow_name", "run_name")}}
