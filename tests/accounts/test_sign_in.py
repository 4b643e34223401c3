"""Signing in with a password, with a one-time link, and out again."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.conf import global_settings as default_settings
from django.conf import settings
from django.contrib.auth.hashers import MD5PasswordHasher, PBKDF2PasswordHasher
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from accounts.models import SigninLink
from tests.factories import make_run, make_user

pytestmark = pytest.mark.django_db

PASSWORD = "a long enough one"


def signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_the_right_password_signs_in_and_leads_to_where_one_wanted_to_go(client: Client) -> None:
    make_user(username="ada", password=PASSWORD)
    answer = client.post("/sign-in/", {"username": "ada", "password": PASSWORD, "next": "/runs/7/?tab=log"})
    assert answer.status_code == 302
    assert answer["Location"] == "/runs/7/?tab=log"
    assert signed_in(client)


@pytest.mark.parametrize("fields", [{}, {"is_active": False}])
def test_a_wrong_password_and_a_disabled_user_get_the_same_answer(client: Client, fields: dict[str, bool]) -> None:
    make_user(username="ada", password=PASSWORD, **fields)
    sent = PASSWORD if fields else "something else entirely"
    answer = client.post("/sign-in/", {"username": "ada", "password": sent})
    assert answer.status_code == 422
    assert "No active user has this name and password" in answer.text
    assert not signed_in(client)


@pytest.mark.parametrize("username", ["nobody", "a\0b", ""])
def test_an_impossible_name_is_a_plain_refusal(client: Client, username: str) -> None:
    assert client.post("/sign-in/", {"username": username, "password": "x"}).status_code == 422


def test_a_user_without_a_password_cannot_sign_in_with_an_empty_one(client: Client) -> None:
    make_user(username="ada")
    assert client.post("/sign-in/", {"username": "ada", "password": ""}).status_code == 422


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"]
)
def test_next_never_leads_to_another_site(client: Client, elsewhere: str) -> None:
    make_user(username="ada", password=PASSWORD)
    answer = client.post("/sign-in/", {"username": "ada", "password": PASSWORD, "next": elsewhere})
    assert answer["Location"] == "/"
    client.logout()
    link = SigninLink.issue(make_user())
    assert client.get(f"/sign-in/{link}/", {"next": elsewhere})["Location"] == "/"


def test_the_form_needs_its_csrf_token() -> None:
    make_user(username="ada", password=PASSWORD)
    client = Client(enforce_csrf_checks=True)
    assert client.post("/sign-in/", {"username": "ada", "password": PASSWORD}).status_code == 403


def test_a_link_signs_in_once(client: Client) -> None:
    user = make_user("operator")
    link = SigninLink.issue(user)
    assert client.get(f"/sign-in/{link}/").status_code == 302
    assert client.session["_auth_user_id"] == str(user.pk)

    second = Client()
    answer = second.get(f"/sign-in/{link}/")
    assert answer.status_code == 410
    assert "signin_link" in answer.text
    assert not signed_in(second)


def test_an_expired_link_says_how_to_get_another(client: Client) -> None:
    link = SigninLink.issue(make_user())
    SigninLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    answer = client.get(f"/sign-in/{link}/")
    assert answer.status_code == 410
    assert "signin_link" in answer.text


def test_the_link_of_a_disabled_user_opens_nothing(client: Client) -> None:
    link = SigninLink.issue(make_user(is_active=False))
    assert client.get(f"/sign-in/{link}/").status_code == 410
    assert not signed_in(client)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Purpose": "prefetch"},
        {"Purpose": "prefetch"},
    ],
)
def test_a_preview_does_not_spend_a_link(client: Client, headers: dict[str, str]) -> None:
    link = SigninLink.issue(make_user())
    assert client.get(f"/sign-in/{link}/", headers=headers).status_code == 200
    assert not signed_in(client)
    assert client.get(f"/sign-in/{link}/", headers={"Sec-Fetch-Mode": "navigate"}).status_code == 302


def test_a_head_request_does_not_spend_a_link(client: Client) -> None:
    link = SigninLink.issue(make_user())
    client.head(f"/sign-in/{link}/")
    assert SigninLink.objects.count() == 1


def test_a_sign_in_gets_a_new_session_key(client: Client) -> None:
    client.get("/sign-in/")
    session = client.session
    session["x"] = 1
    session.save()
    before = session.session_key
    client.get(f"/sign-in/{SigninLink.issue(make_user())}/")
    assert client.session.session_key != before


def test_signing_out_is_a_post() -> None:
    client = Client()
    client.force_login(make_user())
    assert client.get("/sign-out/").status_code == 405
    assert signed_in(client)
    assert client.post("/sign-out/")["Location"] == "/sign-in/"
    assert not signed_in(client)


def test_pages_of_the_sign_in_are_never_cached(client: Client) -> None:
    assert "no-store" in client.get("/sign-in/")["Cache-Control"]
    assert "no-store" in client.get("/sign-in/nonsense/")["Cache-Control"]


def test_signing_in_again_gets_a_new_session_key_too(client: Client) -> None:
    user = make_user()
    client.get(f"/sign-in/{SigninLink.issue(user)}/")
    first = client.session.session_key
    client.get(f"/sign-in/{SigninLink.issue(user)}/")
    assert client.session.session_key != first
    assert not Session.objects.filter(pk=first).exists()


def test_the_cookies_are_out_of_reach_of_scripts_and_of_other_sites(client: Client) -> None:
    client.get("/sign-in/")
    client.get(f"/sign-in/{SigninLink.issue(make_user())}/")
    for name in ("stepline_session", "csrftoken"):
        cookie = client.cookies[name]
        assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Lax", "")
    assert client.cookies["stepline_session"]["max-age"] == 14 * 86_400


def test_where_the_site_is_https_the_cookies_are_too() -> None:
    code = "from django.conf import settings as s; print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE)"
    for value, said in (("1", "True True"), ("0", "False False")):
        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "--no-imports", "-c", code],
            env=os.environ | {"HTTPS": value},
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        assert done.stdout.strip() == said


def test_a_part_of_a_page_sends_the_csrf_token_in_its_header() -> None:
    client = Client(enforce_csrf_checks=True)
    client.get(f"/sign-in/{SigninLink.issue(make_user('operator'))}/")
    page = client.get("/").content.decode()
    found = re.search(r"hx-headers:inherited='{\"X-CSRFToken\": \"(\w+)\"}'", page)
    assert found
    run = make_run()
    path = f"/runs/{run.pk}/stop-watching/"
    assert client.post(path).status_code == 403
    assert client.post(path, headers={"X-CSRFToken": found[1][::-1]}).status_code == 403
    assert client.post(path, headers={"X-CSRFToken": found[1]}).status_code in (200, 302)


@pytest.mark.parametrize("username", ["ada", "nobody"])
def test_a_name_that_exists_costs_as_much_work_as_one_that_does_not(
    client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch, username: str
) -> None:
    """The time of an answer would tell which names exist."""
    make_user(username="ada", password=PASSWORD)
    hashed: list[str] = []
    hasher = MD5PasswordHasher.encode
    monkeypatch.setattr(MD5PasswordHasher, "encode", lambda *args: hashed.append("") or hasher(*args))
    answer = client.post("/sign-in/", {"username": username, "password": "wrong"})
    assert len(hashed) == 1
    assert answer.status_code == 422


def test_passwords_are_stored_as_slow_hashes() -> None:
    assert default_settings.PASSWORD_HASHERS[0].endswith("PBKDF2PasswordHasher")
    assert PBKDF2PasswordHasher.iterations >= 1_000_000


def test_no_route_of_a_provider_exists_when_none_is_configured(client: Client) -> None:
    assert not settings.OIDC_ISSUER
    assert not [app for app in settings.INSTALLED_APPS if app.startswith("allauth")]
    names = [name for name in get_resolver().reverse_dict if isinstance(name, str)]
    assert not [name for name in names if "oidc" in name or "openid" in name or "socialaccount" in name]
    assert client.get("/sign-in/provider/callback/").status_code == 404
    assert client.get("/sign-in/provider/").status_code == 410, "a link that was never made"
