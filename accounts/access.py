"""What stands before a page: a sign-in, and a role that is high enough."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render, resolve_url

from accounts import signin
from accounts.models import Role, User, allows

MAY = {
    Role.VIEWER.value: "look at runs",
    Role.OPERATOR.value: "launch, attach, retry and stop watching runs, and edit workflows",
    Role.ADMIN.value: "edit upstreams, alerts and users, and see streams, the quarantine and the audit log",
}
ADMINS_NAMED = 3


def role_required[**P](
    role: str,
) -> Callable[
    [Callable[Concatenate[HttpRequest, P], HttpResponseBase]],
    Callable[Concatenate[HttpRequest, P], HttpResponseBase],
]:
    """For synchronous views: who is not signed in is sent to the sign-in, too low a role gets a 403 page."""
    allows(role, role)  # a misspelt role fails where it is written, not at the first visit

    def decorate(
        view: Callable[Concatenate[HttpRequest, P], HttpResponseBase],
    ) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            user = request.user
            if not isinstance(user, User):
                return to_sign_in(request)
            if not user.may(role):
                return refused(request, user, role)
            signin.used(request, user)
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def signed_in(request: HttpRequest) -> User:
    """The person behind a request that `role_required` let through."""
    assert isinstance(request.user, User)
    return request.user


def to_sign_in(request: HttpRequest) -> HttpResponse:
    """To the sign-in and back here. A part of a page that htmx asked for takes the whole page there."""
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(status=401, headers={"HX-Redirect": resolve_url("sign-in")})
    # After a POST there is nothing to come back to: its address may answer no GET.
    return redirect_to_login(request.get_full_path() if request.method in ("GET", "HEAD") else "/")


def refused(request: HttpRequest, user: User, needed: str) -> HttpResponse:
    """The 403 page: which role it takes, what that role may do, and whom to ask for it."""
    admins = User.objects.filter(role=Role.ADMIN, is_active=True).exclude(pk=user.pk).order_by("username")
    context = {
        "needed": needed,
        "role": user.role,
        "may": MAY[needed],
        "admins": list(admins.values_list("username", flat=True)[:ADMINS_NAMED]),
    }
    return render(request, "accounts/forbidden.html", context, status=403)
