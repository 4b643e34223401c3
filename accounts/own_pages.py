"""What people manage about themselves: password, signed-in browsers, API tokens."""

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import audit, people, signin, tokens
from accounts.access import role_required, signed_in
from accounts.forms import TokenForm, password_form
from accounts.models import Deed, SignIn, Token, User

form_methods = require_http_methods(["GET", "HEAD", "POST"])


@never_cache
@sensitive_post_parameters()
@role_required("viewer")
@form_methods
def password(request: HttpRequest) -> HttpResponse:
    """Change it, or set a first one. Their other browsers are signed out; this one stays."""
    user = signed_in(request)
    if people.from_provider(user):
        return render(request, "accounts/password.html", {"managed": True})
    form = password_form(user, request.POST if request.method == "POST" else None)
    if form.is_valid():
        with transaction.atomic():
            form.save()
            _end_others(request, user)
            update_session_auth_hash(request, user)  # a new key, too
            signin.remember(request, user, "password")
            audit.record(Deed.PASSWORD_CHANGED, user, user.username)
        messages.success(request, "Your password is changed. Everywhere else you are signed out.")
        return redirect("password")
    return render(request, "accounts/password.html", {"form": form}, status=422 if form.is_bound else 200)


@never_cache
@role_required("viewer")
@require_safe
def sessions(request: HttpRequest) -> HttpResponse:
    """Where they are signed in, the latest use first."""
    context = {"rows": _signed_in(signed_in(request)), "here": request.session.session_key}
    return render(request, "accounts/sessions.html", context)


@role_required("viewer")
@require_POST
def session_end(request: HttpRequest, sign_in_id: int) -> HttpResponse:
    """Sign one of their browsers out; this one, too."""
    user = signed_in(request)
    found = get_object_or_404(SignIn, pk=sign_in_id, user=user)
    if found.session_id == request.session.session_key:
        signin.leave(request)
        return redirect("sign-in")
    with transaction.atomic():
        Session.objects.filter(pk=found.session_id).delete()
        audit.record(Deed.SIGNED_OUT_ELSEWHERE, user, user.username, f"one browser, at {found.address}")
    messages.success(request, "That browser is signed out.")
    return redirect("sessions")


@role_required("viewer")
@require_POST
def sessions_end(request: HttpRequest) -> HttpResponse:
    """Sign all their browsers out, this one included."""
    user = signed_in(request)
    people.sign_out_everywhere(user, user)
    signin.forget(request)
    return redirect("sign-in")


@never_cache
@role_required("viewer")
@form_methods
def own_tokens(request: HttpRequest) -> HttpResponse:
    """Their tokens, and a form for another. A new token's text stands in the answer to its form and nowhere else."""
    user = signed_in(request)
    made, status = "", 200
    form = TokenForm(user.role, request.POST or None)
    if request.method == "POST":
        if form.is_valid():
            days = form.cleaned_data["days"]
            role, name = form.cleaned_data["role"], form.cleaned_data["name"]
            made = tokens.make(user, role, int(days) if days else None, user, name)
            form = TokenForm(user.role)
        else:
            status = 422
    context = {"rows": listed_tokens(user), "form": form, "made": made}
    return render(request, "accounts/tokens.html", context, status=status)


@role_required("viewer")
@require_POST
def token_revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    """One's own; an administrator also anybody's."""
    user = signed_in(request)
    theirs = Token.objects.select_related("user")
    found = get_object_or_404(theirs if user.may("admin") else theirs.filter(user=user), pk=token_id)
    tokens.revoke(found, user)
    messages.success(request, f"The token {found.prefix}… is revoked.")
    return redirect("tokens") if found.user_id == user.pk else redirect("user", found.user_id)


def listed_tokens(user: User) -> list[Token]:
    """Those that are not revoked, the newest first; expired ones stay in sight."""
    return list(Token.objects.filter(user=user, revoked_at=None).select_related("user").order_by("-pk"))


def _signed_in(user: User) -> list[SignIn]:
    return list(SignIn.objects.filter(user=user).going_on().order_by("-used_at", "-pk"))


def _end_others(request: HttpRequest, user: User) -> None:
    Session.objects.filter(sign_in__user=user).exclude(pk=request.session.session_key).delete()
