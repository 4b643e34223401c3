import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.core.cut import LIMIT, MARK, fit


def size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))


def test_a_payload_within_the_limit_is_left_alone() -> None:
    payload = {"event_type": "x", "output": {"a": "b" * 1000}}
    kept, was_cut = fit(payload)
    assert (kept, was_cut) == (payload, False)
    assert fit({}) == ({}, False)


def test_the_limit_itself_still_fits_and_one_byte_more_does_not() -> None:
    payload = {"a": "x" * (LIMIT - 8)}
    assert size(payload) == LIMIT
    assert fit(payload)[1] is False
    kept, was_cut = fit({"a": "x" * (LIMIT - 7)})
    assert was_cut
    assert size(kept) <= LIMIT


def test_a_long_string_keeps_its_beginning_and_tells_how_much_is_missing() -> None:
    payload = {"event_type": "task_completed", "output": {"report": "é" * 300_000, "ok": True}}
    kept, was_cut = fit(payload)
    assert was_cut
    assert kept["event_type"] == "task_completed"
    assert kept["output"]["ok"] is True
    text = kept["output"]["report"]
    beginning, mark = text.split("…")
    assert set(beginning) == {"é"}
    assert mark == f"[cut: {300_000 - len(beginning)} characters]"


def test_large_values_become_marks_and_the_names_of_tasks_stay() -> None:
    output = {f"task {i}": {"rows": list(range(20_000)), "state": "ok"} for i in range(40)}
    payload = {"event_type": "flow_completed", "flow_name": "F", "run_name": "r", "timestamp": 1.5, "output": output}
    before = copy.deepcopy(payload)
    kept, was_cut = fit(payload)
    assert was_cut
    assert size(kept) <= LIMIT
    assert payload == before
    assert list(kept) == list(payload)
    assert list(kept["output"]) == list(output)
    assert kept["output"]["task 7"]["state"] == "ok"
    assert kept["output"]["task 7"]["rows"] == {MARK: {"bytes": size(list(range(20_000))), "items": 20_000}}


def test_the_mark_of_an_object_tells_its_first_names() -> None:
    many = {f"name{i}": i for i in range(40_000)}
    kept, _ = fit({"event_type": "x", "input": many, "message": "m"})
    assert kept["message"] == "m"
    assert kept["input"][MARK]["bytes"] == size(many)
    assert kept["input"][MARK]["keys"] == [f"name{i}" for i in range(50)]


def test_small_things_beside_a_large_one_stay_whole() -> None:
    payload = {"input": {"config": {"url": "https://x", "method": "GET"}, "rows": [{"n": i} for i in range(60_000)]}}
    kept, _ = fit(payload)
    assert kept["input"]["config"] == payload["input"]["config"]
    assert kept["input"]["rows"][MARK]["items"] == 60_000


@pytest.mark.parametrize(
    "payload",
    [
        {f"k{i}": i for i in range(200_000)},
        {"event_type": "flow_completed", "output": {f"task{i}": {"a": "b" * 90} for i in range(15_000)}},
        {"event_type": "flow_completed", "output": {f"task{i}": {"a": "b"} for i in range(150_000)}},
        {"k" * 400_000: 1, "event_type": "x"},
        {"event_type": "e" * 400_000, "flow_name": "f" * 400_000},
        {"x": ["y" * 300] * 5_000},
        {"x": "\x00" * 300_000},
        {"x": "\ud800" * 300_000},
        {"x": [2**80] * 20_000},
        {"x": [float("nan")] * 100_000},
        {"x": '\\"' * 200_000, "output": "y" * 300_000},
        {"output": None, "x": [[[["a" * 200] * 10] * 10] * 10] * 10},
    ],
    ids=range(12),
)
@pytest.mark.parametrize("limit", [LIMIT, 300, 40, 2])
def test_the_result_is_always_within_the_limit(payload: dict[str, Any], limit: int) -> None:
    kept, was_cut = fit(payload, limit)
    assert was_cut
    assert size(kept) <= limit
    assert fit(kept, limit)[1] is False


def test_when_even_the_names_are_too_many_those_that_say_which_event_stay() -> None:
    payload = {f"k{i}": i for i in range(200_000)} | {"event_type": "task_failed", "task_name": "t", "error": "no"}
    kept, _ = fit(payload)
    assert (kept["event_type"], kept["task_name"], kept["error"]) == ("task_failed", "t", "no")
    assert kept[MARK]["names"] == 200_003


def test_many_tasks_keep_their_names_when_values_must_go() -> None:
    output = {f"task{i}": {"a": "b" * 90} for i in range(15_000)}
    kept, _ = fit({"event_type": "flow_completed", "output": output})
    assert list(kept["output"]) == list(output)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=12), inner, max_size=8),
    max_leaves=40,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(max_size=12) | st.just("output"), values, max_size=10), st.integers(2, 900))
def test_any_payload_fits_any_limit_and_is_not_changed(payload: dict[str, Any], limit: int) -> None:
    before = copy.deepcopy(payload)
    kept, was_cut = fit(payload, limit)
    assert size(kept) <= limit
    assert was_cut == (size(payload) > limit)
    assert payload == before
