"""Launching a workflow that carries a JSON Schema: its fields, its checks, its links."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from runs import actions, vault
from runs.models import Run, Workflow
from tests.factories import make_definition, make_upstream

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["city", "level"],
    "properties": {
        "city": {"type": "string", "title": "City", "description": "Where it rains", "minLength": 2, "maxLength": 20},
        "level": {"enum": ["low", "high"]},
        "priority": {"enum": [1, 2, None], "default": 2},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "share": {"type": "number", "exclusiveMaximum": 1},
        "dry": {"type": "boolean"},
        "loud": {"type": "boolean", "default": True},
        "prose": {"type": "string", "maxLength": 4000},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "customer": {"type": "object", "required": ["email"], "properties": {"email": {"type": "string"}}},
        "anything": {},
        "password": {"type": "string"},
    },
}
GOOD = {"run_name": "r", "mode": "form", "input.query": "x", "input.city": "Oslo", "input.level": "high"}
GOOD |= {"input.priority": "2", "input.loud": "on"}


def saved(schema: Any = None, **inputs: Any) -> Workflow:
    definition = make_definition() | {"input_schema": schema or SCHEMA}
    definition["default_inputs"] |= inputs
    return actions.save_workflow(upstream=make_upstream(), definition=definition, flow_name="Checked")


def address(workflow: Workflow) -> str:
    return f"/launch/?workflow={workflow.pk}"


def sent(run_name: str = "r") -> Any:
    return vault.unseal(Run.objects.get(run_name=run_name).launch.sealed)["default_inputs"]


def test_each_input_gets_the_field_that_its_schema_asks_for(client_as: ClientAs) -> None:
    form = client_as("operator").get(address(saved())).context["form"]
    fields = {name: form.fields[f"input.{name}"] for name in form.defaults}
    kinds = {name: f"{type(one).__name__} {type(one.widget).__name__}" for name, one in fields.items()}
    assert kinds == {
        "query": "TextField TextInput",
        "city": "TextField TextInput",
        "level": "TypedChoiceField Select",
        "priority": "TypedChoiceField Select",
        "count": "NumberField TextInput",
        "share": "NumberField TextInput",
        "dry": "TypedChoiceField Select",
        "loud": "BooleanField CheckboxInput",
        "prose": "TextField Textarea",
        "tags": "JSONField Textarea",
        "customer": "JSONField Textarea",
        "anything": "JSONField Textarea",
        "password": "TextField PasswordInput",
    }
    assert fields["city"].help_text == "City. Where it rains. From 2 to 20 characters."
    assert fields["count"].help_text == "A whole number, from 1 to 9."
    assert fields["share"].help_text == "Less than 1."
    assert fields["prose"].help_text == "At most 4000 characters."
    assert fields["tags"].help_text == "At least 1 item. JSON, a list."
    assert [name for name, one in fields.items() if one.required] == ["city", "level", "priority"]
    assert [code for code, _ in fields["level"].choices] == ["", "low", "high"]
    assert [code for code, _ in fields["priority"].choices] == ["1", "2", "null"]
    assert form["input.priority"].value() == "2"


def test_what_has_no_default_and_is_left_empty_is_not_sent(client_as: ClientAs) -> None:
    answer = client_as("operator").post(address(saved()), GOOD)
    assert answer.status_code == 302
    assert sent() == {"query": "x", "priority": 2, "loud": True, "city": "Oslo", "level": "high"}


def test_values_are_sent_as_the_kinds_that_the_schema_names(client_as: ClientAs) -> None:
    more = {
        "input.count": "3",
        "input.share": "0.5",
        "input.dry": "false",
        "input.tags": '["a"]',
        "input.priority": "null",
    }
    more |= {"input.customer": '{"email": "a@b.example"}', "input.anything": "[1]", "input.password": "hunter2"}
    client_as("operator").post(address(saved()), GOOD | more)
    found = sent()
    assert {name: found[name] for name in ("count", "share", "dry", "tags", "priority", "anything", "password")} == {
        "count": 3, "share": 0.5, "dry": False, "tags": ["a"], "priority": None, "anything": [1], "password": "hunter2",
    }  # fmt: skip
    assert "hunter2" not in json.dumps(Run.objects.get().launch.inputs)


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        ({"input.city": ""}, "input.city", "This field is required."),
        ({"input.level": ""}, "input.level", "This field is required."),
        ({"input.level": "mid"}, "input.level", "Select a valid choice"),
        ({"input.city": "O"}, "input.city", "This must have at least 2 characters."),
        ({"input.count": "1.5"}, "input.count", "This must be a whole number."),
        ({"input.count": "10"}, "input.count", "This must be at most 9."),
        ({"input.tags": "{}"}, "input.tags", "A list is expected"),
        ({"input.tags": '["a", 2]'}, "input.tags", "[1]: This must be a text."),
        ({"input.customer": "{}"}, "input.customer", "email: This is required."),
    ],
)
def test_each_mistake_stands_at_its_field(client_as: ClientAs, more: dict[str, str], field: str, said: str) -> None:
    answer = client_as("operator").post(address(saved()), GOOD | more)
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field] or list(answer.context["form"].errors)[:-1] == [field]
    assert said in answer.context["form"].errors[field][0]
    assert not Run.objects.exists()


def test_on_the_json_side_the_place_of_each_mistake_is_named(client_as: ClientAs) -> None:
    inputs = {"city": 7, "level": "high", "customer": {"email": 1}}
    fields = {"run_name": "r", "mode": "json", "inputs": json.dumps(inputs)}
    answer = client_as("operator").post(address(saved()), fields)
    assert answer.status_code == 422
    assert answer.context["form"].errors["inputs"] == [
        "city: This must be a text.", "customer.email: This must be a text.",
    ]  # fmt: skip


def test_the_json_side_opens_with_the_defaults_of_both(client_as: ClientAs) -> None:
    form = client_as("operator").get(address(saved(city="Bergen"))).context["form"]
    assert json.loads(form["inputs"].value()) == {"priority": 2, "loud": True, "query": "x", "city": "Bergen"}


def test_a_stored_secret_is_checked_and_never_quoted(client_as: ClientAs) -> None:
    secret = "sk-" + "live-0123456789abcdefghij"
    workflow = saved({"properties": {"api_key": {"type": "string", "maxLength": 5}}}, api_key=secret)
    operator = client_as("operator")
    fields = {"run_name": "r", "mode": "form", "input.query": "x", "input.api_key": ""}
    answer = operator.post(address(workflow), fields)
    assert answer.status_code == 422
    assert answer.context["form"].errors["input.api_key"] == ["This may have at most 5 characters."]
    assert secret not in answer.content.decode()


def test_a_link_prefills_choices_numbers_and_truths(client_as: ClientAs) -> None:
    query = {
        "input.level": "low",
        "input.priority": "null",
        "input.dry": "false",
        "input.count": "3",
        "input.loud": "0",
    }
    query |= {"input.share": "", "input.password": "in-a-link", "input.tags": "[", "input.none": "1"}
    workflow = saved()
    answer = client_as("operator").get(address(workflow), query | {"workflow": str(workflow.pk)})
    form = answer.context["form"]
    shown = {name: form[f"input.{name}"].value() for name in ("level", "priority", "dry", "count", "loud")}
    assert shown == {"level": "low", "priority": "null", "dry": "false", "count": "3", "loud": False}
    assert sorted(answer.context["strangers"]) == ["none", "tags"]
    assert "in-a-link" not in answer.content.decode()
    given = json.loads(form["inputs"].value())
    assert (given["level"], given["priority"], given["dry"], given["count"]) == ("low", None, False, 3)
    assert "share" not in given


def test_running_again_asks_and_checks_by_the_schema_of_that_launch(client_as: ClientAs) -> None:
    operator = client_as("operator")
    workflow = saved()
    operator.post(address(workflow), GOOD)
    run = Run.objects.get()
    actions.save_workflow(upstream=workflow.upstream, definition=make_definition(), workflow=workflow)
    form = operator.get(f"/runs/{run.pk}/retry/").context["form"]
    assert form["input.level"].value() == "high"
    again = GOOD | {"run_name": "again"}
    assert operator.post(f"/runs/{run.pk}/retry/", again | {"input.city": "O"}).status_code == 422
    assert operator.post(f"/runs/{run.pk}/retry/", again | {"input.city": "Tromsø"}).status_code == 302
    assert sent("again")["city"] == "Tromsø"


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": ["string", "null"]}, "b": {"type": ["string", "integer"]}, "c": True}},
        {"properties": {"a": {"enum": [{"x": 1}]}, "b": {"enum": ["", "x"]}, "c": {"$ref": "#/$defs/x"}}},
        {"properties": {"query": {"type": "integer"}, "<b>": {"description": "</textarea><script>"}}},
        {"properties": {"a": {"title": 7, "description": ["x"], "minimum": 1}}, "required": ["not-there"]},
    ],
)
def test_odd_schemas_leave_the_page_standing(client_as: ClientAs, schema: dict[str, Any]) -> None:
    workflow = saved()
    workflow.definition = workflow.definition | {"input_schema": schema}
    workflow.save()
    answer = client_as("operator").get(address(workflow))
    assert answer.status_code == 200
    assert "</textarea><script>" not in answer.content.decode()


SECRET = "sk-" + "live-0123456789abcdefghij"
WHOLE = {
    "default": SECRET,
    "enum": [SECRET],
    "const": SECRET,
    "pattern": SECRET,
    "description": SECRET,
    "title": SECRET,
}


def secretive() -> Workflow:
    """Saved with secrets in every word of its schema and under innocent names, too; and under their own."""
    schema = {
        "additionalProperties": False,
        "properties": {
            "query": {"not": WHOLE},
            "note": WHOLE,
            "password": {
                "type": "string",
                "default": {"depends": "hunter2"},
                "enum": ["hunter2"],
                "pattern": "hunter2",
            },
            SECRET: {"type": "integer"},
        },
    }
    return saved(schema, **{SECRET: 1})


def test_secrets_of_a_schema_come_back_by_no_mistake_and_no_form(client_as: ClientAs) -> None:
    operator = client_as("operator")
    workflow = secretive()
    form = operator.get(address(workflow))
    shown = form.context["form"]
    fields = {"run_name": "r", "mode": "form"} | {f"input.{name}": "" for name in shown.defaults}
    by_form = operator.post(address(workflow), fields | {"input.note": "x", "input.password": "x"})
    everything = {"run_name": "r", "mode": "json", "inputs": shown["inputs"].value()}
    by_json = operator.post(address(workflow), everything)
    edited = json.loads(json.dumps(workflow.definition))
    edited["input_schema"]["properties"]["password"]["type"] = "text"
    edited["input_schema"]["properties"]["note"]["$ref"] = "#/nowhere"
    for spec in edited["input_schema"]["properties"].values():
        spec["minLength"] = "x"
    by_editor = operator.post(
        f"/workflows/{workflow.pk}/edit/",
        {"upstream": workflow.upstream_id, "flow_name": "Checked", "definition": json.dumps(edited), "version": 1},
    )
    for answer in (form, by_form, by_json, by_editor):
        assert SECRET not in answer.content.decode()
        assert "hunter2" not in answer.content.decode()
    assert [answer.status_code for answer in (form, by_form, by_json, by_editor)] == [200, 422, 422, 422]
    assert "nowhere" not in by_editor.context["form"].errors.as_text()
    assert not Run.objects.exists()


def test_a_masked_default_that_stays_is_the_one_it_was(client_as: ClientAs) -> None:
    workflow = saved({"properties": {"password": {"default": {"depends": "hunter2"}}}})
    form = client_as("operator").get(address(workflow)).context["form"]
    assert type(form.fields["input.password"]).__name__ == "SecretField"
    fields = {"run_name": "j", "mode": "json", "inputs": form["inputs"].value()}
    assert client_as("operator").post(address(workflow), fields).status_code == 302
    assert sent("j") == {"query": "x", "password": {"depends": "hunter2"}}


def test_a_schema_that_was_stored_before_is_checked_again_before_a_launch(client_as: ClientAs) -> None:
    workflow = saved()
    definition = make_definition() | {"input_schema": {"properties": {"query": {"$ref": "http://127.0.0.1:9/x"}}}}
    workflow.sealed = vault.seal(definition)
    workflow.save()
    answer = client_as("operator").post(address(workflow), GOOD)
    assert answer.status_code == 422
    assert "$ref is not among the words" in answer.content.decode()


@pytest.mark.parametrize("mode", ["form", "json"])
def test_what_cannot_be_compared_is_told_on_the_side_that_counts(client_as: ClientAs, mode: str) -> None:
    workflow = saved({"properties": {"query": {"multipleOf": 0.1}}}, query=10**400)
    fields = {"run_name": "r", "mode": mode, "input.query": str(10**400), "inputs": "{}"}
    answer = client_as("operator").post(address(workflow), fields)
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [{"form": "__all__", "json": "inputs"}[mode]]
    assert "cannot be compared with the schema" in answer.context["form"].errors.as_text()
