"""The page that imports workflows from an upstream's studio."""

from typing import Any, NamedTuple

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from accounts.access import role_required, signed_in
from runs import actions, importing
from runs.actions import Refused
from runs.importing import Offer, TakenOver
from runs.models import Upstream
from runs.web.pages import form_methods
from runs.web.versions import Compared, compare

MOST_NAMED = 5  # workflows in a message


class Row(NamedTuple):
    offer: Offer
    compared: Compared | None


@role_required("operator")
@form_methods
def workflow_import(request: HttpRequest) -> HttpResponse:
    """`?upstream=ID`: what its studio has. A POST imports those with the marks in `chosen`."""
    upstreams = list(Upstream.objects.exclude(studio_url="").order_by("name"))
    upstream = _asked(request, upstreams)
    context: dict[str, Any] = {"upstreams": upstreams, "upstream": upstream}
    context["may_admin"] = signed_in(request).may("admin")
    if upstream is None:
        return render(request, "workflows/import.html", context)
    chosen = set(request.POST.getlist("chosen"))
    try:
        if request.method == "POST" and chosen:
            _tell(request, importing.take_over(upstream, chosen, signed_in(request)))
            return redirect(f"{reverse('workflow-import')}?upstream={upstream.pk}")
        offers, more = importing.offers(upstream)
    except Refused as refused:
        return render(request, "workflows/import.html", context | {"refused": refused.message})
    nothing = request.method == "POST"
    context |= {
        "rows": [Row(offer, _compared(offer)) for offer in offers],
        "to_import": any(offer.mark for offer in offers if offer.state in ("new", "changed")),
        "more": more,
        "nothing_chosen": nothing,
    }
    return render(request, "workflows/import.html", context, status=422 if nothing else 200)


def _asked(request: HttpRequest, upstreams: list[Upstream]) -> Upstream | None:
    """The upstream that the address names, else the default one, else the first: of those with a studio."""
    number = request.GET.get("upstream", "")
    if number:
        found = next((one for one in upstreams if str(one.pk) == number), None)
        if found is None:
            raise Http404(f"There is no upstream {number!r} with a studio.")
        return found
    try:
        default = actions.default_upstream()
    except Refused:
        default = None
    return default if default in upstreams else next(iter(upstreams), None)


def _compared(offer: Offer) -> Compared | None:
    if offer.state != "changed" or offer.workflow is None:
        return None
    return compare(offer.workflow.definition, offer.masked)


def _tell(request: HttpRequest, result: TakenOver) -> None:
    if result.made:
        messages.success(request, f"Imported {_named([one.flow_name for one in result.made])}.")
    if result.updated:
        names = [f"{one.flow_name} (version {one.version})" for one in result.updated]
        messages.success(request, f"Updated {_named(names)}.")
    for flow_name, why in result.refused[:MOST_NAMED]:
        messages.error(request, f"{flow_name} was not imported: {why}")
    if result.gone:
        what = "One workflow was" if result.gone == 1 else f"{result.gone} workflows were"
        messages.error(
            request, f"{what} changed, here or at the studio, after this page was drawn, and not imported. Look again."
        )


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"
