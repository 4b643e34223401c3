"""A scripted upstream behind a site, and a run whose story it tells when the test says so."""

import asyncio
import json
import time
from typing import Any

from websockets.asyncio.server import ServerConnection

from tests.factories import make_definition
from tests.scripted import ScriptedUpstream

FLOW = "Scripted"


class Story:
    """Frames of one run. Each is sent to whoever is connected once it has been told; nothing is sent twice."""

    def __init__(self, upstream: ScriptedUpstream, run_name: str, flow_name: str = FLOW) -> None:
        self.run_name, self.flow_name = run_name, flow_name
        self._told: asyncio.Queue[str] = asyncio.Queue()
        self._clock = 0.0
        upstream.visit = self._visit

    async def _visit(self, socket: ServerConnection, number: int) -> None:
        ended = asyncio.create_task(socket.wait_closed())
        while True:
            while not self._told.empty():
                await socket.send(self._told.get_nowait())
            frame = asyncio.create_task(self._told.get())
            await asyncio.wait({frame, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not frame.done():
                frame.cancel()
                return
            await socket.send(frame.result())

    def tell(self, event_type: str, task: str = "", **more: Any) -> None:
        self._clock = max(self._clock + 0.001, time.time() - 0.2)
        names = {"task_name": task, "task_id": f"id-{task}"} if task else {"task_id": "flow"}
        event = {"event_type": event_type, "timestamp": self._clock, **names, **more}
        self._told.put_nowait(json.dumps({**event, "flow_name": self.flow_name, "run_name": self.run_name}))

    def say(self, frame: str) -> None:
        """A frame as it stands, whatever it is."""
        self._told.put_nowait(frame)

    def fail(self, task: str, error_type: str) -> None:
        """A task fails, and the run with it."""
        error = {"type": error_type, "message": "it did not work", "code": "E1"}
        self.tell("task_started", task, input={"config": {}})
        self.tell("task_failed", task, execution_time=1.0, error=error)
        self.tell("flow_error", execution_time=2.0, error=error)

    def begin(self) -> None:
        self.tell("flow_started", message="off we go")

    def work(self, task: str, output: Any = None) -> None:
        self.tell("task_started", task, input={"config": {}})
        self.tell("task_completed", task, execution_time=1.0, output=output or {"ok": True})

    def end(self) -> None:
        self.tell("flow_completed", execution_time=60.0, output={"summary": "done"})


def definition() -> dict[str, Any]:
    """fetch, then clean, then report: one of them an agent, as the upstream demands."""
    made = make_definition(flow_name=FLOW)
    made["tasks"][0]["function"] = "call_lyzr_agent"
    return made
