"""Short ways to write a definition, to run it and to hear what it says."""

import asyncio
import json
from typing import Any

from sandbox import definition
from sandbox.engine import Run, orchestrator

TERMINAL = {"flow_completed", "flow_error"}
HEARING_SECONDS = 30.0


def task(name: str, function: str = "call_lyzr_agent", /, *after: str, **params: Any) -> dict[str, Any]:
    """A task that depends on those named in `after`."""
    return {
        "name": name,
        "function": function,
        "params": {**{f"from_{other}": {"depends": other} for other in after}, **params},
    }


def workflow(*tasks: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {
        "flow_name": "Flow",
        "run_name": "run 1",
        "tasks": list(tasks),
        "default_inputs": {},
        "edges": [],
        "flow_data": {},
        **rest,
    }


async def start(data: dict[str, Any]) -> tuple[Run, list[dict[str, Any]]]:
    """Begin a run; the list fills with its events."""
    heard: list[dict[str, Any]] = []
    checked = definition.parse(data)

    async def hear(frame: str) -> None:
        heard.append(json.loads(frame))

    stage = orchestrator()
    await stage.rooms.join((checked.flow_name, checked.run_name), hear, replay=False)
    return stage.start(checked), heard


async def until(condition: Any) -> None:
    """Wait until condition() is true; TimeoutError when it never is."""
    async with asyncio.timeout(HEARING_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


async def play(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a definition to its last event and give all its events."""
    _, heard = await start(data)
    await until(lambda: heard and heard[-1]["event_type"] in TERMINAL)
    return list(heard)  # the listener stays, and would add a later run of the same name


def story(events: list[dict[str, Any]]) -> list[str]:
    """The events as "task_started a", for comparing orders."""
    return [f"{event['event_type']} {event.get('task_name', '')}".strip() for event in events]


def named(events: list[dict[str, Any]], event_type: str, task_name: str | None = None) -> list[dict[str, Any]]:
    return [
        event for event in events if event["event_type"] == event_type and task_name in (None, event.get("task_name"))
    ]
