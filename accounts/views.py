"""Signing in with a password or a one-time link, and signing out."""

from django.contrib.auth import authenticate, login, logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import SigninLink

# Links sign in a user who may have no password; Django wants to know which backend loads the user afterwards.
BACKEND = "django.contrib.auth.backends.ModelBackend"


def onward(request: HttpRequest) -> str:
    """Where to go after the sign-in: `next` when it is an address of this site, else the list of runs."""
    asked = request.POST.get("next") or request.GET.get("next") or ""
    ours = url_has_allowed_host_and_scheme(asked, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    return asked if ours else resolve_url("/")


@never_cache
@sensitive_post_parameters("password")
@sensitive_variables("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """The form, and what it sends. The same answer for a wrong name, a wrong password and a disabled user."""
    if request.method != "POST":
        if request.user.is_authenticated:
            return HttpResponseRedirect(onward(request))
        return render(request, "accounts/sign_in.html", {"next": onward(request)})
    username, password = request.POST.get("username", ""), request.POST.get("password", "")
    # A NUL is no part of any name, and PostgreSQL raises on one.
    user = None if "\0" in username else authenticate(request, username=username, password=password)
    if user is None:
        context = {"next": onward(request), "username": username, "wrong": True}
        return render(request, "accounts/sign_in.html", context, status=422)
    login(request, user)
    return HttpResponseRedirect(onward(request))


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
    login(request, user, backend=BACKEND)
    return HttpResponseRedirect(onward(request))


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("sign-in")
