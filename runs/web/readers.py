"""Who may read a run's page: who is signed in, under the run's number; whoever has a link to it, under the link's text.

A link lets in to its one run. Whatever else is asked for under it gets the same answer as a text that is no link.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.access import role_required
from accounts.models import Role
from runs import sharing
from runs.models import ShareLink

type View = Callable[..., HttpResponseBase]


def for_readers(view: View) -> View:
    """`view(request, run_id, guest, …)`, at an address with <int:run_id> and at one with <str:token>."""

    @role_required(Role.VIEWER)
    def for_members(request: HttpRequest, /, run_id: int, **more: Any) -> HttpResponseBase:
        return view(request, run_id, False, **more)

    for_guests = by_link(view)

    @wraps(view)
    @require_safe
    def guarded(request: HttpRequest, *, run_id: int = 0, token: str = "", **more: Any) -> HttpResponseBase:
        if token:
            return for_guests(request, token=token, **more)
        return for_members(request, run_id=run_id, **more)

    return guarded


def by_link(view: View) -> View:
    """`view(request, run_id, guest, …)` for who has a link to a run."""

    @wraps(view)
    @with_link
    def let_in(request: HttpRequest, link: ShareLink, **more: Any) -> HttpResponseBase:
        if link.run_id is None:
            raise Http404
        return view(request, link.run_id, True, **more)

    return let_in


def with_link(view: View) -> View:
    """`view(request, link, …)` for who has a link; else, and where it finds nothing, one and the same 404 page."""

    @wraps(view)
    @require_safe
    def guarded(request: HttpRequest, *, token: str, **more: Any) -> HttpResponseBase:
        link = sharing.use(token)
        try:
            return view(request, link, **more) if link else not_found(request)
        except Http404:
            return not_found(request)

    return guarded


@require_safe
def not_found(request: HttpRequest, **more: Any) -> HttpResponse:
    return render(request, "shared/not_found.html", status=404)
