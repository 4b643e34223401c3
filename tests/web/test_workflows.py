"""Workflows: who may see and change them, and mistakes that name the task and the line."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from runs import vault
from runs.models import Run, Workflow
from runs.web import durations, jsontext
from tests.factories import make_definition, make_run, make_upstream, make_workflow

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db


def fields(definition: Any, **more: Any) -> dict[str, Any]:
    text = definition if isinstance(definition, str) else json.dumps(definition, indent=2)
    upstream = more.pop("upstream", None) or make_upstream()
    return {"upstream": upstream.pk, "flow_name": "", "description": "", "definition": text, **more}


def test_the_list_shows_the_last_runs_of_each_oldest_first(client_as: ClientAs) -> None:
    busy, idle = make_workflow(flow_name="Busy"), make_workflow(flow_name="Idle")
    for status in ("failed", "lost", "succeeded"):
        make_run(workflow=busy, status=status)
    rows = client_as("viewer").get("/workflows/").context["rows"]
    assert [[one["status"] for one in strip] for _, strip in rows] == [["failed", "lost", "succeeded"], []]
    assert [workflow for workflow, _ in rows] == [busy, idle]


def test_the_list_asks_the_same_few_questions_for_one_workflow_and_for_many(client_as: ClientAs) -> None:
    viewer, counts = client_as("viewer"), []
    viewer.get("/workflows/")  # a session's first use in a minute is noted
    for number in range(2):
        for _ in range(1 + 8 * number):
            make_run(workflow=make_workflow())
        with CaptureQueriesContext(connection) as asked:
            viewer.get("/workflows/")
        counts.append(len(asked))
        assert "definition" not in " ".join(query["sql"] for query in asked.captured_queries)
    assert counts[0] == counts[1]


def test_a_viewer_sees_workflows_and_no_button_that_changes_them(client_as: ClientAs) -> None:
    workflow = make_workflow()
    viewer = client_as("viewer")
    for page in ("/workflows/", f"/workflows/{workflow.pk}/"):
        text = viewer.get(page).content.decode()
        assert workflow.flow_name in text
        assert "/launch/?workflow" not in text
        assert "/edit/" not in text
    for page in ("/workflows/new/", f"/workflows/{workflow.pk}/edit/", f"/workflows/{workflow.pk}/delete/"):
        assert viewer.get(page).status_code == 403
        assert viewer.post(page).status_code == 403


def test_tasks_stand_after_what_they_wait_for(client_as: ClientAs) -> None:
    definition = make_definition("one", "two", "three")
    definition["tasks"].reverse()
    workflow = make_workflow(definition=definition)
    tasks = client_as("viewer").get(f"/workflows/{workflow.pk}/").context["tasks"]
    assert [(task.name, task.depends) for task, _ in tasks] == [("one", ()), ("two", ("one",)), ("three", ("two",))]


def test_a_definition_that_has_become_unreadable_still_has_a_page(client_as: ClientAs) -> None:
    workflow = make_workflow(definition={"tasks": [], "default_inputs": "x"}, tasks_total=0)
    answer = client_as("operator").get(f"/workflows/{workflow.pk}/")
    assert answer.status_code == 200
    assert "cannot be launched as it stands" in answer.content.decode()


def test_a_saved_workflow_can_be_launched(client_as: ClientAs) -> None:
    answer = client_as("operator").post("/workflows/new/", fields(make_definition(), description="Counts."))
    workflow = Workflow.objects.get()
    assert answer.headers["Location"] == f"/workflows/{workflow.pk}/"
    assert (workflow.flow_name, workflow.description, workflow.tasks_total) == ("Nightly", "Counts.", 3)


def test_masked_secrets_may_stay_and_are_never_shown(client_as: ClientAs) -> None:
    operator, upstream = client_as("operator"), make_upstream()
    definition = make_definition()
    definition["tasks"][0]["params"]["config"]["api_key"] = "sk-live-0123456789abcdefghij"
    operator.post("/workflows/new/", fields(definition, upstream=upstream))
    workflow = Workflow.objects.get()
    answer = operator.get(f"/workflows/{workflow.pk}/edit/")
    text = answer.context["form"]["definition"].value()
    assert "sk-live" not in answer.content.decode()
    assert "[masked:" in text
    assert "sk-live" not in operator.get(f"/workflows/{workflow.pk}/").content.decode()
    edited = text.replace('"query": "x"', '"query": "y"')
    operator.post(f"/workflows/{workflow.pk}/edit/", fields(edited, upstream=upstream))
    original = vault.unseal(Workflow.objects.get().sealed)
    assert original["tasks"][0]["params"]["config"]["api_key"] == "sk-live-0123456789abcdefghij"
    assert original["default_inputs"] == {"query": "y"}


def test_mistakes_name_the_task_and_the_line(client_as: ClientAs) -> None:
    definition = make_definition("fetch", "clean")
    definition["tasks"][1]["params"]["body"] = {"depends": "nobody"}
    sent = fields(definition)
    answer = client_as("operator").post("/workflows/new/", sent)
    assert answer.status_code == 422
    [mistake] = answer.context["seen"].mistakes
    assert mistake.task == "clean"
    assert "nobody" in sent["definition"].splitlines()[mistake.line - 1]
    page = answer.content.decode()
    assert f"line {mistake.line}" in page
    assert "&quot;nobody&quot;" in page, "what was typed is not lost"
    assert not Workflow.objects.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "required"),
        ("[]", "An object is expected"),
        ('{\n  "tasks": [,]\n}', "Line 2"),
        ("{'tasks': []}", "double quotes"),
        ('{"tasks": [], "tasks": []}', "stands twice"),
    ],
)
def test_what_is_no_json_is_refused_at_its_line(client_as: ClientAs, text: str, said: str) -> None:
    answer = client_as("operator").post("/workflows/new/", fields(text))
    assert answer.status_code == 422
    assert said in answer.context["form"].errors["definition"][0]


def test_a_taken_name_is_said_at_the_name(client_as: ClientAs) -> None:
    workflow = make_workflow(flow_name="Nightly")
    answer = client_as("operator").post("/workflows/new/", fields(make_definition(), upstream=workflow.upstream))
    assert answer.status_code == 409
    assert "flow_name" in answer.context["form"].errors


def watching(**more: str) -> dict[str, str]:
    return {"deadline_seconds": "", "retry_limit": "", "retry_pause": "", "retry_on": "", **more}


def test_a_deadline_and_retries_are_saved_shown_and_put_back(client_as: ClientAs) -> None:
    operator = client_as("operator")
    typed = watching(
        deadline_seconds="1 h 30 m", retry_limit="3", retry_pause="45", retry_on=" TimeoutError\r\n\r\nHalt\n"
    )
    operator.post("/workflows/new/", fields(make_definition(), **typed))
    workflow = Workflow.objects.get()
    assert (workflow.deadline_seconds, workflow.retry_limit, workflow.retry_pause, workflow.retry_on) == (
        5400.0, 3, 45.0, ["TimeoutError", "Halt"]
    )  # fmt: skip
    page = operator.get(f"/workflows/{workflow.pk}/").content.decode()
    assert "1 h 30 m after the launch" in page
    assert "At most 3, after pauses of 45 s, 1 m 30 s, 3 m, when" in page
    assert "<code>TimeoutError</code> or <code>Halt</code>" in page
    form = operator.get(f"/workflows/{workflow.pk}/edit/").context["form"]
    assert [form[name].value() for name in watching()] == ["1 h 30 m", 3, "45 s", "TimeoutError\nHalt"]


def test_left_empty_there_is_no_deadline_and_no_retry(client_as: ClientAs) -> None:
    operator = client_as("operator")
    workflow = make_workflow(deadline_seconds=60, retry_limit=2, retry_pause=5, retry_on=["Halt"])
    path = f"/workflows/{workflow.pk}/"
    operator.post(f"{path}edit/", fields(make_definition(), upstream=workflow.upstream, **watching()))
    workflow.refresh_from_db()
    assert (workflow.deadline_seconds, workflow.retry_limit, workflow.retry_pause, workflow.retry_on) == (
        None, 0, 30.0, []
    )  # fmt: skip
    page = operator.get(path).content.decode()
    assert "no run is ever overdue" in page
    assert "launched again only by somebody" in page


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"deadline_seconds": "soon"}, "deadline_seconds", "no duration"),
        ({"deadline_seconds": "0"}, "deadline_seconds", "from 1 to"),
        ({"retry_limit": "x"}, "retry_limit", "whole number"),
        ({"retry_limit": "21", "retry_on": "Halt"}, "retry_limit", "from 0 to 20"),
        ({"retry_limit": "-1"}, "retry_limit", "greater than or equal to 0"),
        ({"retry_limit": "2"}, "retry_on", "Name the types of errors"),
        ({"retry_pause": "2 d"}, "retry_pause", "from 0 to 86400"),
        ({"retry_on": "x" * 101}, "retry_on", "1 to 100 characters"),
    ],
)
def test_what_makes_no_sense_is_said_at_its_field(
    client_as: ClientAs, typed: dict[str, str], field: str, said: str
) -> None:
    answer = client_as("operator").post("/workflows/new/", fields(make_definition(), **watching(**typed)))
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert said in answer.context["form"].errors[field][0]
    assert not Workflow.objects.exists()


def test_the_form_names_the_errors_that_its_runs_have_met(client_as: ClientAs) -> None:
    workflow = make_workflow()
    for name in ("Halt", "TimeoutError", "Halt"):
        make_run(workflow=workflow, status="failed", error={"type": name, "message": "x"})
    answer = client_as("operator").get(f"/workflows/{workflow.pk}/edit/")
    assert answer.context["errors_met"] == ["Halt", "TimeoutError"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5 h", 5400), ("1h30m", 5400), ("2 Days 1 second", 172801), ("0.25 s", 0.25), (" 15 min ", 900)],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert durations.read(text) == seconds
    assert durations.read(durations.write(seconds)) == seconds


@pytest.mark.parametrize("text", ["", " ", "h", "1 x", "1 h 30", "-5", "1e3", "nan", "1,5 h", "٣ s", "1 h extra"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        durations.read(text)


def test_deleting_asks_first_and_leaves_the_runs(client_as: ClientAs) -> None:
    workflow, operator = make_workflow(), client_as("operator")
    make_run(workflow=workflow)
    page = operator.get(f"/workflows/{workflow.pk}/delete/").content.decode()
    assert "Its runs stay in the list" in page
    assert Workflow.objects.exists()
    operator.post(f"/workflows/{workflow.pk}/delete/")
    assert not Workflow.objects.exists()
    assert Run.objects.count() == 1


def test_empty_states_differ(client_as: ClientAs) -> None:
    operator = client_as("operator")
    assert "No workflow yet" in operator.get("/workflows/").content.decode()
    assert "No workflow holds" in operator.get("/workflows/?q=x").content.decode()


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("tasks", 2),
        ("tasks[0]", 3),
        ("tasks[1].name", 5),
        ("tasks[1].params.depends", 6),
        ("tasks[1].params.config.api_key: holds a secret", 6),
        ("tasks[7]", 2),
        ("elsewhere", 0),
        ("", 0),
    ],
)
def test_a_place_is_found_in_the_text(place: str, line: int) -> None:
    text = (
        '{\n"tasks": [\n  {"name": "a, {[:", "x": [[1, {}], -2.5e3]},\n  {\n"name": "b",\n"params": '
        '{"config": {},\n"x": null}}\n]}'
    )
    assert jsontext.Lines(text).of(place) == line
