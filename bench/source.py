"""The generator: an upstream in a process of its own that sends each run's events as fast as they are taken."""

import asyncio
import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from urllib.parse import unquote

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

FLOW = "Bench"
BEGAN = 1_756_806_000.0  # epoch seconds


def frames(run_name: str, events: int) -> list[str]:
    """A run of this many events: its start, tasks that start and complete, its end. About 600 bytes each."""
    common = {"flow_name": FLOW, "run_name": run_name}
    out = [{"event_type": "flow_started", **common, "timestamp": BEGAN}]
    for n in range((events - 2) // 2):
        task = {"task_id": f"id-{n}", "task_name": f"task_{n}", **common}
        given = {"config": {"agent_id": "a", "api_key": "sk-bench-0123456789abcdef"}, "text": "x" * 240, "list": [1, 2]}
        out.append({"event_type": "task_started", **task, "timestamp": BEGAN + n + 0.25, "input": given})
        result = {"answer": "y" * 300, "score": 0.75}
        out.append(
            {"event_type": "task_completed", **task, "timestamp": BEGAN + n + 0.5, "execution_time": 0.25,
             "output": result}
        )  # fmt: skip
    out.append({"event_type": "flow_completed", **common, "timestamp": BEGAN + events, "output": {}})
    return [json.dumps(frame) for frame in out]


def _serve(events: int, told: Connection) -> None:
    async def visit(socket: ServerConnection) -> None:
        assert socket.request is not None
        with suppress(ConnectionClosed):
            for frame in frames(unquote(socket.request.path).rsplit("/", 1)[1], events):
                await socket.send(frame)
            await socket.wait_closed()

    async def main() -> None:
        async with serve(visit, "127.0.0.1", 0, compression=None) as server:
            told.send(next(iter(server.sockets)).getsockname()[1])
            await asyncio.Event().wait()

    asyncio.run(main())


@contextmanager
def source(events: int) -> Iterator[str]:
    """The socket URL of a generator whose runs have this many events each."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(events, there), daemon=True)
    process.start()
    try:
        yield f"ws://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()
