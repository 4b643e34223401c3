"""The upstream's calls, served by us: what a program that launches there sends, and what it gets, mistakes included."""

import base64
import json
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, Token, User
from runs import vault
from runs.models import Run, Task
from tests.factories import make_definition, make_event, make_run, make_task, make_token, make_upstream, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _default_upstream() -> None:
    make_upstream(name="default")


@pytest.fixture
def token() -> str:
    return make_token("operator")


def body(**fields: Any) -> dict[str, Any]:
    made = make_definition("fetch", "report", flow_name="Nightly")
    made["tasks"][0]["function"] = "call_lyzr_agent"
    return {**made, "run_name": "theirs", **fields}


def send(what: Any, *, query: str = "", client: Client | None = None, **headers: str) -> HttpResponse:
    text = what if isinstance(what, str | bytes) else json.dumps(what)
    answer = (client or Client()).post(f"/run-dag/{query}", text, content_type="application/json", headers=headers)
    assert isinstance(answer, HttpResponse)
    assert answer["Content-Type"] == "application/json"
    return answer


def status(task_id: str, token: str, code: int = 200) -> dict[str, Any]:
    answer = Client().get(f"/task-status/{task_id}", headers={"x-api-key": token})
    assert answer.status_code == code, answer.content
    found: dict[str, Any] = json.loads(answer.content)
    return found


# --- launching ------------------------------------------------------------------------------------------------------


def test_the_bare_body_launches_a_run_of_the_name_it_gives(token: str) -> None:
    answer = send(body(), Authorization=f"Bearer {token}")
    run = Run.objects.get()
    assert json.loads(answer.content) == {"status": "processing", "task_id": f"run-{run.pk}"}
    assert (run.flow_name, run.run_name, run.status, run.upstream.name) == ("Nightly", "theirs", "queued", "default")
    sent = vault.unseal(run.launch.sealed)
    assert (sent["run_name"], sent["default_inputs"], len(sent["tasks"])) == ("theirs", {"query": "x"}, 2)


def test_the_wrapped_body_does_the_same_with_its_inputs(token: str) -> None:
    send({"workflow_data": body(), "inputs": {"query": "y", "more": 1}}, **{"x-api-key": token})
    sent = vault.unseal(Run.objects.get().launch.sealed)
    assert sent["default_inputs"] == {"query": "y", "more": 1}
    assert "workflow_data" not in sent


def test_the_names_may_stand_beside_what_is_wrapped(token: str) -> None:
    bare = body()
    del bare["flow_name"], bare["run_name"]
    send({"workflow_data": bare, "flow_name": "Outer", "run_name": "too"}, Authorization=f"Bearer {token}")
    assert (Run.objects.get().flow_name, Run.objects.get().run_name) == ("Outer", "too")


@pytest.mark.parametrize("none", ["", None, ...])
def test_a_run_without_a_name_is_told_the_one_it_got(token: str, none: Any) -> None:
    sent = body(run_name=none)
    if none is ...:
        del sent["run_name"]
    answer = json.loads(send(sent, Authorization=f"Bearer {token}").content)
    assert answer["run_name"] == Run.objects.get().run_name != ""


def test_another_upstream_may_be_named(token: str) -> None:
    make_upstream(name="other one")
    send(body(), query="?upstream=other%20one", Authorization=f"Bearer {token}")
    assert Run.objects.get().upstream.name == "other one"


def test_a_launch_is_in_the_log_as_a_programs(token: str) -> None:
    send(body(), Authorization=f"Bearer {token}")
    entry = AuditEntry.objects.get(deed="run-launched")
    assert (entry.via, entry.token) == ("api", token[:10])


# --- mistakes -------------------------------------------------------------------------------------------------------


def refused(answer: HttpResponse, code: int) -> dict[str, Any]:
    assert answer.status_code == code, answer.content
    assert not Run.objects.exclude(run_name="there").exists()
    found: dict[str, Any] = json.loads(answer.content)
    assert found["message"]
    assert found["detail"]
    return found


@pytest.mark.parametrize(
    "what",
    [
        "",
        "{",
        b"\xff",
        "[]",
        "null",
        "[" * 100_000,
        {"workflow_data": [], "inputs": {}},
        {"workflow_data": body(), "inputs": []},
        body(flow_name=""),
        body(flow_name=5),
        body(run_name=["x"]),
        body(run_name="\u0000"),
        body(run_name="x" * 301),
        body(tasks=5),
        body(default_inputs=[1]),
        json.dumps(body(default_inputs={"x": 1})).replace('"x": 1', '"x": NaN'),
        json.dumps(body(default_inputs={"x": 1})).replace('"x": 1', '"x": 1e400'),
    ],
)
def test_a_wrong_shape_is_a_422(token: str, what: Any) -> None:
    refused(send(what, Authorization=f"Bearer {token}"), 422)


def test_each_mistake_is_told_with_its_place(token: str) -> None:
    wrong = body()
    wrong["tasks"][1]["params"]["body"] = {"depends": "nothing"}
    wrong["tasks"].append({"name": "fetch", "function": "api_call"})
    found = refused(send(wrong, Authorization=f"Bearer {token}"), 422)
    assert [one["loc"] for one in found["detail"]] == [
        ["body", "tasks", 2, "name"],
        ["body", "tasks", 1, "params", "body", "depends"],
    ]
    assert "nothing" in found["detail"][1]["msg"]


def test_a_workflow_without_an_agent_is_a_400_as_upstream(token: str) -> None:
    found = refused(send(make_definition(), Authorization=f"Bearer {token}"), 400)
    assert "call_lyzr_agent" in found["message"]


def test_a_name_that_is_taken_is_a_409(token: str) -> None:
    make_run(upstream=Run._meta.get_field("upstream").related_model.objects.get(), run_name="there")
    refused(send(body(run_name="there"), Authorization=f"Bearer {token}"), 409)


def test_an_upstream_that_is_not_there_is_a_422(token: str) -> None:
    for query in ("?upstream=nobody", "?upstream=%00"):
        refused(send(body(), query=query, Authorization=f"Bearer {token}"), 422)


# --- who may --------------------------------------------------------------------------------------------------------


def test_a_token_may_come_in_three_ways(token: str) -> None:
    basic = base64.b64encode(f"{token}:".encode()).decode()
    ways = {"Authorization": f"Bearer {token}"}, {"x-api-key": token}, {"Authorization": f"Basic {basic}"}
    for number, headers in enumerate(ways):
        assert send(body(run_name=f"r{number}"), **headers).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "sk-of-the-upstream"}, {"Authorization": "Bearer stl_wrong"}])
def test_nobody_launches_without_a_token_of_ours(headers: dict[str, str]) -> None:
    answer = send(body(), **headers)
    refused(answer, 401)
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_viewer_does_not_launch() -> None:
    assert "operator" in refused(send(body(), **{"x-api-key": make_token("viewer")}), 403)["message"]
    assert (
        "operator" in refused(send(body(), **{"x-api-key": Token.issue(make_user("admin"), "viewer")}), 403)["detail"]
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: Token.objects.update(revoked_at=timezone.now()),
        lambda: Token.objects.update(expires_at=timezone.now()),
        lambda: User.objects.update(is_active=False),
    ],
)
def test_a_token_that_is_good_no_more_opens_nothing(token: str, spoil: Any) -> None:
    spoil()
    refused(send(body(), Authorization=f"Bearer {token}"), 401)
    status("run-1", token, 401)


def test_a_session_needs_the_csrf_header_and_a_token_does_not(token: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("operator"))
    assert "X-CSRFToken" in refused(send(body(), client=client), 403)["message"]
    client.cookies["csrftoken"] = "a" * 32
    assert send(body(run_name="one"), client=client, **{"X-CSRFToken": "a" * 32}).status_code == 200
    assert send(body(run_name="two"), client=client, **{"x-api-key": token}).status_code == 200


def test_a_session_of_a_page_elsewhere_launches_nothing() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("admin"))
    client.cookies["csrftoken"] = "a" * 32
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = client.post("/run-dag/", json.dumps(body()), content_type=kind)
        assert answer.status_code == 403
    assert not Run.objects.exists()


# --- how it goes ----------------------------------------------------------------------------------------------------


def test_results_are_what_is_stored_by_the_tasks_names(token: str) -> None:
    run = make_run()
    make_event(run, "task_completed", {"event_type": "task_completed", "output": {"n": 1, "key": "[masked:key]"}})
    make_event(run, "flow_completed", {"event_type": "flow_completed", "output": {"send": {"sent": True}, "x": 1}})
    make_event(run, "task_completed", r'{"event_type":"task_completed","output":"a\\\\u0000b"}', flags="escaped")
    make_task(run, "id-1", name="fetch", status=Task.Status.SUCCEEDED, output_seq=1)
    make_task(run, "id-2", name="send", status=Task.Status.SUCCEEDED, inferred=True, output_seq=2)
    make_task(run, "id-3", name="odd", status=Task.Status.SUCCEEDED, output_seq=3)
    make_task(run, "id-4", name="to come")
    assert status(f"run-{run.pk}", token) == {
        "status": "processing",
        "results": {"fetch": {"n": 1, "key": "[masked:key]"}, "send": {"sent": True}, "odd": "a\\u0000b"},
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ("queued", "processing", None),
        ("launching", "processing", None),
        ("running", "processing", None),
        ("succeeded", "completed", None),
        ("failed", "failed", "it broke"),
        ("rejected", "failed", "the key is wrong"),
        ("lost", "error", "The run is lost."),
        ("stopped", "error", "The run is stopped."),
    ],
)
def test_the_status_is_said_in_the_upstreams_words(token: str, ours: str, theirs: str, words: str | None) -> None:
    error = {"type": "E", "message": "it broke", "code": ""} if ours == "failed" else None
    run = make_run(status=ours, error=error, notice="the key is wrong" if ours == "rejected" else "")
    found = status(f"run-{run.pk}", token)
    assert (found["status"], found.get("message")) == (theirs, words)


@pytest.mark.parametrize("task_id", ["run-999", "run-", "run-x", "5", "t-1", "run-" + "9" * 40, "%00", "run-١"])
def test_what_was_not_launched_here_is_not_known(token: str, task_id: str) -> None:
    status(task_id, token, 404)


def test_a_viewer_may_ask() -> None:
    run = make_run()
    assert status(f"run-{run.pk}", make_token("viewer"))["status"] == "processing"


def test_another_method_is_told_which_one_it_takes(token: str) -> None:
    for path, allowed in (("/run-dag/", "POST"), ("/task-status/run-1", "GET")):
        answer = Client().put(path, headers={"x-api-key": token})
        assert (answer.status_code, answer["Allow"]) == (405, allowed)
