"""Signing in through an OpenID Connect provider. django-allauth speaks the protocol; who the person is here, and what
they may do, is decided in this module. Imported only when OIDC_ISSUER is set.
"""

import re
from collections.abc import Callable
from typing import Any, NoReturn

import jwt
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from requests import RequestException

from accounts import people, signin
from accounts.models import Role, User

APP: dict[str, Any] = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]  # type: ignore[index]
SIGNATURES = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
LONGEST_NAME = 140  # leaves room for a number that makes it unique

type Claims = dict[str, Any]


class Protocol(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # published without types
    """Stricter than the library: the signature of an id_token is always verified, issuer and subject must agree."""

    @property
    def openid_config(self) -> dict[str, Any]:
        found: dict[str, Any] = super().openid_config
        if str(found.get("issuer")).rstrip("/") != settings.OIDC_ISSUER:
            raise OAuth2Error(f"it calls itself {found.get('issuer')!r}, not {settings.OIDC_ISSUER!r}")
        return found

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        return request.build_absolute_uri(reverse("oidc-callback"))

    def get_access_token_data(self, *args: Any, **options: Any) -> Any:
        answer = super().get_access_token_data(*args, **options)
        self.did_fetch_access_token = False  # else the library leaves the signature unverified
        return answer

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **answer: Any) -> SocialLogin:
        id_token = answer["response"].get("id_token")
        if not id_token:
            raise OAuth2Error("its answer has no id_token")
        try:
            if jwt.get_unverified_header(id_token).get("alg") not in SIGNATURES:
                raise OAuth2Error("its id_token is not signed with a public key")
            login = super().complete_login(request, app, token, **answer)
            claims = login.account.extra_data
            same = claims["id_token"]["sub"] == claims["userinfo"]["sub"]
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise OAuth2Error(f"its answer makes no sense ({type(error).__name__})") from error
        if not same:
            raise OAuth2Error("it speaks of two different people")
        return login


class Provider(OpenIDConnectProvider):  # type: ignore[misc]
    oauth2_adapter_class = Protocol


class Adapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def get_provider(self, request: HttpRequest, provider: Any, client_id: Any = None) -> Provider:
        return Provider(request, app=self.get_app(request, provider=APP["provider_id"]))

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> NoReturn:
        """The library has made sure who it is: sign them in, and skip its own pages about accounts."""
        found: dict[str, Claims] = sociallogin.account.extra_data
        claims = {**found["id_token"], **found["userinfo"]}
        with transaction.atomic():
            user = sociallogin.user if sociallogin.is_existing else make_person(claims)
            if not user.is_active:
                refuse(request, "Your user is disabled here. An administrator can enable it again.", 403)
            if not sociallogin.is_existing:
                sociallogin.account.user = user
                sociallogin.account.save()
            if any(settings.OIDC_ROLES.values()):
                people.set_role(user, role_of(claims), None, f", says {settings.OIDC_NAME}")
            signin.enter(request, user, settings.OIDC_NAME[:60])
        raise ImmediateHttpResponse(HttpResponseRedirect(signin.inside(request, sociallogin.state.get("next"))))

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> NoReturn:
        refuse(request, why(exception))


def why(error: Exception | None) -> str:
    """What a person can tell an administrator. Network errors may hold addresses with secrets: their kind is enough."""
    if isinstance(error, OAuth2Error) and error.args:
        return f"Its answer cannot be trusted: {error.args[0]}."
    if isinstance(error, RequestException):
        return f"It cannot be reached at the moment ({type(error).__name__})."
    return "The sign-in was broken off there, or took too long. Nothing has changed; begin again."


def refuse(request: HttpRequest, words: str, status: int = 502) -> NoReturn:
    context = {"provider": settings.OIDC_NAME, "why": words}
    raise ImmediateHttpResponse(render(request, "accounts/provider_failed.html", context, status=status))


def make_person(claims: Claims) -> User:
    """A new user, named as the provider names them; somebody of that name who is here already is somebody else."""
    wanted = str(claims.get("preferred_username") or str(claims.get("email", "")).partition("@")[0] or claims["sub"])
    name = re.sub(r"[^\w.@+-]", "-", User.normalize_username(wanted))[:LONGEST_NAME]
    number = 1
    while User.objects.filter(username=name if number == 1 else f"{name}-{number}").exists():
        number += 1
    user = people.make(name if number == 1 else f"{name}-{number}", Role.VIEWER, None)
    user.email = str(claims.get("email", ""))[:254]
    user.first_name = str(claims.get("given_name", ""))[:150]
    user.last_name = str(claims.get("family_name", ""))[:150]
    user.save(update_fields=["email", "first_name", "last_name"])
    return user


def role_of(claims: Claims) -> str:
    """The highest role that the configured claim names; viewer when it names none. Dots lead into the claim."""
    value: Any = claims
    for part in settings.OIDC_ROLE_CLAIM.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    held = {str(one) for one in value} if isinstance(value, list) else {str(value)}
    return next((role for role in (Role.ADMIN, Role.OPERATOR) if held & set(settings.OIDC_ROLES[role])), Role.VIEWER)


def _speaking(kind: Any) -> Callable[[HttpRequest], HttpResponse]:
    """A view of the library's, with our protocol and our page for what goes wrong."""

    @never_cache
    @require_safe
    def view(request: HttpRequest) -> HttpResponse:
        try:
            try:
                answer: HttpResponse = kind.adapter_view(Protocol(request, APP["provider_id"]))(request)
                return answer
            except (OAuth2Error, RequestException, KeyError) as error:
                refuse(request, why(error))
        except ImmediateHttpResponse as refused:
            page: HttpResponse = refused.response
            return page

    return view


login = _speaking(OAuth2LoginView)
callback = _speaking(OAuth2CallbackView)
