"""Launching, attaching, retrying, stopping and editing workflows through the API."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse

from runs import catalogue, vault
from runs.models import Run, Upstream, Workflow
from tests.api.conftest import Caller, problem
from tests.factories import make_definition, make_run, make_upstream, make_workflow

pytestmark = pytest.mark.django_db

SECRET = "sk-" + "a1B2" * 8


@pytest.fixture(autouse=True)
def sandbox(db: None) -> Iterator[Upstream]:
    """The upstream that is meant where none is named."""
    return make_upstream(name="sandbox")


def made(answer: HttpResponse, status: int = 201) -> Any:
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)


# --- launch ---------------------------------------------------------------------------------------------------


def test_a_stored_workflow_is_launched_by_its_name(operator: Caller, sandbox: Upstream) -> None:
    workflow = make_workflow(upstream=sandbox, flow_name="Nightly / 100%")
    found = made(operator.post("/runs", {"flow_name": "Nightly / 100%", "inputs": {"query": "y"}}))
    assert (found["status"], found["flow_name"], found["upstream"]) == ("queued", "Nightly / 100%", "sandbox")
    assert found["run_name"]
    assert found["created_by"].startswith("operator")
    assert found["progress"]["total"] == 3
    run = Run.objects.get(pk=found["id"])
    assert run.workflow == workflow
    assert run.launch.inputs == {"query": "y"}
    assert json.loads(operator.get(f"/runs/{run.pk}").content) == found


def test_a_definition_in_the_body_is_launched_without_being_stored(operator: Caller) -> None:
    definition = make_definition("one", "two", flow_name="ignored")
    found = made(operator.post("/runs", {"flow_name": "Ad hoc", "run_name": "first one", "definition": definition}))
    assert (found["flow_name"], found["run_name"]) == ("Ad hoc", "first one")
    assert not Workflow.objects.exists()


def test_a_run_name_that_is_taken_is_a_409(operator: Caller, sandbox: Upstream) -> None:
    make_workflow(upstream=sandbox, flow_name="Nightly")
    body = {"flow_name": "Nightly", "run_name": "mine"}
    made(operator.post("/runs", body))
    document = problem(operator.post("/runs", body), 409, "taken")
    assert document["errors"][0]["place"] == "run_name"
    assert "mine" in document["detail"]
    assert Run.objects.count() == 1


def test_a_definition_with_mistakes_is_refused_with_the_place_of_each(operator: Caller) -> None:
    definition = make_definition("one", "two")
    definition["tasks"][1]["params"]["body"] = {"depends": "nowhere"}
    definition["tasks"].append(definition["tasks"][0])
    document = problem(operator.post("/runs", {"flow_name": "x", "definition": definition}), 422, "refused")
    assert len(document["errors"]) == 2
    assert {error["task"] for error in document["errors"]} == {"one", "two"}
    assert all(error["place"] and error["message"] for error in document["errors"])
    assert not Run.objects.exists()


@pytest.mark.parametrize("run_name", ["..", ".", "a\nb"])
def test_a_run_name_that_is_no_address_is_refused(operator: Caller, sandbox: Upstream, run_name: str) -> None:
    make_workflow(upstream=sandbox, flow_name="Nightly")
    document = problem(operator.post("/runs", {"flow_name": "Nightly", "run_name": run_name}), 422, "refused")
    assert document["errors"][0]["place"] == "run_name"


def test_a_workflow_that_is_not_there_is_refused_by_name(operator: Caller) -> None:
    document = problem(operator.post("/runs", {"flow_name": "Nowhere"}), 422, "refused")
    assert "Nowhere" in document["detail"]


def test_the_upstream_can_be_named(operator: Caller) -> None:
    other = make_upstream(name="other")
    make_workflow(upstream=other, flow_name="Nightly")
    assert made(operator.post("/runs", {"flow_name": "Nightly", "upstream": "other"}))["upstream"] == "other"


# --- attach, retry, stop ------------------------------------------------------------------------------------------


def test_a_run_that_was_started_elsewhere_is_followed(operator: Caller) -> None:
    body = {"flow_name": "Their flow", "run_name": "their / run"}
    found = made(operator.post("/runs/attach", body))
    assert (found["attached"], found["upstream"], found["run_name"]) == (True, "sandbox", "their / run")
    problem(operator.post("/runs/attach", body), 409, "taken")


def test_attaching_needs_both_names(operator: Caller) -> None:
    document = problem(operator.post("/runs/attach", {"flow_name": "x"}), 422, "invalid")
    assert document["errors"][0]["place"] == "run_name"


def test_a_retry_is_a_new_run_linked_to_the_old_one(operator: Caller, sandbox: Upstream) -> None:
    make_workflow(upstream=sandbox, flow_name="Nightly")
    first = made(operator.post("/runs", {"flow_name": "Nightly", "inputs": {"query": "y", "n": 1}}))
    again = made(operator.post(f"/runs/{first['id']}/retry"))
    other = made(operator.post(f"/runs/{first['id']}/retry", {"inputs": {"n": 2}, "run_name": "third"}))
    assert again["retry_of"] == other["retry_of"] == first["id"]
    assert again["run_name"] != first["run_name"]
    assert other["run_name"] == "third"
    assert Run.objects.get(pk=again["id"]).launch.inputs == {"query": "y", "n": 1}
    assert Run.objects.get(pk=other["id"]).launch.inputs == {"query": "y", "n": 2}


def test_a_run_that_was_attached_cannot_be_retried(operator: Caller) -> None:
    problem(operator.post(f"/runs/{make_run(attached=True).pk}/retry", {}), 422, "refused")


def test_stopping_asks_the_follower_to_end(operator: Caller) -> None:
    run = made(operator.post("/runs/attach", {"flow_name": "x", "run_name": "y"}))
    found = made(operator.post(f"/runs/{run['id']}/stop-watching"), 200)
    assert found["id"] == run["id"]
    assert Run.objects.get(pk=run["id"]).stop_requested


def test_an_ended_run_cannot_be_stopped(operator: Caller) -> None:
    run = make_run(status=Run.Status.SUCCEEDED)
    assert "ended" in problem(operator.post(f"/runs/{run.pk}/stop-watching"), 422, "refused")["detail"]


@pytest.mark.parametrize("path", ["/runs/999/retry", "/runs/999/stop-watching"])
def test_what_is_not_there_cannot_be_changed(operator: Caller, path: str) -> None:
    problem(operator.post(path), 404, "not-found")


# --- workflows ----------------------------------------------------------------------------------------------------

WORKFLOW_FIELDS = ["created_at", "definition", "description", "flow_name", "id", "tasks_total", "updated_at"]
WORKFLOW_FIELDS += ["upstream", "url", "deadline_seconds", "retry_limit", "retry_on", "retry_pause"]
WORKFLOW_FIELDS += ["input_schema", "version"]
WORKFLOW_FIELDS.sort()


def test_a_workflow_is_stored_read_replaced_and_deleted(operator: Caller) -> None:
    body = {"flow_name": "Nightly / 1", "definition": make_definition(), "description": "ünï"}
    found = made(operator.post("/workflows", body))
    assert sorted(found) == WORKFLOW_FIELDS
    assert (found["flow_name"], found["upstream"], found["tasks_total"]) == ("Nightly / 1", "sandbox", 3)
    path = f"/workflows/{found['id']}"
    assert made(operator.get(path), 200) == found

    changed = made(operator.send("PUT", path, {**body, "definition": make_definition("only")}), 200)
    assert (changed["id"], changed["tasks_total"], changed["flow_name"]) == (found["id"], 1, "Nightly / 1")
    assert (found["version"], changed["version"]) == (1, 2)
    assert operator.send("DELETE", path).status_code == 204
    problem(operator.get(path), 404, "not-found")


def test_a_schema_beside_the_definition_becomes_part_of_it_and_checks_what_is_launched(
    operator: Caller, sandbox: Upstream
) -> None:
    schema = {"required": ["city"], "properties": {"city": {"type": "string"}, "level": {"default": 3}}}
    body = {"flow_name": "Checked", "definition": make_definition(), "input_schema": schema}
    found = made(operator.post("/workflows", body))
    assert found["input_schema"] == found["definition"]["input_schema"] == schema
    document = problem(operator.post("/runs", {"flow_name": "Checked", "inputs": {"city": 7}}), 422, "refused")
    assert document["errors"] == [{"place": "inputs.city", "task": None, "message": "This must be a text."}]
    run = made(operator.post("/runs", {"flow_name": "Checked", "inputs": {"city": "Oslo"}}))
    assert run["workflow_version"] == 1
    launch = Run.objects.get(pk=run["id"]).launch
    assert launch.inputs == {"level": 3, "query": "x", "city": "Oslo"}
    problem(operator.post(f"/runs/{run['id']}/retry", {"inputs": {"city": None}}), 422, "refused")
    assert made(operator.post(f"/runs/{run['id']}/retry", {"inputs": {"city": "Bergen"}}))["workflow_version"] == 1

    plain = made(operator.send("PUT", f"/workflows/{found['id']}", {**body, "input_schema": None}), 200)
    assert (plain["input_schema"], plain["version"]) == (None, 2)


def test_a_schema_that_is_none_is_refused_at_its_place(operator: Caller, sandbox: Upstream) -> None:
    body = {"definition": make_definition(), "input_schema": {"properties": {"a": {"type": "text"}}}}
    document = problem(operator.post("/workflows", body), 422, "refused")
    assert [one["place"] for one in document["errors"]] == ["input_schema.properties.a.type"]


SECRET = "sk-" + "live-0123456789abcdefghij"


def test_secrets_of_a_schema_come_back_by_no_mistake(operator: Caller, sandbox: Upstream) -> None:
    texts = {"default": SECRET, "enum": [SECRET], "const": SECRET, "pattern": SECRET, "description": SECRET}
    schema = {
        "additionalProperties": False,
        "properties": {"query": texts, SECRET: texts, "password": {"default": "p4ss"}},
    }
    body = {"flow_name": "Checked", "definition": make_definition() | {"default_inputs": {SECRET: 1}}}
    found = operator.post("/workflows", body | {"input_schema": schema})
    saved = made(found)
    refused = operator.post("/runs", {"flow_name": "Checked", "inputs": {"query": "x", f"a {SECRET}": 1}})
    places = [one["place"] for one in problem(refused, 422, "refused")["errors"]]
    assert any(place.startswith("inputs.[masked:key#") for place in places)
    for word, value in [("$ref", "#/nowhere"), ("type", "text"), ("minLength", "x"), ("properties", [])]:
        shown = operator.get(f"/workflows/{saved['id']}").json()["input_schema"]
        for spec in shown["properties"].values():
            spec[word] = value
        answer = operator.send("PUT", f"/workflows/{saved['id']}", {**body, "input_schema": shown})
        assert len(problem(answer, 422, "refused")["errors"]) >= 3
        assert SECRET not in answer.content.decode()
        assert "p4ss" not in answer.content.decode()
    for answer in (found, refused):
        assert SECRET not in answer.content.decode()
        assert "p4ss" not in answer.content.decode()


@pytest.mark.parametrize(
    "spec", [{"pattern": "a{99999999999}"}, {"required": "x"}, {"minimum": 10**400, "maximum": "x"}, {"$id": 7}]
)
def test_hostile_schemas_are_refused_and_never_an_error_of_ours(
    operator: Caller, sandbox: Upstream, spec: dict[str, Any]
) -> None:
    body = {"definition": make_definition(), "input_schema": {"properties": {"a": spec}}}
    [one] = problem(operator.post("/workflows", body), 422, "refused")["errors"]
    assert one["place"].startswith("input_schema.properties.a.")


def test_who_is_overtaken_while_saving_is_told_so(
    operator: Caller, sandbox: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = make_workflow(upstream=sandbox)
    really = catalogue.read_definition

    def meanwhile(definition: object) -> Any:
        monkeypatch.undo()
        operator.send("PUT", f"/workflows/{workflow.pk}", {"definition": make_definition("theirs")})
        return really(definition)

    monkeypatch.setattr(catalogue, "read_definition", meanwhile)
    answer = operator.send("PUT", f"/workflows/{workflow.pk}", {"definition": make_definition("mine")})
    assert "version 2 now" in problem(answer, 409, "overtaken")["detail"]
    workflow.refresh_from_db()
    assert "mine" not in str(workflow.definition)


def test_how_the_runs_of_a_workflow_are_watched_is_stored_and_stays_where_nothing_is_said(operator: Caller) -> None:
    body = {"flow_name": "Nightly", "definition": make_definition()}
    plain = made(operator.post("/workflows", body))
    said = {"deadline_seconds": 5400.0, "retry_limit": 2, "retry_pause": 10.5, "retry_on": ["TimeoutError", "Häk"]}
    assert {name: plain[name] for name in said} == {
        "deadline_seconds": None, "retry_limit": 0, "retry_pause": 30.0, "retry_on": []
    }  # fmt: skip
    path = f"/workflows/{plain['id']}"
    changed = made(operator.send("PUT", path, {**body, **said}), 200)
    assert {name: changed[name] for name in said} == said
    kept = made(operator.send("PUT", path, body), 200)
    assert {name: kept[name] for name in said} == said
    cleared = made(operator.send("PUT", path, {**body, "deadline_seconds": None, "retry_limit": 0}), 200)
    assert (cleared["deadline_seconds"], cleared["retry_limit"], cleared["retry_pause"]) == (None, 0, 10.5)
    assert made(operator.get("/workflows"), 200)["items"][0]["retry_on"] == said["retry_on"]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"deadline_seconds": 0}, "deadline_seconds"),
        ({"retry_limit": 21, "retry_on": ["X"]}, "retry_limit"),
        ({"retry_pause": -1}, "retry_pause"),
        ({"retry_on": [""]}, "retry_on"),
        ({"retry_limit": 1}, "retry_on"),
    ],
)
def test_watching_that_makes_no_sense_is_refused_at_its_place(
    operator: Caller, fields: dict[str, Any], place: str
) -> None:
    body = {"flow_name": "Nightly", "definition": make_definition(), **fields}
    document = problem(operator.post("/workflows", body), 422, "refused")
    assert [one["place"] for one in document["errors"]] == [place]
    assert not Workflow.objects.exists()


@pytest.mark.parametrize("fields", [{"retry_limit": None}, {"retry_on": "X"}, {"deadline_seconds": "soon"}])
def test_watching_of_another_kind_is_no_valid_request(operator: Caller, fields: dict[str, Any]) -> None:
    problem(operator.post("/workflows", {"definition": make_definition(), **fields}), 422, "invalid")


def test_a_taken_name_is_named_also_where_the_call_says_how_to_watch(operator: Caller) -> None:
    body = {"flow_name": "Nightly", "definition": make_definition(), "retry_pause": 5}
    made(operator.post("/workflows", body))
    assert "'Nightly'" in problem(operator.post("/workflows", body), 409, "taken")["detail"]


def test_the_list_of_workflows_is_paged_and_leaves_definitions_out(operator: Caller, sandbox: Upstream) -> None:
    ids = [make_workflow(upstream=sandbox).pk for _ in range(3)]
    first = made(operator.get("/workflows", limit=2), 200)
    second = made(operator.get("/workflows", limit=2, cursor=first["next_cursor"]), 200)
    assert [one["id"] for one in first["items"] + second["items"]] == ids
    assert second["next_cursor"] is None
    assert {one["definition"] for one in first["items"]} == {None}
    assert sorted(first["items"][0]) == WORKFLOW_FIELDS


def test_two_workflows_of_one_upstream_cannot_share_a_name(operator: Caller) -> None:
    body = {"flow_name": "Nightly", "definition": make_definition()}
    made(operator.post("/workflows", body))
    problem(operator.post("/workflows", body), 409, "taken")
    other = made(operator.post("/workflows", {**body, "flow_name": "Other"}))
    problem(operator.send("PUT", f"/workflows/{other['id']}", body), 409, "taken")


def test_a_secret_is_shown_masked_and_may_come_back_masked(operator: Caller) -> None:
    definition = make_definition("one")
    definition["tasks"][0]["params"]["config"]["headers"] = {"Authorization": f"Bearer {SECRET}"}
    answer = operator.post("/workflows", {"flow_name": "Nightly", "definition": definition})
    assert SECRET.encode() not in answer.content
    shown = made(answer)
    body = {"definition": shown["definition"], "description": "changed"}
    answer = operator.send("PUT", f"/workflows/{shown['id']}", body)
    assert made(answer, 200)["description"] == "changed"
    kept = vault.unseal(Workflow.objects.get().sealed)
    assert kept["tasks"][0]["params"]["config"]["headers"] == {"Authorization": f"Bearer {SECRET}"}


def test_a_workflow_keeps_its_upstream_unless_another_is_named(operator: Caller) -> None:
    other = make_upstream(name="other")
    workflow = make_workflow(upstream=other, flow_name="Nightly")
    body = {"definition": make_definition(flow_name="Nightly")}
    path = f"/workflows/{workflow.pk}"
    assert made(operator.send("PUT", path, body), 200)["upstream"] == "other"
    assert made(operator.send("PUT", path, {**body, "upstream": "sandbox"}), 200)["upstream"] == "sandbox"


def test_a_workflow_that_cannot_be_launched_is_refused_at_saving(operator: Caller) -> None:
    document = problem(operator.post("/workflows", {"flow_name": "x", "definition": {"tasks": []}}), 422, "refused")
    assert document["errors"]
    assert not Workflow.objects.exists()


def test_upstreams_are_named_and_nothing_more(viewer: Caller) -> None:
    make_upstream(name="a", key_sealed="x", key_hint="abcd")
    assert made(viewer.get("/upstreams"), 200) == {"items": [{"name": "a"}, {"name": "sandbox"}]}
