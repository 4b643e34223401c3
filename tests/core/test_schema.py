"""The schema that a definition carries: what it says of inputs, and that masking leaves it a schema."""

import copy
from typing import Any

import pytest

from runs.core import schema as schemas
from runs.core.redact import Masker, has_marker, restore

SECRET = "sk-" + "live-0123456789abcdefghij"
MASKER = Masker(b"k" * 32)


def carrying(schema: dict[str, Any]) -> dict[str, Any]:
    return {"tasks": [], "default_inputs": {"api_key": SECRET}, schemas.NAME: schema}


def test_the_name_of_a_property_masks_its_values_and_not_its_words() -> None:
    schema = {
        "type": "object",
        "required": ["api_key"],
        "properties": {
            "api_key": {"type": "string", "minLength": 3, "default": "hunter2", "enum": ["hunter2", "other"]},
            "config": {"properties": {"token": {"anyOf": [{"const": "abc"}, {"type": "null"}]}}},
            "text": {"type": "string", "description": f"as in {SECRET}", "default": "plain"},
        },
        "additionalProperties": False,
    }
    masked = schemas.masked(carrying(schema), MASKER)[schemas.NAME]
    assert masked["required"] == ["api_key"]
    assert masked["additionalProperties"] is False
    key = masked["properties"]["api_key"]
    assert (key["type"], key["minLength"]) == ("string", 3)
    assert all(has_marker(one) for one in [key["default"], *key["enum"]])
    assert has_marker(masked["properties"]["config"]["properties"]["token"]["anyOf"][0]["const"])
    assert masked["properties"]["text"]["default"] == "plain"
    assert SECRET not in str(masked)


def test_a_masked_schema_that_comes_back_is_the_one_it_was() -> None:
    original = carrying({"properties": {"api_key": {"type": "string", "default": "hunter2"}, "n": {"minimum": 1}}})
    masked = schemas.masked(original, MASKER)
    edited = copy.deepcopy(masked)
    edited[schemas.NAME]["properties"]["n"]["minimum"] = 2
    back = restore(edited, masked, original)
    assert back[schemas.NAME]["properties"] == {
        "api_key": {"type": "string", "default": "hunter2"},
        "n": {"minimum": 2},
    }


def test_what_is_no_schema_says_nothing() -> None:
    for odd in (None, [], "x", {}, {schemas.NAME: None}, {schemas.NAME: [1]}):
        assert schemas.of(odd) is None
    for odd_schema in (None, {}, {"properties": []}, {"properties": {"a": 7}}, {"required": "a"}):
        assert schemas.defaults(odd_schema) == {}
        assert schemas.required(odd_schema) == set()


def test_the_upstream_is_sent_a_definition_without_it() -> None:
    assert schemas.without(carrying({"type": "object"})) == {"tasks": [], "default_inputs": {"api_key": SECRET}}


def shown(schema: dict[str, Any]) -> Any:
    return schemas.masked(carrying(schema), MASKER)[schemas.NAME]


VALUES: dict[str, Any] = {
    "default": {"depends": "hunter2"},
    "const": ["hunter2", 4711],
    "enum": ["hunter2", 4711, {"input": "hunter2"}],
    "examples": [{"hunter2": "hunter2"}],
    "pattern": "^hunter2$",
}


@pytest.mark.parametrize(
    "around",
    [
        lambda spec: spec,
        lambda spec: {"items": spec},
        lambda spec: {"additionalProperties": spec},
        lambda spec: {"not": spec},
        lambda spec: {"anyOf": [{"type": "null"}, spec]},
        lambda spec: {"allOf": [{"oneOf": [spec]}]},
        lambda spec: {"properties": {"plain": spec}},
        lambda spec: {"items": {"properties": {"depends": {"properties": {"tokens": spec}}}}},
    ],
)
@pytest.mark.parametrize("name", ["api_key", "password", "credentials"])
def test_the_values_under_a_secret_name_are_masked_whole_at_any_depth(name: str, around: Any) -> None:
    found = shown({"properties": {name: around({"type": "string", "maxLength": 9, **VALUES})}})
    assert "hunter2" not in str(found)
    assert "4711" not in str(found)
    assert "'type': 'string'" in str(found)
    assert "'maxLength': 9" in str(found)


def test_the_stricter_of_two_names_counts() -> None:
    """Under `tokens` a number is no secret, under `api_key` it is."""
    spec = {"properties": {"tokens": {"default": 1234, "properties": {"api_key": {"default": 4711}}}}}
    found = shown(spec)["properties"]["tokens"]
    assert found["default"] == 1234
    assert has_marker(found["properties"]["api_key"]["default"])


def test_a_secret_that_looks_like_one_is_masked_in_every_word() -> None:
    texts = dict.fromkeys(("title", "description", "default", "const", "pattern", "format", "$comment", "type"), SECRET)
    lists: dict[str, Any] = {word: [SECRET] for word in ("enum", "examples", "required")}
    odd = {
        "properties": SECRET,
        "items": SECRET,
        "allOf": [SECRET],
        "minimum": SECRET,
        "x-odd": {"a": SECRET},
        SECRET: 1,
    }
    for schema in (texts | lists, odd, {"properties": {SECRET: texts | odd}}):
        assert SECRET not in str(shown(schema)), schema


def test_two_names_of_one_look_stay_two() -> None:
    schema = {"properties": {SECRET: {"default": 1}, f"{SECRET}\u0000": {"default": 2}, "n": {"default": 3}}}
    assert [spec["default"] for spec in shown(schema)["properties"].values()] == [1, 2, 3]


def test_what_was_masked_whole_comes_back_whole() -> None:
    original = carrying({"properties": {"api_key": {**VALUES, "title": "Key"}, "n": {"minimum": 1}}})
    masked = schemas.masked(original, MASKER)
    assert restore(copy.deepcopy(masked), masked, original) == original
