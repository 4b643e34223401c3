"""What run-dag accepts, and where it says the mistake is."""

import json
from typing import Any

import pytest

from sandbox import definition
from sandbox.definition import Refused
from tests.sandbox.playing import task, workflow


def refused(data: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        definition.read(json.dumps(data).encode())
    return caught.value


def places(data: Any) -> list[list[Any]]:
    error = refused(data)
    assert error.status == 422
    return [each["loc"] for each in error.detail]


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ([], ["body"]),
        ({"flow_name": "F", "run_name": "r"}, ["body"]),
        (workflow(task("a"), flow_name=7), ["body", "flow_name"]),
        (workflow(task("a"), run_name=""), ["body", "run_name"]),
        (workflow(task("a"), {"name": "b", "function": None}), ["body", "tasks", 1, "function"]),
        (workflow(task("a"), edges=[{"source": "a"}]), ["body", "edges", 0]),
        (workflow(task("a"), default_inputs=[]), ["body", "default_inputs"]),
        (workflow(task("a", message={"input": "who"})), ["body", "tasks", 0, "params", "message"]),
        (
            workflow(task("a", config={"api_key": {"input": "key"}})),
            ["body", "tasks", 0, "params", "config", "api_key"],
        ),
        (workflow(task("a", "call_lyzr_agent", "ghost")), ["body", "tasks", 0, "params", "from_ghost"]),
        (workflow(task("a"), task("a")), ["body", "tasks", 1, "name"]),
        (workflow(task("a"), edges=[{"source": "a", "target": "z"}]), ["body", "edges", 0, "target"]),
        (
            workflow(task("a"), task("r", "gpt_router"), edges=[{"source": "r", "target": "a", "condition": "x"}]),
            ["body", "edges", 0, "condition"],
        ),
        (workflow(task("a", sandbox={"secs": 1})), ["body", "tasks", 0, "params", "sandbox"]),
        (workflow(task("a", sandbox={"seconds": -1})), ["body", "tasks", 0, "params", "sandbox", "seconds"]),
        (workflow(task("a"), sandbox={"speed": 0}), ["body", "sandbox", "speed"]),
    ],
)
def test_a_wrong_shape_is_refused_with_its_place(data: Any, place: list[Any]) -> None:
    assert places(data) == [place]


def test_the_documented_wrapper_is_refused_with_a_hint() -> None:
    error = refused({"workflow_data": workflow(task("a")), "inputs": {}})
    assert error.status == 422
    assert "not inside workflow_data" in error.message


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        definition.read(body)
    assert caught.value.status == 422


def test_every_mistake_is_listed_and_the_first_is_said() -> None:
    error = refused(workflow(task("a", "call_lyzr_agent", "x", "y")))
    assert [each["loc"][-1] for each in error.detail] == ["from_x", "from_y"]
    assert "from_x" in error.message
    assert "1 more" in error.message


def test_a_circle_is_refused_with_its_tasks_in_order() -> None:
    error = refused(workflow(task("a", "call_lyzr_agent", "c"), task("b", "a2a", "a"), task("c", "a2a", "b")))
    assert error.status == 422
    assert error.message.count(" -> ") == 3


def test_a_workflow_without_an_agent_is_a_bad_request() -> None:
    assert refused(workflow(task("a", "api_call"))).status == 400
    assert refused(workflow()).status == 400


def test_the_canvas_node_of_the_studio_is_no_task() -> None:
    node = {"name": "inputs", "function": "default_inputs", "params": {}}
    checked = definition.parse(workflow(node, task("a"), edges=[{"source": "inputs", "target": "a"}]))
    assert list(checked.tasks) == ["a"]


def test_only_a_branch_that_depends_on_the_router_is_gated() -> None:
    edges = [{"source": "r", "target": name, "condition": "route == 'left'"} for name in ("bound", "free")]
    checked = definition.parse(
        workflow(
            task("agent"),
            task("r", "gpt_router"),
            task("bound", "a2a", "r"),
            task("free", "a2a"),
            edges=edges,
        )
    )
    assert checked.tasks["bound"].gates == {"r": frozenset({"left"})}
    assert checked.tasks["free"].gates == {}


def test_a_conditional_gates_by_its_params_and_by_its_edges() -> None:
    checked = definition.parse(
        workflow(
            task("agent"),
            task("c", "gpt_conditional_block", true="yes"),
            task("yes", "a2a", "c"),
            task("no", "a2a", "c"),
            edges=[{"source": "c", "target": "no", "condition": "False"}],
        )
    )
    assert checked.tasks["yes"].gates == {"c": frozenset({"true"})}
    assert checked.tasks["no"].gates == {"c": frozenset({"false"})}
