"""The preview beside the editor: mistakes that name the task and its line, else the picture."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from runs.web import preview
from tests.factories import make_definition, make_upstream, make_workflow

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db


def text_of(definition: Any) -> str:
    return json.dumps(definition, indent=2)


def wrong(change: Callable[[list[Any]], Any]) -> dict[str, Any]:
    definition = make_definition("fetch", "clean", "report")
    change(definition["tasks"])
    return definition


@pytest.mark.parametrize(
    ("change", "task", "message", "on_its_line"),
    [
        (lambda tasks: tasks[1].update(params={"depends": "x"}), "clean", "'x', which is not in", '"depends": "x"'),
        (lambda tasks: tasks[1].update(name="fetch"), "fetch", "two tasks are named 'fetch'", '"name": "fetch"'),
        (lambda tasks: tasks[0].update(params={"a": {"depends": "report"}}), "fetch", "cycle: ", '"depends": "report"'),
        (lambda tasks: tasks[2].pop("function"), "report", "has no function", "{"),
        (lambda tasks: tasks[2].update(function=7), "report", "function must be a text", '"function": 7'),
        (lambda tasks: tasks[2].update(params=[]), "report", "params must be a JSON object", '"params": []'),
        (lambda tasks: tasks[0].update(name=7), None, "the task has no name", '"name": 7'),
        (lambda tasks: tasks.append("text"), None, "a task must be a JSON object", '"text"'),
    ],
)  # fmt: skip
def test_a_mistake_names_its_task_and_its_line(
    change: Callable[[list[Any]], Any], task: str | None, message: str, on_its_line: str
) -> None:
    text = text_of(wrong(change))
    found = preview.look(text)
    assert found.picture is None
    one = next(one for one in found.mistakes if message in one.message)
    assert one.task == task
    assert on_its_line in text.splitlines()[one.line - 1]


def test_an_unknown_function_is_warned_of_at_its_line() -> None:
    text = text_of(wrong(lambda tasks: tasks[1].update(function="teleport")))
    found = preview.look(text)
    assert found.picture
    one = next(one for one in found.warnings if one.task)
    assert (one.task, "teleport" in text.splitlines()[one.line - 1]) == ("clean", True)


def test_what_is_no_json_is_told_with_its_line() -> None:
    [one] = preview.look('{\n  "tasks": [,]\n}').mistakes
    assert one.line == 2
    assert preview.look("").mistakes
    assert preview.look("[" * 5000).mistakes
    assert "JSON object" in preview.look("[]").mistakes[0].message


def test_the_tasks_of_the_picture_lead_to_their_lines() -> None:
    text = text_of(make_definition("fetch", "clean"))
    picture = preview.look(text).picture
    assert picture
    line = text.splitlines().index('      "name": "clean",')  # counted from 0: the line of the bracket before
    assert f'data-line="{line}" aria-label="clean, line {line}"' in picture


def test_a_schema_that_is_none_is_told_at_its_line() -> None:
    text = text_of(make_definition() | {"input_schema": {"properties": {"a": {"type": "text"}}}})
    [one] = preview.look(text).mistakes
    assert '"type": "text"' in text.splitlines()[one.line - 1]


def test_a_word_that_no_schema_may_have_is_told_at_its_line() -> None:
    schema = {"properties": {"a": {"$ref": "#/nowhere"}, "patternProperties": {"type": "string"}}}
    text = text_of(make_definition() | {"input_schema": schema})
    [one] = preview.look(text).mistakes
    assert '"$ref"' in text.splitlines()[one.line - 1]
    assert "nowhere" not in one.message


def test_a_thousand_mistakes_are_cut_off() -> None:
    definition = make_definition() | {"edges": [7] * 1000}
    found = preview.look(text_of(definition))
    assert (len(found.mistakes), found.more) == (50, 950)


def test_a_text_that_can_be_read_brings_a_new_picture_and_a_broken_one_leaves_the_last(client_as: ClientAs) -> None:
    operator = client_as("operator")
    good = operator.post("/workflows/preview/", {"definition": text_of(make_definition())}).content.decode()
    assert 'hx-target="#preview-graph"' in good
    assert "3 tasks in 3 steps" in good
    broken = operator.post("/workflows/preview/", {"definition": "{"}).content.decode()
    assert 'hx-target="#preview-state"' in broken
    assert "preview-graph" not in broken
    assert "The picture shows the last text that could be read" in broken
    assert operator.post("/workflows/preview/").status_code == 200


def test_who_is_signed_out_meanwhile_is_not_taken_away_from_the_text() -> None:
    answer = Client().post("/workflows/preview/", {"definition": "{}"}, headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert "HX-Redirect" not in answer.headers


def test_texts_of_any_letters_stand_as_text(client_as: ClientAs) -> None:
    definition = make_definition("<script>alert(1)</script>", "\"&'")
    page = client_as("operator").post("/workflows/preview/", {"definition": text_of(definition)}).content.decode()
    assert "<script>" not in page


def test_the_editor_opens_with_the_picture_and_keeps_it_out_where_there_is_none(client_as: ClientAs) -> None:
    operator = client_as("operator")
    assert '<svg class="graph"' in operator.get(f"/workflows/{make_workflow().pk}/edit/").content.decode()
    fields = {"upstream": make_upstream().pk, "definition": "{"}
    page = operator.post("/workflows/new/", fields).content.decode()
    assert "<svg" not in page.split('id="preview-graph"')[1]
