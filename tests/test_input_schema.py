"""Inputs against a schema: each mistake at its place, nothing quoted that may be a secret, no schema that hangs."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from runs import input_schema
from runs.core.patterns import MOST_STEPS, steps
from runs.input_schema import DIALECTS, MOST_MISTAKES, WORDS, input_mistakes, schema_mistakes

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["city", "customer"],
    "additionalProperties": False,
    "properties": {
        "city": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[A-Z]"},
        "level": {"enum": ["low", "high", 3]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 3},
        "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "kind": {"const": "x"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
        "customer": {"type": "object", "required": ["email"], "properties": {"email": {"type": ["string", "null"]}}},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "name": {"not": {"const": "root"}},
        "open": {"additionalProperties": {"type": "integer"}},
    },
}
GOOD = {"city": "Oslo", "customer": {"email": "a"}}


def told(inputs: dict[str, Any], schema: dict[str, Any] = SCHEMA) -> dict[str, str]:
    return {one.place: one.message for one in input_mistakes(schema, inputs)}


def test_inputs_that_fit_have_no_mistake() -> None:
    assert schema_mistakes(SCHEMA) == []
    full = {"level": 3, "count": 9, "share": 0.5, "kind": "x", "tags": ["a"], "either": 1}
    assert told(GOOD | full) == {}


@pytest.mark.parametrize(
    ("inputs", "place", "said"),
    [
        ({"city": 7}, "inputs.city", "This must be a text."),
        ({"city": "O"}, "inputs.city", "This must have at least 2 characters."),
        ({"city": "Trondheim"}, "inputs.city", "This may have at most 5 characters."),
        ({"city": "oslo"}, "inputs.city", "This does not fit the schema's pattern."),
        ({"level": "mid"}, "inputs.level", "This is none of the values that the schema allows."),
        ({"kind": "y"}, "inputs.kind", "This is not the one value that the schema allows."),
        ({"count": True}, "inputs.count", "This must be a whole number."),
        ({"count": 0}, "inputs.count", "This must be at least 1."),
        ({"count": 12}, "inputs.count", "This must be at most 9."),
        ({"count": 4}, "inputs.count", "This must be a multiple of 3."),
        ({"share": 0}, "inputs.share", "This must be more than 0."),
        ({"share": 1}, "inputs.share", "This must be less than 1."),
        ({"tags": []}, "inputs.tags", "This must hold at least 1."),
        ({"tags": ["a", "b", "c"]}, "inputs.tags", "This may hold at most 2."),
        ({"tags": ["a", 2]}, "inputs.tags[1]", "This must be a text."),
        ({"customer": {}}, "inputs.customer.email", "This is required."),
        ({"customer": {"email": 1}}, "inputs.customer.email", "This must be a text or null."),
        ({"other": 1}, "inputs.other", "The schema knows no such input."),
        ({"name": "root"}, "inputs.name", "This fits what the schema rules out."),
        ({"open": {"a": "x"}}, "inputs.open.a", "This must be a whole number."),
        ({"either": []}, "inputs.either", "This fits none of the ways that the schema allows."),
    ],
)  # fmt: skip
def test_each_mistake_is_said_at_its_place(inputs: dict[str, Any], place: str, said: str) -> None:
    assert told(GOOD | inputs) == {place: said}


def test_what_fits_two_ways_where_one_is_allowed_is_said() -> None:
    schema = {"properties": {"a": {"oneOf": [{"minimum": 1}, {"minimum": 2}]}}}
    assert told({"a": 3}, schema) == {"inputs.a": "This fits several of the ways of which the schema allows one."}
    assert told({"a": 0}, schema) == {"inputs.a": "This fits none of the ways that the schema allows."}


def test_each_missing_input_is_named_once() -> None:
    assert told({}) == {"inputs.city": "This is required.", "inputs.customer": "This is required."}


SECRET = "sk-" + "live-0123456789abcdefghij"


def test_no_mistake_of_inputs_quotes_the_schema_or_the_inputs() -> None:
    texts = {"default": SECRET, "enum": [SECRET], "const": SECRET, "pattern": f"^{SECRET}$", "description": SECRET}
    schema = {"properties": {"key": {**texts, "title": SECRET, "examples": [SECRET], "not": {"const": "mine-too"}}}}
    assert schema_mistakes(schema) == []
    said = told({"key": "mine-too"}, schema)
    assert len(input_mistakes(schema, {"key": "mine-too"})) == 4
    assert SECRET not in str(said)
    assert "mine-too" not in str(said)


@pytest.mark.parametrize(
    "spec",
    [
        {"description": [SECRET]},
        {"title": {SECRET: 1}},
        {"pattern": f"({SECRET}"},
        {"enum": SECRET},
        {"examples": SECRET},
        {"required": SECRET},
        {"type": SECRET},
        {"minimum": SECRET},
        {"items": SECRET},
        {"allOf": SECRET},
        {"properties": SECRET},
        {"default": float("nan"), "const": SECRET},
        {"default": {SECRET}},
    ],
)
def test_no_mistake_of_a_schema_quotes_it(spec: dict[str, Any]) -> None:
    found = schema_mistakes({"properties": {"a": spec}})
    assert len(found) == 1
    assert SECRET not in str(found)


def test_many_mistakes_are_cut_off() -> None:
    schema = {"additionalProperties": {"type": "string"}}
    inputs = {str(number): number for number in range(1000)}
    assert len(input_mistakes(schema, inputs)) == MOST_MISTAKES
    assert len(input_mistakes({"additionalProperties": False}, inputs)) == MOST_MISTAKES
    assert len(input_mistakes({"required": list(inputs)}, {})) == MOST_MISTAKES
    assert len(schema_mistakes({str(number): 1 for number in range(100)})) == MOST_MISTAKES


def test_mistakes_are_counted_as_they_come_and_not_as_they_differ() -> None:
    schema = {"properties": {"a": {"allOf": [{"type": "string"}] * 60 + [{"minimum": 9}]}}}
    assert told({"a": 1}, schema) == {"inputs.a": "This must be a text."}


@pytest.mark.parametrize(
    ("schema", "place", "said"),
    [
        ([], "input_schema", "an object"),
        (None, "input_schema", "an object"),
        (True, "input_schema", "an object"),
        ({"type": "array"}, "input_schema.type", '"object"'),
        ({"properties": {"a": {"type": "text"}}}, "input_schema.properties.a.type", "one of string"),
        ({"properties": {"a": {"type": []}}}, "input_schema.properties.a.type", "one of string"),
        ({"properties": {"a": {"type": [["string"]]}}}, "input_schema.properties.a.type", "one of string"),
        ({"properties": {"a": True}}, "input_schema.properties.a", "an object"),
        ({"properties": []}, "input_schema.properties", "under each name"),
        ({"items": [{}]}, "input_schema.items", "an object"),
        ({"items": False}, "input_schema.items", "an object"),
        ({"additionalProperties": "no"}, "input_schema.additionalProperties", "an object"),
        ({"anyOf": []}, "input_schema.anyOf", "at least one"),
        ({"anyOf": [{}, 7]}, "input_schema.anyOf[1]", "an object"),
        ({"required": "x"}, "input_schema.required", "a list of different names"),
        ({"required": ["x", "x"]}, "input_schema.required", "a list of different names"),
        ({"required": [["x"]]}, "input_schema.required", "a list of different names"),
        ({"enum": "x"}, "input_schema.enum", "a list of values"),
        ({"minLength": -1}, "input_schema.minLength", "0 or more"),
        ({"minLength": True}, "input_schema.minLength", "0 or more"),
        ({"multipleOf": 0}, "input_schema.multipleOf", "above 0"),
        ({"exclusiveMinimum": True}, "input_schema.exclusiveMinimum", "a number"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "input_schema.$schema", "one of the dialects"),
        ({"$schema": 7}, "input_schema.$schema", "one of the dialects"),
        ({"pattern": "("}, "input_schema.pattern", "a regular expression"),
        ({"pattern": 7}, "input_schema.pattern", "a regular expression"),
        ({"pattern": "a{99999999999}"}, "input_schema.pattern", "repeat too much"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_at_its_place(schema: Any, place: str, said: str) -> None:
    [mistake] = schema_mistakes(schema)
    assert mistake.place == place
    assert said in mistake.message


REFUSED = """
$ref $defs definitions $dynamicRef $dynamicAnchor $recursiveRef $anchor $vocabulary patternProperties propertyNames
dependencies dependentSchemas dependentRequired if then else contains minContains maxContains uniqueItems minProperties
maxProperties unevaluatedItems unevaluatedProperties prefixItems additionalItems x-order readOnly writeOnly id $schema
$id $comment
""".split()
INSIDE: dict[str, Any] = {
    "properties.a": lambda spec: {"properties": {"a": spec}},
    "properties.properties": lambda spec: {"properties": {"properties": spec}},
    "properties.a.properties.properties": lambda spec: {"properties": {"a": {"properties": {"properties": spec}}}},
    "additionalProperties": lambda spec: {"additionalProperties": spec},
    "items": lambda spec: {"items": spec},
    "not": lambda spec: {"not": spec},
    "allOf[0]": lambda spec: {"allOf": [spec]},
    "anyOf[1]": lambda spec: {"anyOf": [{}, spec]},
    "oneOf[0].items": lambda spec: {"oneOf": [{"items": spec}]},
}


@pytest.mark.parametrize("word", REFUSED)
@pytest.mark.parametrize("inside", INSIDE)
def test_any_other_word_is_refused_wherever_a_schema_stands(inside: str, word: str) -> None:
    for value in (DIALECTS[0], {"a": {}}):
        [mistake] = schema_mistakes(INSIDE[inside]({word: value}))
        assert mistake.place == f"input_schema.{inside}.{word}"
        assert mistake.message.startswith(f"{word} is not among the words of a schema that Stepline knows: type, title")


def test_a_property_may_be_called_anything_and_a_value_may_hold_anything() -> None:
    named = {name: {"type": "string"} for name in (*REFUSED, *WORDS)}
    value = {"$ref": "http://127.0.0.1:9/x", "$schema": 7, "properties": [{"pattern": "("}]}
    schema = {"properties": {**named, "v": {"const": value, "enum": [value], "default": value, "examples": [value]}}}
    assert schema_mistakes(schema) == []
    assert told({"v": value, "$ref": "x", "patternProperties": "x"}, schema) == {}
    assert told({"$schema": 7}, schema) == {"inputs.$schema": "This must be a text."}


@pytest.mark.parametrize("dialect", [*DIALECTS, f"{DIALECTS[0]}#"])
def test_the_root_may_name_its_dialect(dialect: str) -> None:
    assert schema_mistakes({"$schema": dialect, "$id": "x", "$comment": "x"}) == []


def test_no_schema_inside_chooses_another_validator() -> None:
    """Such a schema is refused; were it not, it would still be ours that looks at it."""
    inside = {"$schema": DIALECTS[0], "$ref": "#/nowhere", "dependencies": {"a": ["b"]}, "type": "string"}
    schema = {"properties": {"a": inside, "b": {"items": inside}, "c": {"anyOf": [inside]}}}
    assert len(schema_mistakes(schema)) == 9
    assert told({"a": {"a": 1}, "b": [{"a": 1}]}, schema) == {
        "inputs.a": "This must be a text.",
        "inputs.b[0]": "This must be a text.",
    }
    assert told({"a": "x", "b": ["x"], "c": "x"}, schema) == {}


def test_no_schema_makes_the_process_call_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*args: Any, **more: Any) -> None:
        raise AssertionError("an address was called")

    monkeypatch.setattr("urllib.request.urlopen", called)
    schema = {"$id": "http://127.0.0.1:9/a", "properties": {"a": {"$ref": "b", "$id": "http://127.0.0.1:9/b"}}}
    assert told({"a": 1}, schema) == {}


def test_a_large_schema_is_refused() -> None:
    assert "64 KB" in schema_mistakes({"description": "ü" * 33_000})[0].message
    assert schema_mistakes({"description": "ü" * 32_000}) == []
    assert schema_mistakes({"properties": {str(number): {} for number in range(999)}}) == []
    [mistake] = schema_mistakes({"allOf": [{"anyOf": [{}] * 500}, {"anyOf": [{}] * 500}]})
    assert (mistake.place, "at most 1000" in mistake.message) == ("input_schema", True)


def test_a_schema_nested_without_end_is_one_mistake() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"not": deep}
    circle: dict[str, Any] = {}
    circle["not"] = circle
    assert [one.place for one in schema_mistakes(deep)] == ["input_schema"]
    assert [one.place for one in schema_mistakes(circle)] == ["input_schema"]
    assert list(told({}, circle)) == ["inputs"]


@pytest.mark.parametrize("number", [10**400, -(10**400)])
def test_numbers_that_no_arithmetic_holds_are_one_mistake(number: int) -> None:
    schema = {"properties": {"a": {"multipleOf": 0.1}, "b": {"maximum": -(10**5000)}}}
    assert told({"a": number}, schema) == {"inputs": "These cannot be compared with the schema."}
    assert list(told({"b": number}, schema)) == ["inputs"], "the bound has more digits than Python writes out"


# --- patterns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("abc", 3),
        ("a{3}", 3),
        ("(ab{2}){3}c", 10),
        ("a{0,9}b{2,}", 3),
        (r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}$", 28),
        (r"\(\{9\}[\[\]\(]", 5),
        ("((a{100}){100}){100}", 1_000_000),
        ("(?:a{100}[)]){100}", None),
        ("(?x)a{3 000 000}", None),
        ("(?R)", None),
        ("[]a]", None),
        ("a)", None),
        ("(a", None),
    ],
)
def test_how_much_a_pattern_is_written_out(pattern: str, size: int | None) -> None:
    assert steps(pattern) == size


def test_patterns_that_would_ask_for_all_memory_are_never_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(pattern: str) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr("regex.compile", compiled)
    for pattern in ("a{300000000}", "(?:(?:(?:x{200}){200}){200}){200}", f"(?:{'[ab]' * 100}){{600}}"):
        [mistake] = schema_mistakes({"properties": {"a": {"pattern": pattern}}})
        assert mistake.place == "input_schema.properties.a.pattern"


def test_the_patterns_of_a_schema_count_together() -> None:
    half = {"pattern": f"a{{{MOST_STEPS // 2}}}"}
    assert schema_mistakes({"properties": {"a": half, "b": half}}) == []
    assert len(schema_mistakes({"properties": {"a": half, "b": half, "c": half}})) == 1


def test_patterns_that_would_be_searched_for_ever_are_given_up_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_schema, "SECONDS_OF_PATTERNS", 0.05)
    schema = {"additionalProperties": {"pattern": "^(a|a)*$"}}
    told_of = told({f"n{number}": "a" * 60 + "!" for number in range(500)}, schema)
    assert list(told_of) == ["inputs"]
    assert "too long" in told_of["inputs"]


def test_all_patterns_of_a_check_share_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a third of it, by a clock of the test."""
    now = [0.0]
    allowed: list[float] = []

    def search(pattern: str, text: str, *, timeout: float, concurrent: bool) -> bool:
        allowed.append(round(timeout, 3))
        now[0] += 0.4
        return True

    monkeypatch.setattr("regex.search", search)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    assert list(told(dict.fromkeys("abcd", "x"), {"additionalProperties": {"pattern": "x"}})) == ["inputs"]
    assert allowed == [1.0, 0.6, 0.2]


def test_a_check_has_an_end_without_patterns_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_schema, "SECONDS_A_CHECK", 0.0)
    assert "too long" in told({"a": [1]}, {"properties": {"a": {"items": {}}}})["inputs"]


# --- what is known, and what is told of it -------------------------------------------------------------------------


def test_what_is_let_through_is_a_schema_for_the_library_too() -> None:
    for schema in (SCHEMA, {"properties": {name: {} for name in WORDS}}, {"enum": [1], "const": 1, "examples": []}):
        assert schema_mistakes(schema) == []
        Draft202012Validator.check_schema(schema)


def some_value(rng: random.Random, depth: int = 2) -> Any:
    kind = rng.randrange(8) if depth else 0
    if kind == 7:
        return {rng.choice("abc"): some_value(rng, depth - 1) for _ in range(3)}
    if kind > 4:
        return [some_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return rng.choice([None, True, False, 0, 1, 1.0, 2, -3, 0.5, "", "a", "ab", "abc"])


def some_schema(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    def inner() -> dict[str, Any]:
        return some_schema(rng, depth - 1)

    plain: dict[str, Any] = {
        "type": lambda: rng.choice(["string", "integer", "number", "array", "object", "boolean", ["string", "null"]]),
        "enum": lambda: [some_value(rng), some_value(rng)],
        "const": lambda: some_value(rng),
        "pattern": lambda: rng.choice(["^a", "b$", "a.c"]),
        "multipleOf": lambda: rng.choice([2, 0.5, 1]),
        "required": lambda: rng.sample("abc", 2),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), lambda: rng.randrange(3)),
        **dict.fromkeys(
            ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), lambda: rng.choice([0, 0.5, 1])
        ),
    }
    nested: dict[str, Any] = {
        "properties": lambda: {name: inner() for name in "ab"},
        "additionalProperties": lambda: rng.choice([True, False, inner()]),
        **dict.fromkeys(("items", "not"), inner),
        **dict.fromkeys(("allOf", "anyOf", "oneOf"), lambda: [inner(), inner()]),
    }
    words = plain | nested if depth else plain
    return {word: words[word]() for word in rng.sample(sorted(words), rng.randrange(4))}


def test_what_fits_here_is_what_fits_for_the_library() -> None:
    rng, unfit = random.Random(7), 0
    for _ in range(1000):
        schema = some_schema(rng)
        schema.pop("type", None)  # of the inputs themselves it is "object"
        inputs = {name: some_value(rng) for name in rng.sample("abc", 2)}
        assert schema_mistakes(schema) == [], schema
        Draft202012Validator.check_schema(schema)
        expected = Draft202012Validator(schema).is_valid(inputs)
        assert (input_mistakes(schema, inputs) == []) == expected, (schema, inputs)
        unfit += not expected
    assert 200 < unfit < 800


def test_every_word_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "workflows.md").read_text()
    assert [word for word in WORDS if f"`{word}`" not in text] == []


def test_long_names_are_cut_in_places() -> None:
    [mistake] = input_mistakes({"additionalProperties": False}, {"x" * 100_000: 1})
    assert len(mistake.place) < 200
    [mistake] = schema_mistakes({"x" * 10_000: 1})
    assert len(json.dumps([mistake.place, mistake.message])) < 1000
