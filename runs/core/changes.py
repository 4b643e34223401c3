"""What differs between two definitions, task by task: of two versions of a workflow, or of what two runs were given."""

import json
from itertools import islice
from typing import Any, Final, Literal

import msgspec

from runs.core.difference import Difference, differences

MOST_NAMED: Final = 3  # tasks that `words` names of each kind


class TaskChange(msgspec.Struct, frozen=True):
    """`fields`: where a task that both have differs, places within it; empty of one that only one side has."""

    name: str
    kind: Literal["added", "removed", "changed"]
    fields: tuple[Difference, ...] = ()


class Changes(msgspec.Struct, frozen=True):
    """`rest`: what differs outside the tasks: inputs, edges, their schema, the layout."""

    tasks: tuple[TaskChange, ...]
    rest: tuple[Difference, ...]


def changes(before: dict[str, Any], after: dict[str, Any], most: int | None = None) -> Changes:
    """Tasks are matched by name: one that was renamed is one removed and one added.

    `most`: places that are told of one task, and of what is outside them; None: all.
    """
    old, new = _tasks(before), _tasks(after)
    found = [TaskChange(name, "removed") for name in old if name not in new]
    for name, task in new.items():
        if name not in old:
            found.append(TaskChange(name, "added"))
        # Most are the same to the letter, and of thousands of tasks that is seen at a glance.
        elif json.dumps(old[name]) != json.dumps(task) and (
            fields := tuple(islice(differences(old[name], task), most))
        ):
            found.append(TaskChange(name, "changed", fields))
    return Changes(tuple(found), tuple(islice(differences(_rest(before), _rest(after)), most)))


def words(found: Changes) -> str:
    """In one line, like `added “fetch”; changed “clean”; also default_inputs`."""
    parts = []
    for kind in ("added", "removed", "changed"):
        names = [task.name for task in found.tasks if task.kind == kind]
        if names:
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            parts.append(f"{kind} {', '.join(f'“{name}”' for name in names[:MOST_NAMED])}{more}")
    rest = dict.fromkeys(one.place.partition(".")[0].partition("[")[0] for one in found.rest)
    if rest:
        parts.append(f"{'also ' if parts else 'changed '}{', '.join(rest)}")
    return "; ".join(parts) or "only the order"


def _tasks(definition: dict[str, Any]) -> dict[str, Any]:
    listed = definition.get("tasks")
    tasks = listed if isinstance(listed, list) else []
    return {str(task["name"]): task for task in tasks if isinstance(task, dict) and "name" in task}


def _rest(definition: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in definition.items() if name != "tasks"}
