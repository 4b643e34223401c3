"""Signing in with a password, with a one-time link, and out again."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import SigninLink
from tests.factories import make_user

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
