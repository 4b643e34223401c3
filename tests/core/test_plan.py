import copy
import json
from typing import Any

import pytest

from runs.core import plan as plans
from runs.core.plan import Branch, Mistake, PlanError


def task(name: Any, function: str = "call_lyzr_agent", **params: Any) -> dict[str, Any]:
    return {"name": name, "tag": "", "function": function, "params": params}


def flow(*tasks: Any, **more: Any) -> dict[str, Any]:
    return {"tasks": list(tasks), "flow_name": "F", "run_name": "r", **more}


def mistakes(definition: object) -> tuple[Mistake, ...]:
    with pytest.raises(PlanError) as caught:
        plans.read(definition, new=True)
    return caught.value.mistakes


def test_tasks_come_in_the_order_of_the_text_with_their_layers() -> None:
    plan = plans.read(
        flow(
            task("c", a={"depends": "a"}, b={"depends": "b"}),
            task("a"),
            task("b", message={"depends": "a"}),
        )
    )
    assert [(one.name, one.position, one.layer, one.depends) for one in plan.tasks] == [
        ("c", 0, 2, ("a", "b")),
        ("a", 1, 0, ()),
        ("b", 2, 1, ("a",)),
    ]
    assert plan.warnings == ()


def test_a_dependency_is_found_wherever_it_stands_in_the_params() -> None:
    plan = plans.read(
        flow(
            task("a"),
            task("b"),
            task("c"),
            task(
                "d",
                "api_call",
                config={"depends": "a", "default": {"url": "x"}, "mapping": {"BODY_x": "response"}},
                deep={"list": [1, [{"x": {"depends": "b"}}]]},
                several={"depends": ["c", "a"]},
                nothing={"depends": None},
            ),
        )
    )
    assert plan.tasks[3].depends == ("a", "b", "c")


def test_canvas_nodes_are_no_tasks_and_are_not_sent() -> None:
    definition = flow(
        task("Inputs", "default_inputs"),
        task("a", message={"input": "question"}),
        default_inputs={"question": "why"},
        edges=[{"source": "Inputs", "target": "a"}],
    )
    before = copy.deepcopy(definition)
    plan = plans.read(definition)
    assert [(one.name, one.position) for one in plan.tasks] == [("a", 0)]
    assert plan.branches == ()
    sent = plans.strip_canvas(definition)
    assert [one["name"] for one in sent["tasks"]] == ["a"]
    assert sent["edges"] == []
    assert sent["default_inputs"] == {"question": "why"}
    assert definition == before
    assert plans.read(sent) == plan


def test_waiting_for_a_canvas_node_is_a_mistake_that_says_what_to_do() -> None:
    (one,) = mistakes(flow(task("Inputs", "default_inputs"), task("a", m={"depends": "Inputs"})))
    assert "canvas node" in one.message
    assert "input" in one.message


def test_branches_come_from_edges_and_from_conditional_blocks_and_each_once() -> None:
    plan = plans.read(
        flow(
            task("if", "gpt_conditional_block", true="a", false={"value": "b"}),
            task("router", "gpt_router", routes=[{"name": "X"}], fallback_route="Y"),
            task("a", m={"depends": "if"}),
            task("b"),
            edges=[
                {"source": "if", "target": "a", "condition": "true"},
                {"source": "router", "target": "a", "condition": "route == 'X'"},
                {"source": "router", "target": "b", "condition": "route == 'Y'"},
                {"source": "router", "target": "b"},
            ],
        )
    )
    assert plan.branches == (
        Branch("if", "a", "true"),
        Branch("if", "b", "false"),
        Branch("router", "a", "route == 'X'"),
        Branch("router", "b", "route == 'Y'"),
        Branch("router", "b", ""),
    )
    assert plan.warnings == ()
    assert plan.tasks[3].layer == 0, "a branch alone gates nothing"


def test_an_edge_for_a_route_nobody_declared_is_a_warning() -> None:
    router = task("r", "gpt_router", routes=[{"name": "X"}])
    plan = plans.read(flow(router, task("a"), edges=[{"source": "r", "target": "a", "condition": "route == 'Z'"}]))
    [warning] = plan.warnings
    assert (warning.task, warning.place) == ("r", "edges[0].condition")
    assert "'Z'" in warning.message


def test_an_unknown_function_is_allowed_and_a_missing_agent_only_warned_of() -> None:
    plan = plans.read(flow(task("a", "teleport")))
    assert plan.tasks[0].function == "teleport"
    assert [(one.place, one.message) for one in plan.warnings] == [
        ("tasks", "the orchestrator refuses a workflow without a call_lyzr_agent task"),
        ("tasks[0].function", "task 'a': 'teleport' is no function that the orchestrator documents"),
    ]


@pytest.mark.parametrize("definition", [None, [], "x", 3, b"{}"])
def test_what_is_no_object_is_refused(definition: object) -> None:
    assert "JSON object" in mistakes(definition)[0].message


@pytest.mark.parametrize(
    ("definition", "place", "words"),
    [
        ({}, "tasks", "missing"),
        ({"tasks": {}}, "tasks", "list"),
        ({"tasks": None}, "tasks", "list"),
        (flow(), "tasks", "no task"),
        (flow(task("x", "default_inputs")), "tasks", "no task"),
        (flow(task("a"), "b"), "tasks[1]", "JSON object"),
        (flow(task("a"), {"function": "api_call"}), "tasks[1].name", "no name"),
        (flow(task("a"), task("")), "tasks[1].name", "no name"),
        (flow(task("a"), task(" ")), "tasks[1].name", "no name"),
        (flow(task("a"), task(7)), "tasks[1].name", "no name"),
        (
            flow(task("a"), task("b"), task("a")),
            "tasks[2].name",
            "two tasks are named 'a' (the other is tasks[0])",
        ),
        (flow(task("n" * 301)), "tasks[0].name", "301 characters"),
        (flow(task("a\nb")), "tasks[0].name", "control character"),
        (flow(task("a\x00")), "tasks[0].name", "control character"),
        (flow(task("a\ud800")), "tasks[0].name", "control character"),
        (flow({"name": "a", "function": "f", "params": []}), "tasks[0].params", "JSON object"),
        (flow({"name": "a"}), "tasks[0].function", "task 'a' has no function"),
        (flow({"name": "a", "function": ["f"]}), "tasks[0].function", "must be a text"),
        (
            flow(task("a", message={"depends": "b"})),
            "tasks[0].params.message.depends",
            "task 'a' depends on 'b', which is not in the workflow",
        ),
        (
            flow(task("a", m=[{"depends": ["a"]}])),
            "tasks[0].params.m[0].depends[0]",
            "task 'a' depends on itself",
        ),
        (flow(task("a", m={"depends": 3})), "tasks[0].params.m.depends", "must be the name of a task"),
        (flow(task("a"), edges={}), "edges", "list"),
        (flow(task("a"), edges=["a"]), "edges[0]", "JSON object"),
        (
            flow(task("a"), edges=[{"source": "a", "target": "z"}]),
            "edges[0].target",
            "'z' is not in the workflow",
        ),
        (
            flow(task("a"), edges=[{"source": "z", "target": "a"}]),
            "edges[0].source",
            "'z' is not in the workflow",
        ),
        (
            flow(task("a", "gpt_conditional_block", true="z", false="a")),
            "tasks[0].params.true",
            "'z', which is not in the workflow",
        ),
    ],
)
def test_each_mistake_is_named_with_its_place(definition: object, place: str, words: str) -> None:
    found = mistakes(definition)
    assert [one.place for one in found] == [place]
    assert words in found[0].message


def test_all_mistakes_are_told_at_once() -> None:
    found = mistakes(flow(task(""), task("a", m={"depends": "x"}), edges=[{"source": "q", "target": "a"}]))
    assert [one.place for one in found] == ["tasks[0].name", "tasks[1].params.m.depends", "edges[0].source"]


def test_a_cycle_is_named_in_order_and_what_lies_behind_it_is_not_blamed() -> None:
    found = mistakes(
        flow(
            task("behind", m={"depends": "a"}),
            task("a", m={"depends": "b"}, n={"depends": "free"}),
            task("b", m={"depends": "c"}),
            task("c", m={"depends": "a"}),
            task("free"),
            task("x", m={"depends": "y"}),
            task("y", m={"depends": "x"}),
        )
    )
    assert [(one.task, one.place) for one in found] == [
        ("a", "tasks[1].params.m.depends"),
        ("x", "tasks[5].params.m.depends"),
    ]
    assert "a → b → c → a" in found[0].message
    assert "x → y → x" in found[1].message


def test_ten_thousand_tasks_in_a_row_and_deep_params_need_no_recursion() -> None:
    nested: Any = {"depends": "t0"}
    for _ in range(5000):
        nested = [nested]
    chain = [task("t0")] + [task(f"t{i}", m={"depends": f"t{i - 1}"}) for i in range(1, 10_000)]
    plan = plans.read(flow(*reversed(chain), task("deep", m=nested)))
    assert plan.tasks[0].layer == 9_999
    assert plan.tasks[-1].depends == ("t0",)
    chain[0] = task("t0", m={"depends": "t9999"})
    (one,) = mistakes(flow(*chain))
    assert "…" in one.message


def test_reading_changes_nothing() -> None:
    definition = flow(task("a"), task("b", m={"depends": "a"}), edges=[])
    before = json.dumps(definition)
    plans.read(definition)
    assert json.dumps(definition) == before


def test_a_definition_that_was_taken_once_is_only_warned_of_a_task_without_a_function() -> None:
    plan = plans.read(flow({"name": "a"}, task("b")))
    assert [one.name for one in plan.tasks] == ["a", "b"]
    assert "task 'a' has no function" in [warning.message for warning in plan.warnings]
