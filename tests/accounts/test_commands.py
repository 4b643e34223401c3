"""Tokens and sign-in links from the command line."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone

from accounts.models import SigninLink, Token, User
from accounts.signin import link_for_start
from accounts.tokens import authenticate
from tests.factories import make_user

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[str, str]:
    """Standard output and standard error of a command."""
    out, err = io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_token_is_alone_on_its_line_and_makes_its_user() -> None:
    out, err = run("create_token", "ci", "--role", "operator")
    assert out.count("\n") == 1
    found = authenticate(out.strip())
    assert found is not None
    user, role = found
    assert (user.username, user.role, role) == ("ci", "operator", "operator")
    assert not user.has_usable_password()
    assert "Made the user ci" in err


def test_only_a_digest_of_a_token_is_kept() -> None:
    text = run("create_token", "ci", "--role", "viewer")[0].strip()
    token = Token.objects.get()
    assert text not in (token.digest, token.prefix)
    assert text.startswith(token.prefix)


def test_days_limit_a_token() -> None:
    text = run("create_token", "ci", "--role", "viewer", "--days", "2")[0].strip()
    assert authenticate(text) is not None
    Token.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert authenticate(text) is None


@pytest.mark.parametrize("days", ["0", "-1", "99999999"])
def test_impossible_days_are_refused(days: str) -> None:
    with pytest.raises(CommandError, match=f"--days {days}"):
        run("create_token", "ci", "--role", "viewer", "--days", days)
    assert not User.objects.exists()


def test_a_token_may_no_more_than_its_user() -> None:
    make_user("viewer", username="ada")
    out, err = run("create_token", "ada", "--role", "admin")
    found = authenticate(out.strip())
    assert found is not None
    assert found[1] == "viewer"
    assert "may do no more" in err


@pytest.mark.parametrize("change", [{"is_active": False}, {"role": "viewer"}])
def test_a_token_follows_what_happens_to_its_user(change: dict[str, Any]) -> None:
    text = run("create_token", "ada", "--role", "operator")[0].strip()
    User.objects.filter(username="ada").update(**change)
    found = authenticate(text)
    assert (found and found[1]) == change.get("role")


@pytest.mark.parametrize("text", ["", "stl_", "x" * 300, "stl_" + "A" * 43])
def test_other_texts_are_no_tokens(text: str) -> None:
    assert authenticate(text) is None


@pytest.mark.parametrize("command", ["create_token", "signin_link"])
def test_an_impossible_user_name_is_refused_by_name(command: str) -> None:
    with pytest.raises(CommandError, match="'a b'"):
        run(command, "a b", "--role", "viewer")


def test_a_disabled_user_gets_neither() -> None:
    make_user(username="gone", is_active=False)
    for command in (["create_token", "gone", "--role", "viewer"], ["signin_link", "gone"]):
        with pytest.raises(CommandError, match="disabled"):
            run(*command)
    assert not Token.objects.exists()
    assert not SigninLink.objects.exists()


def test_a_link_is_an_address_that_signs_its_user_in(client: Client, settings: Any) -> None:
    settings.HOST, settings.PORT = "0.0.0.0", 8123
    user = make_user(username="ada")
    out, _ = run("signin_link", "ada")
    assert out.startswith("http://127.0.0.1:8123/sign-in/")
    assert client.get(out.strip().removeprefix("http://127.0.0.1:8123")).status_code == 302
    assert client.session["_auth_user_id"] == str(user.pk)


def test_a_link_for_nobody_says_who_there_is_and_makes_nobody() -> None:
    make_user(username="grace")
    with pytest.raises(CommandError, match=r"no user 'ada'.*grace.*--role"):
        run("signin_link", "ada")
    assert User.objects.count() == 1


def test_a_link_with_a_role_makes_the_user_or_changes_the_role() -> None:
    assert "Made the user ada" in run("signin_link", "ada", "--role", "viewer")[1]
    assert "had the role viewer" in run("signin_link", "ada", "--role", "operator")[1]
    assert User.objects.get().role == "operator"


def test_the_first_start_makes_an_admin_without_a_password(client: Client) -> None:
    assert client.get(link_for_start()).status_code == 302
    user = User.objects.get()
    assert (user.username, user.role, user.has_usable_password()) == ("admin", "admin", False)
    assert client.session["_auth_user_id"] == str(user.pk)


def test_a_later_start_takes_the_administrator_who_is_there() -> None:
    make_user("viewer", username="admin")
    grace = make_user("admin", username="grace")
    link_for_start()
    assert SigninLink.objects.get().user == grace
    assert User.objects.get(username="admin").role == "viewer"


def test_a_start_without_any_administrator_raises_the_user_admin_again() -> None:
    make_user("admin", username="admin", is_active=False)
    link_for_start()
    assert User.objects.get().may("admin")
