"""What run-dag accepts: a workflow's JSON -> Definition, or Refused with the place of each mistake.

Pure: no sockets, no clock. The keys named `sandbox` (one in a task's params, one at top level) are ours: they
script what the run does (docs/sandbox.md lists them); the upstream's own keys are read as the upstream reads
them.
"""

import re
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from sandbox.params import references

MAX_TASKS = 5000
MAX_DETAILS = 50
ROUTER, CONDITIONAL, AGENT = "gpt_router", "gpt_conditional_block", "call_lyzr_agent"
# A node of the Studio's canvas, not a task: the Studio strips it before sending, and so do we.
CANVAS_NODE = "default_inputs"
ROUTE_CONDITION = re.compile(r"""\s*route\s*==\s*(['"])(?P<route>.*)\1\s*""", re.DOTALL)

Name = Annotated[str, Meta(min_length=1)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
# Not tuple[Seconds, Seconds]: msgspec 0.22 crashes the process (in garbage collection) on a union of a
# bounded number and a tuple of fixed length.
Duration = Seconds | Annotated[list[Seconds], Meta(min_length=2, max_length=2)]
Speed = Annotated[float, Meta(gt=0, le=1_000_000)]
Place = tuple[str | int, ...]


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`params.sandbox` of one task. Times are seconds; a pair is a range to draw from."""

    seconds: Duration | None = None  # how long an attempt takes; by default what is usual for the function
    delay: Duration = 0  # between being ready and starting
    output: Any = UNSET  # by default one made up for the function
    fail: Any = UNSET  # the error object of a failed attempt; alone, it makes every attempt fail
    failures: Annotated[int, Meta(ge=0)] = 0  # so many first attempts fail
    failure_chance: Annotated[float, Meta(ge=0, le=1)] | None = None
    partial_results: Any = UNSET  # of task_failed
    retries: Annotated[int, Meta(ge=0, le=1000)] = 0
    retry_delay: Duration = 0.5
    silent_end: bool = False  # it ends and no task_completed says so
    task_id: str | UnsetType | None = UNSET  # null: events without one; by default a drawn UUID

    def chance(self) -> float:
        if self.failure_chance is not None:
            return self.failure_chance
        return 1.0 if self.fail is not UNSET and not self.failures else 0.0


class Started(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    task_id: str | UnsetType = UNSET
    message: str | UnsetType = UNSET


class Completed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    task_id: str | UnsetType = UNSET
    task_name: str | UnsetType = UNSET
    output: Any = UNSET  # by default the tasks' outputs by name


class Errored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    error: Any = UNSET
    partial_results: Any = UNSET  # by default the outputs of the tasks that ended well


class FlowScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sandbox` at top level: the run as a whole."""

    seed: int | str | None = None  # the same seed draws the same times, failures and ids
    speed: Speed = 1.0  # times the setting SANDBOX_SPEED
    concurrency: Annotated[int, Meta(ge=1)] | None = None  # tasks at a time; by default no limit
    start_delay: Seconds = 0.2  # before flow_started: a client that POSTs first has a moment to connect
    end_delay: Seconds = 0  # before the flow's last event
    silent_end: bool = False  # no last event at all: only task-status knows
    started: Started = Started()
    completed: Completed = Completed()
    error: Errored = Errored()


class _Task(msgspec.Struct):
    name: Name
    function: Name
    params: dict[str, Any] = {}
    tag: str | None = None


class _Edge(msgspec.Struct):
    source: str
    target: str
    condition: str | bool | None = None


class _Workflow(msgspec.Struct):
    tasks: list[_Task]
    flow_name: Name
    run_name: Name
    default_inputs: dict[str, Any] = {}
    edges: list[_Edge] = []
    flow_data: dict[str, Any] = {}
    sandbox: FlowScript = FlowScript()


class Task(msgspec.Struct, frozen=True):
    """One task, checked: its params without our script, and what must have happened before it may start."""

    name: str
    function: str
    params: dict[str, Any]
    script: Script
    depends: tuple[str, ...]
    # Branching task it depends on -> the choices that let this one run.
    gates: dict[str, frozenset[str]]


class Definition(msgspec.Struct, frozen=True):
    """A workflow that can run. `tasks` keeps the order of the definition."""

    flow_name: str
    run_name: str
    default_inputs: dict[str, Any]
    tasks: dict[str, Task]
    script: FlowScript


class Refused(Exception):
    """The definition is not accepted: an HTTP status, one sentence, and the mistakes as {loc, msg, type}."""

    def __init__(self, status: int, message: str, detail: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = list(detail)


def read(body: bytes) -> Definition:
    """The definition in the body of a run-dag request. Raises Refused (422 or 400)."""
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _refused([_mistake((), f"The body is not JSON that can be read: {error}")]) from error
    return parse(data)


def parse(data: object) -> Definition:
    """The definition in decoded JSON. Raises Refused (422 or 400)."""
    if isinstance(data, dict) and "workflow_data" in data and "tasks" not in data:
        hint = "Send the workflow itself at top level (tasks, flow_name, run_name, …), not inside workflow_data"
        raise _refused([_mistake(("workflow_data",), hint)])
    workflow = _convert(data, _Workflow, ())
    canvas = {task.name for task in workflow.tasks if task.function == CANVAS_NODE}
    kept = [(index, task) for index, task in enumerate(workflow.tasks) if task.function != CANVAS_NODE]
    if len(kept) > MAX_TASKS:
        raise _refused([_mistake(("tasks",), f"{len(kept)} tasks are more than the {MAX_TASKS} that a run may have")])
    scripts = {
        index: _convert(task.params["sandbox"], Script, ("tasks", index, "params", "sandbox"))
        for index, task in kept
        if "sandbox" in task.params
    }
    if mistakes := [*_name_mistakes(kept, workflow), *_edge_mistakes(kept, canvas, workflow)]:
        raise _refused(mistakes)
    if not any(task.function == AGENT for _, task in kept):
        raise Refused(400, f"{workflow.flow_name} has no {AGENT} task: a workflow needs at least one.")
    depends = {task.name: _depends(task.params) for _, task in kept}
    try:
        TopologicalSorter(depends).prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        place = next(index for index, task in kept if task.name in error.args[1])
        raise _refused(
            [_mistake(("tasks", place, "params"), f"Tasks depend on each other in a circle: {circle}")]
        ) from None
    branching = {task.name: task for _, task in kept if task.function in (ROUTER, CONDITIONAL)}
    return Definition(
        flow_name=workflow.flow_name,
        run_name=workflow.run_name,
        default_inputs=workflow.default_inputs,
        tasks={
            task.name: Task(
                name=task.name,
                function=task.function,
                params={key: value for key, value in task.params.items() if key != "sandbox"},
                script=scripts.get(index, Script()),
                depends=depends[task.name],
                gates=_gates(task.name, depends[task.name], branching, workflow.edges),
            )
            for index, task in kept
        },
        script=workflow.sandbox,
    )


def _depends(params: dict[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found.name for found in references(params) if found.kind == "depends"))


def _gates(
    name: str, depends: tuple[str, ...], branching: dict[str, _Task], edges: Iterable[_Edge]
) -> dict[str, frozenset[str]]:
    """Conditions bind only where the task depends on the branching one: an edge alone gates nothing."""
    gates: dict[str, frozenset[str]] = {}
    for source in depends:
        if (branch := branching.get(source)) is None:
            continue
        wanted = {
            choice
            for edge in edges
            if (edge.source, edge.target) == (source, name) and (choice := _choice(branch.function, edge)) is not None
        }
        if branch.function == CONDITIONAL:
            wanted |= {answer for answer in ("true", "false") if branch.params.get(answer) == name}
        if wanted:
            gates[source] = frozenset(wanted)
    return gates


def _choice(function: str, edge: _Edge) -> str | None:
    """The choice that an edge of a branching task waits for, or None when its condition cannot be read."""
    condition = str(edge.condition).strip()
    if function == CONDITIONAL:
        return condition.lower() if condition.lower() in ("true", "false") else None
    match = ROUTE_CONDITION.fullmatch(condition)
    return match["route"] if match else None


def _name_mistakes(kept: list[tuple[int, _Task]], workflow: _Workflow) -> Iterable[dict[str, Any]]:
    names = {task.name for _, task in kept}
    first: dict[str, int] = {}
    for index, task in kept:
        if first.setdefault(task.name, index) != index:
            yield _mistake(("tasks", index, "name"), f"Task {first[task.name]} is already named {task.name!r}")
        for found in references(task.params):
            place: Place = ("tasks", index, "params", *found.place)
            if found.kind == "depends" and found.name not in names:
                yield _mistake(place, f"{task.name!r} depends on {found.name!r}, and no task has that name")
            if found.kind == "input" and found.name not in workflow.default_inputs:
                yield _mistake(place, f"{task.name!r} asks for input {found.name!r}, which default_inputs lacks")


def _edge_mistakes(kept: list[tuple[int, _Task]], canvas: set[str], workflow: _Workflow) -> Iterable[dict[str, Any]]:
    functions = {task.name: task.function for _, task in kept}
    for index, edge in enumerate(workflow.edges):
        for end in ("source", "target"):
            name = getattr(edge, end)
            if name not in functions and name not in canvas and name != CANVAS_NODE:
                yield _mistake(("edges", index, end), f"No task is named {name!r}")
        function = functions.get(edge.source)
        if function in (ROUTER, CONDITIONAL) and edge.condition not in (None, "") and _choice(function, edge) is None:
            wanted = "route == 'NAME'" if function == ROUTER else '"true" or "false"'
            yield _mistake(("edges", index, "condition"), f"An edge of {edge.source!r} ({function}) needs {wanted}")


def _convert[T](data: object, kind: type[T], place: Place) -> T:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        steps = re.findall(r"\[(\d+|\.\.\.)\]|\.([^.\[`]+)", path)
        inner = tuple(int(number) if number.isdigit() else (number or name) for number, name in steps)
        raise _refused([_mistake((*place, *inner), message)]) from None


def _mistake(place: Place, message: str) -> dict[str, Any]:
    return {"loc": ["body", *place], "msg": message, "type": "value_error"}


def _refused(mistakes: list[dict[str, Any]]) -> Refused:
    first = mistakes[0]
    where = ".".join(str(step) for step in first["loc"])
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return Refused(422, f"The workflow was not accepted: {where}: {first['msg']}{more}", mistakes[:MAX_DETAILS])
