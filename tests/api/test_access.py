"""How callers are told apart, and what the refused ones are told. Who may call what: tests/accounts/test_matrix.py."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Token, User
from tests.accounts.test_matrix import API
from tests.api.conftest import PREFIX, Caller, problem
from tests.factories import make_run, make_token, make_user

pytestmark = pytest.mark.django_db


def test_nobody_is_told_how_to_be_somebody(client: Client) -> None:
    answer = client.get(PREFIX + "/runs")
    problem(answer, 401, "unauthorized")  # type: ignore[arg-type]
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_viewer_is_told_which_role_a_change_takes(viewer: Caller) -> None:
    assert "operator" in problem(viewer.post("/runs", {"flow_name": "x"}), 403, "role")["detail"]


@pytest.mark.parametrize(
    "spoil",
    [
        {"expires_at": timezone.now() - timedelta(days=1)},
        {"revoked_at": timezone.now()},
        {"digest": "0" * 64},
    ],
)
def test_a_token_that_is_good_no_more_opens_nothing(spoil: dict[str, Any]) -> None:
    token = make_token("admin")
    Token.objects.update(**spoil)
    problem(Caller(token).get("/runs"), 401, "unauthorized")


def test_a_token_of_a_disabled_user_opens_nothing() -> None:
    token = make_token("admin")
    User.objects.update(is_active=False)
    problem(Caller(token).get("/runs"), 401, "unauthorized")


def test_a_token_may_be_lower_than_its_user() -> None:
    token = Token.issue(make_user("admin"), "viewer")
    problem(Caller(token).post("/runs", {"flow_name": "x"}), 403, "role")


def test_a_lowered_user_lowers_their_tokens() -> None:
    token = make_token("operator")
    User.objects.update(role="viewer")
    problem(Caller(token).post("/runs", {"flow_name": "x"}), 403, "role")


def test_a_bad_token_is_not_made_good_by_a_session(client_as: Callable[[str], Client]) -> None:
    client = client_as("admin")
    answer = client.get(PREFIX + "/runs", headers={"Authorization": "Bearer stl_wrong"})
    problem(answer, 401, "unauthorized")  # type: ignore[arg-type]


def test_a_session_reads(client_as: Callable[[str], Client]) -> None:
    assert client_as("viewer").get(PREFIX + "/runs").status_code == 200


def test_a_session_needs_the_csrf_header_and_the_role() -> None:
    run = make_run()
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("operator", username="ada"))
    path = f"{PREFIX}/runs/{run.pk}/stop-watching"
    problem(client.post(path), 403, "csrf")  # type: ignore[arg-type]
    client.get("/sign-in/", {"next": "/"})
    client.cookies["csrftoken"] = "a" * 32
    headers = {"X-CSRFToken": "a" * 32}
    assert client.post(path, headers=headers).status_code == 200
    User.objects.filter(username="ada").update(role="viewer")
    problem(client.post(path, headers=headers), 403, "role")  # type: ignore[arg-type]


def test_every_call_is_described(client: Client) -> None:
    """What each takes stands in tests/accounts/test_matrix.py."""
    paths = json.loads(client.get(PREFIX + "/openapi.json").content)["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    served = {
        (method, "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", route))
        for route, methods in API.items()
        if route.startswith("api/")  # a token reads /metrics, too, which is no call
        for method in methods
    }
    assert described == served
