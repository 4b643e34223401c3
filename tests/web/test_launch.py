"""Launching, and launching again: a form made from the definition's inputs, secrets kept, mistakes at their fields."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from runs import actions, vault
from runs.models import Run, Workflow
from tests.factories import make_definition, make_run, make_workflow

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db
SECRET = "sk-live-0123456789abcdefghij"


def saved(**inputs: Any) -> Workflow:
    """A workflow with these default inputs, masked on its row as a real one."""
    definition = make_definition() | {"default_inputs": inputs}
    definition["tasks"][0]["function"] = "call_lyzr_agent"
    return actions.save_workflow(upstream=make_workflow().upstream, definition=definition, flow_name="Inputs")


def sent(run: Run) -> Any:
    """What the upstream will get as default_inputs."""
    return vault.unseal(run.launch.sealed)["default_inputs"]


def address(workflow: Workflow) -> str:
    return f"/launch/?workflow={workflow.pk}"


def test_a_viewer_reads_why_not(client_as: ClientAs) -> None:
    answer = client_as("viewer").get("/launch/")
    assert answer.status_code == 403
    assert "This needs the role operator" in answer.content.decode()


def test_without_a_workflow_in_the_address_one_is_chosen(client_as: ClientAs) -> None:
    workflow = make_workflow(flow_name="Nightly", description="Counts everything.")
    page = client_as("operator").get("/launch/").content.decode()
    assert f'href="/launch/?workflow={workflow.pk}"' in page
    assert "Counts everything." in page
    assert "3 tasks" in page


def test_with_nothing_to_launch_the_page_leads_to_a_new_workflow(client_as: ClientAs) -> None:
    page = client_as("operator").get("/launch/").content.decode()
    assert "There is nothing to launch yet" in page
    assert "/workflows/new/" in page


def test_each_input_gets_the_field_that_suits_its_default(client_as: ClientAs) -> None:
    workflow = saved(word="x", prose="long " * 30, count=3, share=0.5, on=True, items=[1], thing={"a": 1}, nothing=None)
    form = client_as("operator").get(address(workflow)).context["form"]
    kinds = {
        name: (type(form.fields[f"input.{name}"]).__name__, form.fields[f"input.{name}"].widget.__class__.__name__)
        for name in form.defaults
    }
    assert kinds == {
        "word": ("TextField", "TextInput"),
        "prose": ("TextField", "Textarea"),
        "count": ("NumberField", "TextInput"),
        "share": ("NumberField", "TextInput"),
        "on": ("BooleanField", "CheckboxInput"),
        "items": ("JSONField", "Textarea"),
        "thing": ("JSONField", "Textarea"),
        "nothing": ("CharField", "TextInput"),
    }


def test_what_is_entered_is_launched_with_its_kinds_kept(client_as: ClientAs) -> None:
    workflow = saved(word="x", count=3, share=0.5, on=True, items=[1], nothing=None)
    answer = client_as("operator").post(
        address(workflow),
        {
            "run_name": "mine", "mode": "form", "input.word": " two\r\nlines ", "input.count": "90071992547409931",
            "input.share": "2", "input.items": '["a", {"b": null}]', "input.nothing": "",
        },
    )  # fmt: skip
    run = Run.objects.get(run_name="mine")
    assert answer.headers["Location"] == f"/runs/{run.pk}/"
    assert run.created_by is not None
    assert sent(run) == {
        "word": " two\nlines ", "count": 90071992547409931, "share": 2, "on": False, "items": ["a", {"b": None}],
        "nothing": None,
    }  # fmt: skip


def test_a_secret_is_never_shown_and_stays_unless_replaced(client_as: ClientAs) -> None:
    workflow = saved(api_key=SECRET, word="x")
    operator = client_as("operator")
    page = operator.get(address(workflow)).content.decode()
    assert SECRET not in page
    assert "Kept secret" in page
    operator.post(address(workflow), {"run_name": "kept", "mode": "form", "input.word": "y", "input.api_key": ""})
    assert sent(Run.objects.get(run_name="kept")) == {"api_key": SECRET, "word": "y"}
    operator.post(
        address(workflow), {"run_name": "new", "mode": "form", "input.word": "y", "input.api_key": "other-key"}
    )
    run = Run.objects.get(run_name="new")
    assert sent(run)["api_key"] == "other-key"
    assert "other-key" not in json.dumps(run.launch.inputs)


def test_a_typed_secret_is_not_sent_back_with_the_mistakes(client_as: ClientAs) -> None:
    workflow = saved(api_key=SECRET, count=1)
    fields = {"run_name": "r", "mode": "form", "input.api_key": "typed-secret", "input.count": "many"}
    answer = client_as("operator").post(address(workflow), fields)
    assert answer.status_code == 422
    assert "typed-secret" not in answer.content.decode()


def test_all_inputs_can_be_entered_as_json_with_masked_values_left_standing(client_as: ClientAs) -> None:
    workflow = saved(api_key=SECRET, word="x")
    operator = client_as("operator")
    form = operator.get(address(workflow)).context["form"]
    inputs = json.loads(form["inputs"].value())
    assert inputs["api_key"].startswith("[masked:")
    fields = {"run_name": "json", "mode": "json", "inputs": json.dumps(inputs | {"word": "z", "more": [1]})}
    assert operator.post(address(workflow), fields).status_code == 302
    assert sent(Run.objects.get(run_name="json")) == {"api_key": SECRET, "word": "z", "more": [1]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Enter the inputs as a JSON object"),
        ("[1]", "An object is expected"),
        ('{"a": 1,\n "b": }', "Line 2, column 7"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "9" * 5000 + "}", "5000 digits"),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "Nested deeper"),
    ],
)
def test_json_that_cannot_be_kept_is_refused_at_its_place(client_as: ClientAs, text: str, said: str) -> None:
    workflow = saved(word="x")
    answer = client_as("operator").post(address(workflow), {"run_name": "r", "mode": "json", "inputs": text})
    assert answer.status_code == 422
    assert any(said in error for error in answer.context["form"].errors["inputs"])
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("count", "many", "is no number"),
        ("count", "true", "is no number"),
        ("count", "", "required"),
        ("items", "{}", "A list is expected"),
        ("thing", "[]", "An object is expected"),
        ("thing", "{", "Line 1"),
    ],
)
def test_a_mistake_stands_at_its_field(client_as: ClientAs, name: str, text: str, said: str) -> None:
    workflow = saved(count=1, items=[1], thing={"a": 1})
    fields = {"run_name": "r", "mode": "form", "input.count": "1", "input.items": "[]", "input.thing": "{}"}
    answer = client_as("operator").post(address(workflow), fields | {f"input.{name}": text})
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [f"input.{name}"]
    assert said in answer.context["form"].errors[f"input.{name}"][0]


def test_a_mistake_on_the_side_that_does_not_count_holds_nothing_up(client_as: ClientAs) -> None:
    workflow = saved(count=1)
    fields = {"run_name": "r", "mode": "form", "input.count": "2", "inputs": "{broken"}
    assert client_as("operator").post(address(workflow), fields).status_code == 302


@pytest.mark.parametrize("name", [".", "..", "a\x07b"])
def test_a_name_that_can_be_no_address_is_refused_at_the_name(client_as: ClientAs, name: str) -> None:
    answer = client_as("operator").post(address(saved()), {"run_name": name, "mode": "form"})
    assert answer.status_code == 422
    assert "run_name" in answer.context["form"].errors


def test_a_taken_name_leads_to_the_run_that_has_it_and_offers_another(client_as: ClientAs) -> None:
    workflow, operator = saved(), client_as("operator")
    operator.post(address(workflow), {"run_name": "once", "mode": "form"})
    answer = operator.post(address(workflow), {"run_name": "once", "mode": "form"})
    assert answer.status_code == 409
    assert "run_name" in answer.context["form"].errors
    assert f'href="/runs/{Run.objects.get().pk}/"' in answer.content.decode()
    assert answer.context["fresh_name"] not in ("", "once")


def test_every_form_comes_with_a_new_name(client_as: ClientAs) -> None:
    workflow, operator = saved(), client_as("operator")
    names = {operator.get(address(workflow)).context["form"]["run_name"].value() for _ in range(3)}
    assert len(names) == 3


def test_a_link_prefills_the_form_and_says_what_does_not_fit(client_as: ClientAs) -> None:
    workflow = saved(word="x", count=1, on=False, api_key=SECRET)
    query = {
        "flow": workflow.flow_name, "run_name": "from-link", "input.word": "given", "input.count": "7",
        "input.on": "true", "input.other": "1", "input.api_key": "in-a-link",
    }  # fmt: skip
    answer = client_as("operator").get("/launch/", query)
    form = answer.context["form"]
    assert form["run_name"].value() == "from-link"
    assert [form[f"input.{name}"].value() for name in ("word", "count", "on")] == ["given", "7", True]
    assert answer.context["strangers"] == ["other"]
    assert "in-a-link" not in answer.content.decode()


@pytest.mark.parametrize("number", ["x", "0", "99999999999999999999999", "²"])
def test_a_workflow_that_is_not_there_is_not_found(client_as: ClientAs, number: str) -> None:
    assert client_as("operator").get("/launch/", {"workflow": number}).status_code == 404


def test_a_flow_that_is_not_saved_here_is_named(client_as: ClientAs) -> None:
    answer = client_as("operator").get("/launch/?flow=Unknown")
    assert answer.status_code == 404
    assert "There is no workflow named “Unknown” here" in answer.content.decode()


@pytest.mark.parametrize("inputs", [None, [], "text", 7])
def test_default_inputs_of_another_shape_leave_the_page_standing(client_as: ClientAs, inputs: object) -> None:
    workflow = make_workflow()
    workflow.definition = workflow.definition | {"default_inputs": inputs}
    workflow.save()
    assert client_as("operator").get(address(workflow)).status_code == 200


def test_input_names_and_values_of_any_letters_stand_as_text(client_as: ClientAs) -> None:
    workflow = saved(**{'<script>"&': "</textarea><script>", "broken \ud800": "lone \ud800", "a.b[0]": "\x00"})
    page = client_as("operator").get(address(workflow)).content.decode()
    assert "<script>" not in page


# --- again -------------------------------------------------------------------------------------------------------


def launched(client: Client, workflow: Workflow, **fields: str) -> Run:
    client.post(address(workflow), {"run_name": "first", "mode": "form", **fields})
    return Run.objects.get(run_name="first")


def test_running_again_starts_from_what_was_launched_and_keeps_its_secrets(client_as: ClientAs) -> None:
    operator = client_as("operator")
    workflow = saved(api_key=SECRET, word="x")
    run = launched(operator, workflow, **{"input.word": "edited", "input.api_key": "only-for-this-run"})
    form = operator.get(f"/runs/{run.pk}/retry/").context["form"]
    assert form["input.word"].value() == "edited"
    operator.post(f"/runs/{run.pk}/retry/", {"run_name": "second", "mode": "form", "input.word": "again"})
    again = Run.objects.get(run_name="second")
    assert again.retry_of == run
    assert sent(again) == {"api_key": "only-for-this-run", "word": "again"}


def test_running_again_at_one_press_changes_nothing(client_as: ClientAs) -> None:
    operator = client_as("operator")
    run = launched(operator, saved(word="x"), **{"input.word": "y"})
    answer = operator.post(f"/runs/{run.pk}/retry/")
    again = Run.objects.get(retry_of=run)
    assert answer.headers["Location"] == f"/runs/{again.pk}/"
    assert sent(again) == {"word": "y"}


def test_an_attached_run_cannot_be_run_again_and_the_page_says_why(client_as: ClientAs) -> None:
    run = make_run(attached=True)
    answer = client_as("operator").get(f"/runs/{run.pk}/retry/")
    assert answer.status_code == 409
    assert "started elsewhere" in answer.content.decode()
    assert client_as("operator").post(f"/runs/{run.pk}/retry/").status_code == 409
    assert Run.objects.count() == 1


def test_a_viewer_may_not_run_again(client_as: ClientAs) -> None:
    assert client_as("viewer").post(f"/runs/{make_run().pk}/retry/").status_code == 403
