"""Guessing a password: slowed down for the name and the address that do it, and for nobody else."""

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.test import Client

from accounts.models import AuditEntry, SigninLink, User
from tests.factories import make_user

pytestmark = pytest.mark.django_db

PASSWORD = "a long enough one"
LIMIT = 10


@pytest.fixture
def ada() -> User:
    return make_user(username="ada", password=PASSWORD)


def attempt(password: str = "wrong", username: str = "ada", **meta: Any) -> int:
    fields = {"username": username, "password": password}
    return Client().post("/sign-in/", fields, **meta).status_code


def guess(times: int = LIMIT, **more: Any) -> list[int]:
    return [attempt(**more) for _ in range(times)]


def test_after_ten_wrong_passwords_the_right_one_has_to_wait(ada: User) -> None:
    assert guess() == [422] * (LIMIT - 1) + [429]
    assert attempt(PASSWORD) == 429
    answer = Client().post("/sign-in/", {"username": "ada", "password": PASSWORD})
    assert answer["Retry-After"] == "900"
    assert "15 minutes" in answer.text
    assert "signin_link" in answer.text
    assert "_auth_user_id" not in Client().session


def test_a_wait_is_not_made_longer_by_trying(ada: User) -> None:
    guess()
    guess(3)
    AccessAttempt.objects.update(attempt_time=AccessAttempt.objects.get().attempt_time - timedelta(minutes=16))
    assert attempt(PASSWORD) == 302


def test_others_behind_the_same_address_are_not_affected(ada: User) -> None:
    make_user(username="grace", password=PASSWORD)
    guess()
    assert attempt(PASSWORD, "grace") == 302


def test_the_same_person_at_another_address_is_not_affected(ada: User) -> None:
    guess(REMOTE_ADDR="192.0.2.1")
    assert attempt(PASSWORD, REMOTE_ADDR="192.0.2.1") == 429
    assert attempt(PASSWORD, REMOTE_ADDR="192.0.2.2") == 302


def test_another_browser_at_the_same_address_is_no_way_around(ada: User) -> None:
    for number in range(LIMIT):
        attempt(HTTP_USER_AGENT=f"browser {number}")
    assert attempt(PASSWORD, HTTP_USER_AGENT="yet another") == 429


def test_a_one_time_link_lets_in_who_is_locked_out(ada: User) -> None:
    guess()
    client = Client()
    assert client.get(f"/sign-in/{SigninLink.issue(ada)}/").status_code == 302
    assert client.session["_auth_user_id"] == str(ada.pk)


def test_the_right_password_begins_the_count_anew(ada: User) -> None:
    guess(LIMIT - 1)
    assert attempt(PASSWORD) == 302
    assert guess(LIMIT - 1) == [422] * (LIMIT - 1)


def test_names_that_do_not_exist_are_treated_alike() -> None:
    """Or the wait would tell which names exist."""
    assert guess(username="nobody") == [422] * (LIMIT - 1) + [429]


def test_the_log_tells_of_a_lock_out(ada: User) -> None:
    guess()
    entry = AuditEntry.objects.latest("pk")
    assert (entry.name, entry.deed) == ("ada", "locked-out")


def test_no_password_is_kept_of_what_was_tried(ada: User) -> None:
    guess(2, password="a password that was tried")
    assert "that was tried" not in str(AccessAttempt.objects.values_list())


# --- the address ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxies", "forwarded", "place"),
    [
        (0, "203.0.113.9", "127.0.0.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.1, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (2, "203.0.113.9", "127.0.0.1"),
        (1, "", ""),
        (1, "nonsense", ""),
        (1, "2001:db8::7", "2001:db8::7"),
    ],
)
def test_the_address_is_what_our_own_proxies_say(settings: Any, proxies: int, forwarded: str, place: str) -> None:
    settings.TRUSTED_PROXIES = proxies
    attempt(HTTP_X_FORWARDED_FOR=forwarded)
    assert AuditEntry.objects.latest("pk").place == place


def test_behind_a_proxy_people_are_throttled_one_by_one(settings: Any, ada: User) -> None:
    settings.TRUSTED_PROXIES = 1
    guess(HTTP_X_FORWARDED_FOR="203.0.113.1")
    assert attempt(PASSWORD, HTTP_X_FORWARDED_FOR="203.0.113.1") == 429
    assert attempt(PASSWORD, HTTP_X_FORWARDED_FOR="203.0.113.2") == 302
