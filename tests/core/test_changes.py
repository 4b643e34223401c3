"""What differs between two definitions is told task by task."""

import pytest

from runs.core.changes import changes, words
from tests.factories import make_definition


def test_tasks_are_told_apart_by_name_wherever_they_stand() -> None:
    before, after = make_definition("a", "b", "c"), make_definition("a", "b", "c")
    after["tasks"] = [after["tasks"][2], {"name": "d", "function": "a2a"}, after["tasks"][0]]
    after["tasks"][0]["params"]["config"]["method"] = "POST"
    found = changes(before, after)
    assert [(one.name, one.kind) for one in found.tasks] == [("b", "removed"), ("c", "changed"), ("d", "added")]
    [field] = found.tasks[1].fields
    assert (field.place, field.before, field.after) == ("params.config.method", "GET", "POST")
    assert found.rest == ()


def test_what_stands_outside_the_tasks_is_told_by_its_place() -> None:
    before, after = make_definition("a"), make_definition("a") | {"input_schema": {}}
    after["default_inputs"] = {"query": "y"}
    found = changes(before, after)
    assert found.tasks == ()
    assert [one.place for one in found.rest] == ["default_inputs.query", "input_schema"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (["a"], ["a", "b"], "added “b”"),
        (["a", "b", "c", "d", "e"], ["a"], "removed “b”, “c”, “d” and 1 more"),
    ],
)
def test_the_words_name_a_few_tasks(before: list[str], after: list[str], said: str) -> None:
    assert words(changes(make_definition(*before), make_definition(*after))) == said


def test_the_words_name_what_else_changed() -> None:
    before, after = make_definition("a"), make_definition("a")
    after["default_inputs"] = {}
    assert words(changes(before, after)) == "changed default_inputs"
    after["tasks"][0]["tag"] = "x"
    assert words(changes(before, after)) == "changed “a”; also default_inputs"


def test_another_order_alone_is_said_to_be_that() -> None:
    before, after = make_definition("a", "b"), make_definition("a", "b")
    after["tasks"].reverse()
    assert words(changes(before, after)) == "only the order"
