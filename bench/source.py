"""The generator: an upstream in a process of its own, which speaks the protocol over real sockets.

It sends on demand: the measurement waits until everybody is connected, then says what is to be sent, and how fast.
"""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple
from urllib.parse import unquote

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

FLOW = "Bench"


class Told(NamedTuple):
    """What to send to each of these runs. `rate`: events a second over all; 0: as fast as they are taken.

    `first`, `events`: the frames from this one on, so many. `kind`: which of FRAMES.
    """

    runs: Sequence[str]
    events: int
    rate: float = 0.0
    first: int = 0
    kind: str = "whole"


def whole(run_name: str, events: int) -> list[str]:
    """A run of this many events: its start, tasks that start and complete, its end. About 600 bytes each."""
    common = {"flow_name": FLOW, "run_name": run_name}
    began = time.time()
    out = [{"event_type": "flow_started", **common, "timestamp": began}]
    for n in range((events - 2) // 2):
        task = {"task_id": f"id-{n}", "task_name": f"task_{n}", **common}
        given = {"config": {"agent_id": "a", "api_key": "sk-bench-0123456789abcdef"}, "text": "x" * 240, "list": [1, 2]}
        out.append({"event_type": "task_started", **task, "timestamp": began + n / 10_000, "input": given})
        result = {"answer": "y" * 300, "score": 0.75}
        out.append(
            {"event_type": "task_completed", **task, "timestamp": began + n / 10_000 + 5e-5, "execution_time": 5e-5,
             "output": result}
        )  # fmt: skip
    out.append({"event_type": "flow_completed", **common, "timestamp": began + events / 20_000, "output": {}})
    return [json.dumps(frame) for frame in out]


def fan(run_name: str, events: int) -> list[str]:
    """A run that starts 10,000 tasks at once, of which one after the other completes, each with a note before."""
    common = {"flow_name": FLOW, "run_name": run_name}
    began = time.time()
    names = [{"task_id": f"id-{n}", "task_name": f"t{n:05d}", **common} for n in range(FANNED)]
    out = [{"event_type": "flow_started", **common, "timestamp": began}]
    out += [{"event_type": "task_started", **task, "timestamp": began, "input": {"n": 1}} for task in names]
    for n in range((events - len(out)) // 2):
        at = began + n / 100
        out.append({"event_type": "agent_message", **names[n], "timestamp": at, "text": "x" * 300})
        out.append(
            {"event_type": "task_completed", **names[n], "timestamp": at, "execution_time": 0.5, "output": {"n": n}}
        )
    return [json.dumps(frame) for frame in out]


FANNED = 10_000
FRAMES: dict[str, Callable[[str, int], list[str]]] = {"whole": whole, "fan": fan}


class Source:
    """`url`: up to and without /ws/…"""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.url = f"ws://127.0.0.1:{pipe.recv()}"

    def connected(self) -> int:
        """How many sockets are open."""
        return int(self._ask(None))

    def tell(self, told: Told) -> dict[str, list[float]]:
        """Send it. The moment of each frame, by run, in epoch seconds."""
        sent: dict[str, list[float]] = self._ask(told)
        return sent

    def _ask(self, said: Told | None) -> Any:
        self._pipe.send(said)
        return self._pipe.recv()


@contextmanager
def source() -> Iterator[Source]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield Source(here)
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    sockets: dict[str, ServerConnection] = {}
    ready: dict[str, list[str]] = {}

    async def visit(socket: ServerConnection) -> None:
        assert socket.request is not None
        name = unquote(socket.request.path).rsplit("/", 1)[1]
        sockets[name] = socket
        await socket.wait_closed()
        if sockets.get(name) is socket:
            del sockets[name]

    async def send(name: str, frames: list[str], moments: list[float], pause: float) -> None:
        """`pause`: seconds from one frame to the next; late ones are made up for."""
        due = time.time()
        with suppress(ConnectionClosed):
            for frame in frames:
                if pause and (early := due - time.time()) > 0:
                    await asyncio.sleep(early)
                due += pause
                moments.append(time.time())
                await sockets[name].send(frame)

    async def tell(told: Told) -> dict[str, list[float]]:
        for name in told.runs:
            if len(ready.get(name, ())) < told.first + told.events:
                ready[name] = FRAMES[told.kind](name, told.first + told.events)
        moments: dict[str, list[float]] = {name: [] for name in told.runs}
        pause = len(told.runs) / told.rate if told.rate else 0.0

        async def begin(number: int, name: str) -> None:
            await asyncio.sleep(number * pause / len(told.runs))  # spread over the first pause
            await send(name, ready[name][told.first : told.first + told.events], moments[name], pause)

        await asyncio.gather(*(begin(number, name) for number, name in enumerate(told.runs)))
        return moments

    async def main() -> None:
        async with serve(visit, "127.0.0.1", 0, compression=None) as server:
            pipe.send(next(iter(server.sockets)).getsockname()[1])
            while True:
                said = await asyncio.to_thread(pipe.recv)
                pipe.send(len(sockets) if said is None else await tell(said))

    with suppress(EOFError):
        asyncio.run(main())
