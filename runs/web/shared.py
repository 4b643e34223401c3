"""What a link shows beside its run's page: the same in few lines for a page of another site, and a badge."""

import hashlib
import time

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.utils.safestring import SafeString
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.csp import csp_override

from runs.models import Run, ShareLink
from runs.web import badges
from runs.web import render as regions
from runs.web.readers import by_link, with_link

THEMES = ("light", "dark")


@xframe_options_exempt
def embed(request: HttpRequest, token: str) -> HttpResponseBase:
    """To be shown within a page of EMBED_ORIGINS, its 404 included; `?theme=` is light or dark, else as the reader's
    system.
    """
    policy = {**settings.SECURE_CSP, "frame-ancestors": settings.EMBED_ORIGINS or ["'none'"]}
    answer = csp_override(policy)(_embed)(request, token=token)
    answer["Cross-Origin-Resource-Policy"] = "cross-origin"
    return answer


@by_link
def _embed(request: HttpRequest, run_id: int, guest: bool) -> HttpResponse:
    try:
        run = regions.read_run(run_id)
    except Run.DoesNotExist:
        raise Http404 from None
    theme = request.GET.get("theme", "")
    context = {
        "run": run,
        "card": SafeString(regions.card(run)),  # nosec B703  # rendered by a template
        "now": f"{time.time():.3f}",
        "theme": theme if theme in THEMES else "",
    }
    return render(request, "shared/embed.html", context)


def badge(request: HttpRequest, token: str) -> HttpResponseBase:
    """A picture of the run's state; of a workflow's link, of its latest run. Asked for again each time, and answered in
    a few bytes while nothing has changed.
    """
    answer = _badge(request, token=token)
    answer["Cross-Origin-Resource-Policy"] = "cross-origin"  # else no page of another site shows it; a 304, too
    return answer


@with_link
def _badge(request: HttpRequest, link: ShareLink) -> HttpResponseBase:
    run = link.run or Run.objects.filter(workflow=link.workflow_id).order_by("-pk").first()
    name = run.flow_name if run else link.workflow.flow_name if link.workflow else ""
    picture = badges.drawn(name, run)
    answer = HttpResponse(picture, content_type="image/svg+xml; charset=utf-8", headers={"Cache-Control": "no-cache"})
    etag = quote_etag(hashlib.blake2b(picture.encode(), digest_size=16).hexdigest())
    answer["ETag"] = etag
    found = get_conditional_response(request, etag=etag, response=answer)
    assert found is not None
    return found
