"""Signing in with a password or a one-time link, and signing out."""

from typing import Any

from axes.helpers import get_cool_off
from django.conf import settings
from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import audit, signin
from accounts.models import Deed, SigninLink, User

LONGEST_NAME = 150


def onward(request: HttpRequest) -> str:
    """Where to go after the sign-in: `next` when it is an address of this site, else the list of runs."""
    return signin.inside(request, request.POST.get("next") or request.GET.get("next"))


@never_cache
@sensitive_post_parameters("password")
@sensitive_variables("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """The form, and what it sends. The same answer for a wrong name, a wrong password and a disabled user."""
    context: dict[str, Any] = {"next": onward(request), "provider": settings.OIDC_NAME}
    if request.method != "POST":
        if request.user.is_authenticated:
            return HttpResponseRedirect(onward(request))
        return render(request, "accounts/sign_in.html", context)
    username, password = request.POST.get("username", ""), request.POST.get("password", "")
    # A NUL is no part of any name, and PostgreSQL raises on one; nor is any name longer than its column.
    impossible = "\0" in username or len(username) > LONGEST_NAME
    user = None if impossible else authenticate(request, username=username, password=password)
    if not isinstance(user, User):
        _note_failure(request, username)
        context |= {"username": username, "wrong": True}
        return render(request, "accounts/sign_in.html", context, status=422)
    signin.enter(request, user, "password")
    return HttpResponseRedirect(onward(request))


def _note_failure(request: HttpRequest, username: str) -> None:
    """Only a known name goes into the log: what else stands in the field may be a password that slipped into it."""
    known = "\0" not in username and User.objects.filter(username=username).exists()
    deed = Deed.LOCKED_OUT if getattr(request, "axes_locked_out", False) else Deed.SIGN_IN_FAILED
    audit.record(deed, username if known else None, "" if known else "an unknown name")


def locked_out(request: HttpRequest, original: HttpResponse | None, credentials: Any = None) -> HttpResponse:
    """After too many wrong passwords for one name from one address: how long that pair has to wait, and what helps."""
    wait = get_cool_off(request)
    assert wait is not None
    answer = render(
        request,
        "accounts/locked_out.html",
        {"minutes": int(wait.total_seconds() // 60), "provider": settings.OIDC_NAME},
        status=429,
    )
    answer["Retry-After"] = str(int(wait.total_seconds()))
    answer["Cache-Control"] = "no-store"
    return answer


def opened_by_a_person(request: HttpRequest) -> bool:
    """Whether a browser goes to this address now. Previews and prefetches must not spend a link.

    Browsers say what a request is for; what says nothing (a terminal's client, an old browser) is let in.
    """
    return (
        request.method == "GET"
        and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
        and not any(request.headers.get(name) for name in ("Sec-Purpose", "Purpose", "X-Moz", "X-Purpose"))
    )


@never_cache
@require_safe
def sign_in_link(request: HttpRequest, token: str) -> HttpResponse:
    """Signs in and leads on; a link that was used or is too old says how to get another."""
    if not opened_by_a_person(request):
        return render(request, "accounts/link.html", {"spent": False})
    user = SigninLink.redeem(token)
    if user is None:
        return render(request, "accounts/link.html", {"spent": True}, status=410)
    signin.enter(request, user, "one-time link", Deed.LINK_USED)
    return HttpResponseRedirect(onward(request))


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    signin.leave(request)
    return redirect("sign-in")
