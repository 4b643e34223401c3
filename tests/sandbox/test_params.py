"""What a task's params become."""

from sandbox.params import references, resolve


def test_each_kind_of_parameter_is_resolved() -> None:
    params = {
        "literal": 1,
        "asked": {"input": "city"},
        "before": {"depends": "a"},
        "skipped": {"depends": "b"},
        "quoted": {"value": {"input": "city"}},
        "two keys": {"input": "city", "depends": "a"},
    }
    assert resolve(params, {"city": "Bonn"}, {"a": {"x": 1}}) == {
        "literal": 1,
        "asked": "Bonn",
        "before": {"x": 1},
        "skipped": None,
        "quoted": {"input": "city"},
        "two keys": {"input": "city", "depends": "a"},
    }


def test_config_may_come_from_an_input_or_hold_inputs() -> None:
    inputs = {"conf": {"api_key": "sk-1"}, "key": "sk-2"}
    assert resolve({"config": {"input": "conf"}}, inputs, {}) == {"config": {"api_key": "sk-1"}}
    assert resolve({"config": {"api_key": {"input": "key"}}}, inputs, {}) == {"config": {"api_key": "sk-2"}}


def test_a_mapped_config_fills_the_request_from_the_output_it_depends_on() -> None:
    default = {"url": "https://x.example", "headers": {"A": "1"}, "token": {"input": "token"}}
    mapping = {"BODY_case": "case.id", "QUERY_q": "gone", "HEADER_B": "name"}
    params = {"config": {"depends": "a", "default": default, "mapping": mapping}}
    assert [(found.kind, found.name) for found in references(params)] == [
        ("depends", "a"),
        ("input", "token"),
    ]
    for _ in range(2):  # the second time from an untouched definition
        assert resolve(params, {"token": "t"}, {"a": {"case": {"id": 5}, "name": "n"}})["config"] == {
            "url": "https://x.example",
            "headers": {"A": "1", "B": "n"},
            "token": "t",
            "body": {"case": 5},
            "query": {"q": None},
        }


def test_a_plain_answer_stands_for_its_response() -> None:
    params = {"config": {"depends": "a", "default": {}, "mapping": {"BODY_text": "response"}}}
    assert resolve(params, {}, {"a": "hello"})["config"] == {"body": {"text": "hello"}}
    assert resolve(params, {}, {"a": {"response": "hi"}})["config"] == {"body": {"text": "hi"}}
