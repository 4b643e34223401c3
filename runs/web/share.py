"""The pages on which operators make and revoke links: to a run, or to the badge of a flow."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.access import role_required, signed_in
from runs import sharing
from runs.models import Run, ShareLink, Workflow

NEVER = ""
LIFETIMES = [("1", "A day"), ("7", "7 days"), ("30", "30 days"), ("90", "90 days"), (NEVER, "No expiry")]

form_methods = require_http_methods(["GET", "HEAD", "POST"])


class LinkForm(forms.Form):
    name = forms.CharField(
        label="What for",
        max_length=100,
        required=False,
        help_text="So that you know it again, like “page of the release”. Only those who make links see it.",
    )
    days = forms.ChoiceField(label="Good for", choices=LIFETIMES, required=False)


@never_cache
@role_required("operator")
@form_methods
def run_links(request: HttpRequest, run_id: int) -> HttpResponse:
    run = get_object_or_404(Run, pk=run_id)
    return _links(request, run, {"run": run, "back": run.get_absolute_url()})


@never_cache
@role_required("operator")
@form_methods
def workflow_links(request: HttpRequest, workflow_id: int) -> HttpResponse:
    workflow = get_object_or_404(Workflow.objects.defer("definition", "sealed"), pk=workflow_id)
    return _links(request, workflow, {"workflow": workflow, "back": workflow.get_absolute_url()})


def _links(request: HttpRequest, of: Run | Workflow, context: dict[str, Any]) -> HttpResponse:
    """The list, and a form for another. A new link's text stands in the answer to its form and nowhere else."""
    # What stands on a page elsewhere is to stay there; who is shown a run looks at it while it matters.
    empty = LinkForm(initial={"days": "30" if isinstance(of, Run) else NEVER})
    form, status = empty, 200
    if request.method == "POST":
        form = LinkForm(request.POST)
        if form.is_valid():
            days = form.cleaned_data["days"]
            _, text = sharing.make(
                of, signed_in(request), days=int(days) if days else None, name=form.cleaned_data["name"]
            )
            context["made"] = dict(
                zip(("page", "embed", "badge"), map(request.build_absolute_uri, sharing.paths(text)), strict=True)
            )
            form = empty
        else:
            status = 422
    context |= {"rows": sharing.listed(of), "form": form, "embed_origins": settings.EMBED_ORIGINS}
    return render(request, "shared/links.html", context, status=status)


@role_required("operator")
@require_POST
def revoke(request: HttpRequest, link_id: int) -> HttpResponse:
    link = get_object_or_404(ShareLink.objects.select_related("run", "workflow"), pk=link_id)
    sharing.revoke(link, signed_in(request))
    messages.success(request, f"The link {link.prefix}… is revoked: it shows nothing from now on.")
    return redirect("run-links", link.run_id) if link.run_id else redirect("workflow-links", link.workflow_id)
