"""Every error is a problem document that says what happened, to which thing, and where."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from api import runs as calls
from api.paging import cursor
from tests.api.conftest import PREFIX, Caller, problem
from tests.factories import make_run, make_upstream

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path", ["/runs", "/runs/{run}", "/runs/{run}/tasks", "/runs/{run}/events", "/workflows", "/upstreams"]
)
def test_an_unknown_query_parameter_is_an_error(viewer: Caller, path: str) -> None:
    path = path.format(run=make_run().pk)
    document = problem(viewer.get(path, flowname="x"), 422, "invalid")
    assert "flowname" in document["detail"]
    assert [error["place"] for error in document["errors"]] == ["flowname"]


def test_an_unknown_query_parameter_stops_a_change_too(operator: Caller) -> None:
    run = make_run()
    problem(operator.post(f"/runs/{run.pk}/stop-watching?force=1"), 422, "invalid")
    run.refresh_from_db()
    assert not run.stop_requested


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 201},
        {"limit": "many"},
        {"status": "done"},
        {"since": "yesterday"},
        {"until": "2025-13-01"},
        {"q": "a\0b"},
        {"flow_name": "\0"},
    ],
)
def test_a_bad_value_is_told_with_its_place(viewer: Caller, query: dict[str, Any]) -> None:
    document = problem(viewer.get("/runs", **query), 422, "invalid")
    assert document["errors"][0]["place"].split("[")[0] == next(iter(query))


@pytest.mark.parametrize("text", ["x", "!!!", "é", "WzFd", "bnVsbA", "W10", "eyJhIjoxfQ", "[]", "A" * 5000])
@pytest.mark.parametrize("path", ["/runs", "/workflows", "/runs/{run}/tasks"])
def test_a_bad_cursor_is_told(viewer: Caller, path: str, text: str) -> None:
    document = problem(viewer.get(path.format(run=make_run().pk), cursor=text), 400, "bad-cursor")
    assert document["errors"][0]["place"] == "cursor"


def test_a_cursor_of_another_list_is_refused(viewer: Caller) -> None:
    for _ in range(2):
        make_run()
    theirs = json.loads(viewer.get("/runs", limit=1).content)["next_cursor"]
    problem(viewer.get("/workflows", cursor=theirs), 400, "bad-cursor")


@pytest.mark.parametrize(
    "text",
    ["{", "{'a': 1}", '{"flow_name": "x", "inputs": {"n": NaN}}', '{"flow_name":"x","inputs":{"n":1e400}}',
     "[" * 100_000, '{"n": ' + "1" * 5000 + "}"],
)  # fmt: skip
def test_a_body_that_is_not_json_is_told(operator: Caller, text: str) -> None:
    problem(operator.post("/runs", text), 400, "bad-json")


@pytest.mark.parametrize("text", ["[]", "null", '"x"', "7", ""])
def test_a_body_that_is_no_object_is_told(operator: Caller, text: str) -> None:
    problem(operator.post("/runs", text), 422, "invalid")


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "flow_name"),
        ({"flow_name": 7}, "flow_name"),
        ({"flow_name": "x" * 301}, "flow_name"),
        ({"flow_name": "x", "inputs": []}, "inputs"),
        ({"flow_name": "x", "definition": "{}"}, "definition"),
        ({"flow_name": "x", "runname": "y"}, "runname"),
        ({"flow_name": "x", "upstream": "a\0b"}, "upstream"),
    ],
)
def test_each_mistake_of_a_body_has_its_place(operator: Caller, body: dict[str, Any], place: str) -> None:
    document = problem(operator.post("/runs", body), 422, "invalid")
    assert [error["place"] for error in document["errors"]] == [place]


def test_broken_text_in_a_body_is_told(operator: Caller) -> None:
    answer = operator.post("/runs", '{"flow_name": "\\ud800"}')
    assert answer.status_code == 422
    problem(answer, 422, "invalid")


def test_a_body_that_is_too_large_is_told(operator: Caller, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1024**2
    answer = operator.post("/runs", {"flow_name": "x", "inputs": {"a": "x" * 1024**2}})
    assert "1 MiB" in problem(answer, 413, "too-large")["detail"]


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/runs"), ("PATCH", "/workflows/1"), ("PUT", "/runs/attach")])
def test_a_method_that_is_not_answered_says_which_are(operator: Caller, method: str, path: str) -> None:
    answer = operator.send(method, path)
    problem(answer, 405, "method")
    assert answer["Allow"]


@pytest.mark.parametrize("path", ["/", "/run", "/runs/", "/runs/x", "/runs/1/nothing", "/runs/-1", "/%00"])
def test_an_address_with_nothing_behind_it_is_told(operator: Caller, path: str) -> None:
    problem(operator.get(path), 404, "not-found")


def test_the_name_of_an_upstream_that_is_not_there_is_told_with_those_that_are(operator: Caller) -> None:
    make_upstream(name="orchard")
    document = problem(operator.post("/runs", {"flow_name": "x", "upstream": "orcherd"}), 422, "refused")
    assert "orchard" in document["detail"]
    assert document["errors"][0]["place"] == "upstream"


def test_a_failure_here_is_a_problem_without_its_details(
    viewer: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("secret-of-the-house")

    monkeypatch.setattr(calls, "run_facts", fail)
    answer = viewer.get(f"/runs/{make_run().pk}")
    problem(answer, 500, "internal")
    assert b"secret-of-the-house" not in answer.content
    assert "secret-of-the-house" in caplog.text


@pytest.mark.parametrize(
    ("words", "kind"), [("database is locked", "unavailable"), ("database or disk is full", "disk-full")]
)
def test_a_database_that_cannot_do_its_work_is_a_503(
    viewer: Caller, monkeypatch: pytest.MonkeyPatch, words: str, kind: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OperationalError(words)

    monkeypatch.setattr(calls, "run_facts", fail)
    answer = viewer.get(f"/runs/{make_run().pk}")
    problem(answer, 503, kind)
    assert words.encode() not in answer.content


def test_answers_are_not_cached(viewer: Caller) -> None:
    assert viewer.get("/workflows")["Cache-Control"] == "no-store"
    assert viewer.get("/runs/999")["Cache-Control"] == "no-store"


def test_the_description_says_how_calls_fail(client: Client) -> None:
    schema = json.loads(client.get(PREFIX + "/openapi.json").content)
    kinds = schema["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert "urn:stepline:problem:taken" in kinds
    for methods in schema["paths"].values():
        for call in methods.values():
            assert "application/problem+json" in call["responses"]["default"]["content"]


def test_the_page_of_the_description_needs_a_sign_in_and_loads_nothing_from_elsewhere(
    client: Client, client_as: Callable[[str], Client]
) -> None:
    assert client.get(PREFIX + "/docs").status_code == 302
    answer = client_as("viewer").get(PREFIX + "/docs")
    assert answer.status_code == 200
    assert "https://" not in answer.text
    assert "swagger-ui-bundle.js" in answer.text


@pytest.mark.parametrize("number", [10**40, -(10**40), 2**63])
def test_a_cursor_with_an_absurd_place_is_an_empty_or_a_full_page(viewer: Caller, number: int) -> None:
    run = make_run()
    assert viewer.get("/runs", cursor=cursor("runs", number, number)).status_code == 200
    tasks = viewer.get(f"/runs/{run.pk}/tasks", cursor=cursor(f"tasks-{run.pk}", number, number))
    assert tasks.status_code == 200
