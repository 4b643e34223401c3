from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from runs.core.graph import BETWEEN_NODES, HEIGHT, WIDTH, Graph, Node, graph
from runs.core.plan import Branch, Plan, PlannedTask


def plan(*branches: Branch, **waits: tuple[str, ...]) -> Plan:
    tasks = tuple(
        PlannedTask(name=name, tag="", function="f", position=n, layer=0, depends=depends)
        for n, (name, depends) in enumerate(waits.items())
    )
    return Plan(tasks, branches)


def nodes(found: Graph) -> dict[str, Node]:
    return {node.name: node for node in found.nodes}


def test_what_waits_stands_to_the_right_of_what_it_waits_for() -> None:
    found = nodes(graph(plan(report=("clean", "fetch"), clean=("fetch",), fetch=())))
    assert found["fetch"].x < found["clean"].x < found["report"].x


def test_a_branch_leads_to_the_right_too_and_says_when_it_is_taken() -> None:
    got = graph(plan(Branch("check", "refund", "true"), check=(), refund=()))
    assert nodes(got)["check"].x < nodes(got)["refund"].x
    [edge] = got.edges
    assert (edge.source, edge.target, edge.condition) == ("check", "refund", "true")


def test_branches_that_lead_back_are_drawn_from_their_source() -> None:
    got = graph(plan(Branch("check", "write", "false"), Branch("check", "check", "again"), write=(), check=("write",)))
    back = next(edge for edge in got.edges if edge.source == "check")
    write, check = nodes(got)["write"], nodes(got)["check"]
    assert write.x < check.x
    assert back.points[0] == (check.x, check.y + HEIGHT / 2)
    assert back.points[-1] == (write.x + WIDTH, write.y + HEIGHT / 2)
    assert len(got.edges) == 2, "a task that leads to itself has no line"


def test_a_line_over_several_layers_keeps_clear_of_the_nodes_between() -> None:
    got = graph(plan(a=(), b=("a",), c=("b",), d=("a", "c")))
    between = [nodes(got)[name] for name in "bc"]
    long = next(edge for edge in got.edges if (edge.source, edge.target) == ("a", "d"))
    for x, y in long.points[1:-1]:
        assert not any(node.x <= x <= node.x + WIDTH and node.y < y < node.y + HEIGHT for node in between)


def test_lines_do_not_cross_where_they_need_not() -> None:
    found = nodes(graph(plan(a=(), b=(), c=(), x=("c",), y=("b",), z=("a",))))
    assert sorted("xyz", key=lambda name: found[name].y) == ["z", "y", "x"]


def test_no_task_is_a_graph_of_nothing() -> None:
    assert graph(Plan(())).nodes == ()


names = st.sampled_from("abcdefgh")
some = st.lists(st.tuples(names, names), max_size=20)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(some, some)
def test_in_any_plan_no_two_nodes_lie_over_each_other_and_all_are_in_the_picture(
    waits: list[tuple[str, str]], leads: list[tuple[str, str]]
) -> None:
    depends: dict[str, list[str]] = {name: [] for name in "abcdefgh"}
    for one, other in waits:
        if one < other and one not in depends[other]:
            depends[other].append(one)
    got = graph(plan(*(Branch(*pair, "true") for pair in leads), **{name: tuple(of) for name, of in depends.items()}))
    assert len(got.nodes) == 8
    columns: dict[float, list[float]] = {}
    for node in got.nodes:
        columns.setdefault(node.x, []).append(node.y)
        assert 0 <= node.x <= got.width - WIDTH
        assert 0 <= node.y <= got.height - HEIGHT
    for column in columns.values():
        assert all(other - one >= HEIGHT + BETWEEN_NODES - 0.001 for one, other in pairwise(sorted(column)))
    assert {(edge.source, edge.target) for edge in got.edges} == {
        pair for pair in [*((b, name) for name, of in depends.items() for b in of), *leads] if pair[0] != pair[1]
    }
