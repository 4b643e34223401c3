"""What a workflow definition says: its tasks, what each waits for, its branches, and the layers of its graph.

Reads the definition as it stands, changes nothing, and reports every mistake it finds with its place.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

MAX_NAME: Final = 300  # characters of a task name
CANVAS: Final = "default_inputs"  # the function of a node that only the Studio's canvas knows
NO_AGENT: Final = "the orchestrator refuses a workflow without a call_lyzr_agent task"
FUNCTIONS: Final = frozenset(
    {"call_lyzr_agent", "api_call", "gpt_router", "gpt_conditional_block", "approval_block", "a2a"}
)  # those that the orchestrator documents
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ROUTE: Final = re.compile(r"\s*route\s*==\s*['\"](.{0,300})['\"]\s*")


class Mistake(msgspec.Struct, frozen=True):
    """`place` is a path like `tasks[2].params.message.depends`; `task` the task's name, None without one."""

    place: str
    task: str | None
    message: str


class PlannedTask(msgspec.Struct, frozen=True):
    """`position` counts the tasks that are sent, from 0; `layer` is 0 for a task that waits for nothing, else
    one more than the highest layer among those it waits for."""

    name: str
    tag: str
    function: str
    position: int
    layer: int
    depends: tuple[str, ...]


class Branch(msgspec.Struct, frozen=True):
    """`target` follows `source` when `condition` holds: `true`, `false`, `route == 'X'`, or "" (unknown)."""

    source: str
    target: str
    condition: str


class Plan(msgspec.Struct, frozen=True):
    """`warnings`: what hinders no launch here, and may be refused or not meant."""

    tasks: tuple[PlannedTask, ...]
    branches: tuple[Branch, ...] = ()
    warnings: tuple[Mistake, ...] = ()


class PlanError(ValueError):
    """The definition cannot be launched; `mistakes` holds every reason, at least one."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("; ".join(f"{one.place}: {one.message}" for one in mistakes[:5]))
        self.mistakes = mistakes


def read(definition: object, *, new: bool = False) -> Plan:
    """The plan of a definition `{tasks, edges, …}`. Raises PlanError with every mistake found.

    Nodes with the function `default_inputs` are no tasks. Functions nobody has heard of are only warned of; a task
    without one is a mistake where the definition is `new`, and only warned of in one that was taken once.
    """
    if not isinstance(definition, dict):
        raise PlanError((Mistake("", None, "a workflow must be a JSON object with a list of tasks"),))
    listed = definition.get("tasks")
    if not isinstance(listed, list):
        message = "tasks are missing" if "tasks" not in definition else "tasks must be a list"
        raise PlanError((Mistake("tasks", None, message),))
    mistakes: list[Mistake] = []
    places = {number: item for number, item in enumerate(listed) if not _is_canvas(item)}
    if not places:
        mistakes.append(Mistake("tasks", None, "the workflow has no task"))
    names = _names(places, mistakes)
    canvas = {str(item.get("name")) for item in listed if _is_canvas(item)} - set(names)
    warnings: list[Mistake] = []
    _functions(places, mistakes if new else warnings, warnings)
    depends = _dependencies(places, names, canvas, mistakes)
    mistakes += _cycles(depends, names)
    branches, lost_routes = _branches(definition, places, names, canvas, mistakes)
    warnings += lost_routes
    if mistakes:
        raise PlanError(tuple(mistakes))
    layers = _layers(depends)
    tasks = tuple(
        PlannedTask(
            name=item["name"],
            tag=_text(item.get("tag")),
            function=_text(item.get("function")),
            position=position,
            layer=layers[item["name"]],
            depends=tuple(depends[item["name"]]),
        )
        for position, item in enumerate(places.values())
    )
    if all(task.function != "call_lyzr_agent" for task in tasks):
        warnings = [Mistake("tasks", None, NO_AGENT), *warnings]
    return Plan(tasks, branches, tuple(warnings))


def strip_canvas(definition: dict[str, Any]) -> dict[str, Any]:
    """The definition as it must be sent: a new object without canvas nodes and the edges that touch them.

    The inputs themselves, `definition["default_inputs"]`, stay.
    """
    listed = definition.get("tasks")
    if not isinstance(listed, list):
        return dict(definition)
    kept = [item for item in listed if not _is_canvas(item)]
    gone = {item.get("name") for item in listed if _is_canvas(item)}
    gone -= {item.get("name") for item in kept if isinstance(item, dict) and isinstance(item.get("name"), str)}
    stripped = {**definition, "tasks": kept}
    edges = definition.get("edges")
    if isinstance(edges, list) and gone:
        stripped["edges"] = [
            edge
            for edge in edges
            if not (isinstance(edge, dict) and gone & {_text(edge.get("source")), _text(edge.get("target"))})
        ]
    return stripped


def as_sent(definition: dict[str, Any]) -> dict[str, Any]:
    """What a launch sends of a definition: no canvas, no description, and parts that have to be there if only empty."""
    sent = {"edges": [], "flow_data": {}, **strip_canvas(definition)}
    sent.pop("description", None)
    return sent


def _is_canvas(item: object) -> bool:
    return isinstance(item, dict) and item.get("function") == CANVAS


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _names(places: dict[int, Any], mistakes: list[Mistake]) -> dict[str, int]:
    """Each good name and the place of its first task."""
    names: dict[str, int] = {}
    for number, item in places.items():
        place = f"tasks[{number}]"
        if not isinstance(item, dict):
            mistakes.append(Mistake(place, None, "a task must be a JSON object"))
            continue
        name = item.get("name")
        if not isinstance(name, str) or not name.strip():
            mistakes.append(Mistake(f"{place}.name", None, "the task has no name"))
        elif len(name) > MAX_NAME:
            message = f"the name has {len(name)} characters; at most {MAX_NAME} are allowed"
            mistakes.append(Mistake(f"{place}.name", name[:MAX_NAME], message))
        elif _CONTROL.search(name):
            shown = _CONTROL.sub("\ufffd", name)
            mistakes.append(Mistake(f"{place}.name", shown, f"the name '{shown}' holds a control character"))
        elif name in names:
            message = f"two tasks are named '{name}' (the other is tasks[{names[name]}])"
            mistakes.append(Mistake(f"{place}.name", name, message))
        else:
            names[name] = number
    return names


def _functions(places: dict[int, Any], mistakes: list[Mistake], warnings: list[Mistake]) -> None:
    """Of functions that nobody has heard of there are warnings; what is no function at all is a mistake."""
    for number, item in places.items():
        if not isinstance(item, dict):
            continue
        name, function, place = _text(item.get("name")), item.get("function"), f"tasks[{number}].function"
        if function is None or function == "":
            mistakes.append(Mistake(place, name or None, f"task '{name}' has no function"))
        elif not isinstance(function, str):
            mistakes.append(Mistake(place, name or None, f"task '{name}': function must be a text"))
        elif function not in FUNCTIONS:
            message = f"task '{name}': '{function[:MAX_NAME]}' is no function that the orchestrator documents"
            warnings.append(Mistake(place, name or None, message))


def _dependencies(
    places: dict[int, Any], names: dict[str, int], canvas: set[str], mistakes: list[Mistake]
) -> dict[str, dict[str, str]]:
    """For each task what it waits for, in the order of the text, with the place that says so."""
    depends: dict[str, dict[str, str]] = {name: {} for name in names}
    for number, item in places.items():
        if not isinstance(item, dict):
            continue
        name = _text(item.get("name"))
        params = item.get("params")
        if params is not None and not isinstance(params, dict):
            mistakes.append(Mistake(f"tasks[{number}].params", name or None, "params must be a JSON object"))
            continue
        for place, wanted in _references(params, f"tasks[{number}].params"):
            if not isinstance(wanted, str):
                message = f"task '{name}': depends must be the name of a task"
            elif wanted == name:
                message = f"task '{name}' depends on itself"
            elif wanted in canvas:
                message = (
                    f"task '{name}' depends on '{wanted}', which is a canvas node and is not sent; "
                    'use {"input": …} to take a value from the inputs'
                )
            elif wanted not in names:
                message = f"task '{name}' depends on '{wanted}', which is not in the workflow"
            else:
                if names.get(name) == number:
                    depends[name].setdefault(wanted, place)
                continue
            mistakes.append(Mistake(place, name or None, message))
    return depends


def _references(params: object, place: str) -> Iterator[tuple[str, Any]]:
    """Every `{"depends": …}` at any depth, in the order of the text; no recursion, so depth is no danger."""
    waiting: list[tuple[str, Any]] = [(place, params)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            if value.get("depends") is not None:
                wanted = value["depends"]
                if isinstance(wanted, list):
                    yield from ((f"{place}.depends[{i}]", one) for i, one in enumerate(wanted))
                else:
                    yield f"{place}.depends", wanted
            inner = [(f"{place}.{name}", one) for name, one in value.items() if name != "depends"]
            waiting.extend(reversed(inner))
        elif isinstance(value, list):
            waiting.extend(reversed([(f"{place}[{i}]", one) for i, one in enumerate(value)]))


def _layers(depends: dict[str, dict[str, str]]) -> dict[str, int]:
    """The layer of each task that can ever start; those on a circle, or behind one, are left out."""
    missing = {name: len(wanted) for name, wanted in depends.items()}
    followers: dict[str, list[str]] = {name: [] for name in depends}
    for name, wanted in depends.items():
        for before in wanted:
            followers[before].append(name)
    layers = {name: 0 for name, count in missing.items() if count == 0}
    ready = list(layers)
    for name in ready:  # grows while it is read
        for follower in followers[name]:
            missing[follower] -= 1
            if missing[follower] == 0:
                layers[follower] = 1 + max(layers[before] for before in depends[follower])
                ready.append(follower)
    return layers


def _cycles(depends: dict[str, dict[str, str]], names: dict[str, int]) -> list[Mistake]:
    """One mistake for each circle met, none of whose tasks could ever start."""
    reached = _layers(depends)
    stuck = {name: [one for one in wanted if one not in reached] for name, wanted in depends.items()}
    mistakes: list[Mistake] = []
    seen: set[str] = set(reached)
    for first in depends:
        path: dict[str, int] = {}
        name = first
        while name not in seen and name not in path:
            path[name] = len(path)
            name = stuck[name][0]
        if name in path:
            circle = list(path)[path[name] :]
            start = min(range(len(circle)), key=lambda at: names[circle[at]])
            circle = circle[start:] + circle[:start]
            shown = circle if len(circle) <= 20 else [*circle[:18], "…", circle[-1]]
            mistakes.append(
                Mistake(
                    depends[circle[0]][circle[1]],
                    circle[0],
                    f"cycle: {' → '.join([*shown, circle[0]])} (each task waits for the next)",
                )
            )
        seen.update(path)
    return mistakes


def _branches(
    definition: dict[str, Any],
    places: dict[int, Any],
    names: dict[str, int],
    canvas: set[str],
    mistakes: list[Mistake],
) -> tuple[tuple[Branch, ...], list[Mistake]]:
    found: dict[Branch, None] = {}  # ordered, and each once
    warnings: list[Mistake] = []
    routes: dict[str, set[str]] = {}
    for number, item in places.items():
        params = item.get("params") if isinstance(item, dict) else None
        name = _text(item.get("name")) if isinstance(item, dict) else ""
        if not isinstance(params, dict) or names.get(name) != number:
            continue
        if item.get("function") == "gpt_conditional_block":
            for condition in ("true", "false"):
                target = params.get(condition)
                target = target.get("value") if isinstance(target, dict) else target
                if not isinstance(target, str) or not target or target in canvas:
                    continue
                if target in names:
                    found[Branch(name, target, condition)] = None
                else:
                    message = f"task '{name}' goes on to '{target}', which is not in the workflow"
                    mistakes.append(Mistake(f"tasks[{number}].params.{condition}", name, message))
        elif item.get("function") == "gpt_router":
            listed = params.get("routes")
            known = [one.get("name") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
            routes[name] = {one for one in [*known, params.get("fallback_route")] if isinstance(one, str)}
    edges = definition.get("edges")
    if edges is not None and not isinstance(edges, list):
        mistakes.append(Mistake("edges", None, "edges must be a list"))
        edges = []
    for number, edge in enumerate(edges or []):
        if not isinstance(edge, dict):
            mistakes.append(Mistake(f"edges[{number}]", None, "an edge must be a JSON object"))
            continue
        ends = (_text(edge.get("source")), _text(edge.get("target")))
        if ends[0] in canvas or ends[1] in canvas:
            continue
        for end, name in zip(("source", "target"), ends, strict=True):
            if name not in names:
                message = f"the edge's {end} '{name}' is not in the workflow"
                mistakes.append(Mistake(f"edges[{number}].{end}", name or None, message))
        if ends[0] in names and ends[1] in names:
            condition = _text(edge.get("condition"))
            found[Branch(*ends, condition)] = None
            route = _ROUTE.fullmatch(condition)
            if route and ends[0] in routes and route[1] not in routes[ends[0]]:
                message = f"no route of task '{ends[0]}' is named '{route[1]}'"
                warnings.append(Mistake(f"edges[{number}].condition", ends[0], message))
    return tuple(found), warnings
