"""What stands before a page: a sign-in, and a role that is high enough."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.test import RequestFactory

from accounts.access import role_required
from accounts.models import User
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@role_required("operator")
def launching(request: HttpRequest, number: int) -> HttpResponse:
    return HttpResponse(f"launched {number}")


def visit(user: User | AnonymousUser, method: str = "get", **headers: str) -> HttpResponseBase:
    make: Callable[..., HttpRequest] = getattr(RequestFactory(), method)
    request = make("/launch/?flow=a b", headers=headers)
    request.user = user
    request.session = SessionStore()
    return launching(request, 7)


@pytest.mark.parametrize("role", ["operator", "admin"])
def test_the_role_and_a_higher_one_get_in(role: str) -> None:
    answer = visit(make_user(role))
    assert answer.status_code == 200
    assert getattr(answer, "text", "") == "launched 7"


def test_a_lower_role_gets_a_page_that_says_what_is_needed_and_whom_to_ask() -> None:
    make_user("admin", username="grace")
    make_user("admin", username="gone", is_active=False)
    answer = visit(make_user("viewer"))
    assert isinstance(answer, HttpResponse)
    assert answer.status_code == 403
    assert "This needs the role operator" in answer.text
    assert "grace" in answer.text
    assert "gone" not in answer.text


def test_nobody_signed_in_goes_to_the_sign_in_and_back() -> None:
    answer = visit(AnonymousUser())
    assert answer.status_code == 302
    assert answer["Location"] == "/sign-in/?next=/launch/%3Fflow%3Da%2520b"


def test_a_post_is_not_come_back_to() -> None:
    assert visit(AnonymousUser(), "post")["Location"] == "/sign-in/?next=/"


def test_a_part_of_a_page_takes_the_whole_page_to_the_sign_in() -> None:
    answer = visit(AnonymousUser(), **{"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer["HX-Redirect"] == "/sign-in/"


def test_a_misspelt_role_fails_where_it_is_written() -> None:
    with pytest.raises(KeyError):
        role_required("operater")
