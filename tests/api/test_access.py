"""Who may call what, and how the others are told."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from accounts.models import Token, User
from tests.api.conftest import PREFIX, Caller, problem
from tests.factories import make_run, make_token, make_user, make_workflow

pytestmark = pytest.mark.django_db

READING = ["/runs", "/runs/{run}", "/runs/{run}/tasks", "/runs/{run}/events", "/runs/{run}/gaps"]
READING += ["/runs/{run}/rejected", "/workflows", "/workflows/{workflow}", "/upstreams"]
CHANGING = [
    ("POST", "/runs"),
    ("POST", "/runs/attach"),
    ("POST", "/runs/{run}/retry"),
    ("POST", "/runs/{run}/stop-watching"),
    ("POST", "/workflows"),
    ("PUT", "/workflows/{workflow}"),
    ("DELETE", "/workflows/{workflow}"),
]
CALLS = [*(("GET", path) for path in READING), *CHANGING]


def address(path: str) -> str:
    return path.format(run=make_run().pk, workflow=make_workflow().pk)


def test_the_description_and_these_lists_name_the_same_calls(client: Client) -> None:
    paths = json.loads(client.get(PREFIX + "/openapi.json").content)["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    listed = {
        (method, PREFIX + path.replace("{run}", "{run_id}").replace("{workflow}", "{workflow_id}"))
        for method, path in CALLS
    }
    assert described == listed


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_nobody_gets_in_without_a_token(client: Client, method: str, path: str) -> None:
    answer = client.generic(method, PREFIX + address(path))
    problem(answer, 401, "unauthorized")  # type: ignore[arg-type]
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", READING)
@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_every_role_reads(call_as: Callable[[str], Caller], role: str, path: str) -> None:
    assert call_as(role).get(address(path)).status_code == 200


@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_a_viewer_changes_nothing_and_is_told_which_role_it_takes(viewer: Caller, method: str, path: str) -> None:
    document = problem(viewer.send(method, address(path)), 403, "role")
    assert "operator" in document["detail"]


@pytest.mark.parametrize(("method", "path"), CHANGING)
@pytest.mark.parametrize("role", ["operator", "admin"])
def test_operators_and_admins_get_past_the_door(
    call_as: Callable[[str], Caller], role: str, method: str, path: str
) -> None:
    assert call_as(role).send(method, address(path)).status_code not in (401, 403, 500)


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


def test_no_call_is_hidden_from_the_description() -> None:
    """Every named pattern of the API is a call above, the description, its page or the root."""
    names = {name for name in get_resolver("api.urls").namespace_dict["api"][1].reverse_dict if isinstance(name, str)}
    assert len(names) == len(CALLS) + 2  # openapi-json and api-root
