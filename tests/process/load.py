"""Load on real processes: an upstream that plays run after run, and the count of what of it was stored."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
from websockets.asyncio.server import ServerConnection

from tests.factories import make_definition
from tests.process.programs import ENDED, Api, Home
from tests.scripted import ScriptedUpstream, eventually

FLOW = "Nightly"


class Found(NamedTuple):
    lost: int  # events that were sent and are not stored
    doubled: int  # events that are stored more often than they were sent
    runs: list[dict[str, Any]]
    unlaunched: int  # runs of whose launch the upstream never heard: a worker died between noting and sending it


class Load:
    """Plays each run, once it is launched, to whoever visits it: `rate` events a second over `runs` at a time.

    A late visitor hears the run from its beginning; without `replay`, only what is told from then on.
    """

    def __init__(
        self, upstream: ScriptedUpstream, *, rate: float = 50, runs: int = 20, events: int = 42, replay: bool = True
    ) -> None:
        self.upstream, self.runs, self.replay = upstream, runs, replay
        self.tasks = events // 2 - 1
        self.pause = runs / rate  # seconds between two events of a run
        self.names: list[str] = []  # of the runs that the site has accepted
        self.visits: Counter[str] = Counter()
        self.sent = 0  # frames given to sockets
        self.most_at_once = 0  # visitors of one run at the same time
        self._numbers = itertools.count()
        self._present: Counter[str] = Counter()
        self._begun_at: dict[str, float] = {}  # by the loop's clock
        self._started_at: dict[str, float] = {}  # epoch seconds, for the events
        self._read = 0  # launches already seen
        upstream.visit = self._visit

    # --- the upstream's side ------------------------------------------------------------------------------------

    def frames(self, name: str) -> list[str]:
        """A run from beginning to end; each event has a timestamp of its own."""
        events: list[dict[str, Any]] = [{"event_type": "flow_started"}]
        for number in range(self.tasks):
            task = {"task_id": f"{name}-{number}", "task_name": f"task {number}"}
            events += [
                {"event_type": "task_started", **task, "input": {"rows": number, "text": "some words of input " * 8}},
                {"event_type": "task_completed", **task, "output": {"text": "some words of output " * 8}},
            ]
        events.append({"event_type": "flow_completed", "output": {"run": name}})
        common = {"flow_name": FLOW, "run_name": name}
        start = self._started_at[name]
        return [
            json.dumps({**event, **common, "timestamp": round(start + number * self.pause, 4)})
            for number, event in enumerate(events)
        ]

    async def _visit(self, socket: ServerConnection, number: int) -> None:
        assert socket.request is not None
        name = socket.request.path.rsplit("/", 1)[1]
        self.visits[name] += 1
        self._present[name] += 1
        self.most_at_once = max(self.most_at_once, self._present[name])
        try:
            await self._play(socket, name)
        finally:
            self._present[name] -= 1

    async def _play(self, socket: ServerConnection, name: str) -> None:
        while not self.launched(name):
            if socket.close_code is not None:
                return
            await asyncio.sleep(0.05)
        now = asyncio.get_running_loop().time
        begun_at = self._begun_at[name]
        arrived = now()
        for place, frame in enumerate(self.frames(name)):
            due = begun_at + place * self.pause
            if self.replay or place == 0 or due >= arrived:
                await asyncio.sleep(max(0.0, due - now()))
                await socket.send(frame)
                self.sent += 1
        await socket.wait_closed()

    def launched(self, name: str) -> bool:
        """Whether the upstream was told to begin this run."""
        for launch in self.upstream.launches[self._read :]:
            self._begun_at.setdefault(launch["run_name"], asyncio.get_running_loop().time())
            self._started_at.setdefault(launch["run_name"], time.time())
        self._read = len(self.upstream.launches)
        return name in self._begun_at

    # --- whoever launches -----------------------------------------------------------------------------------------

    def body(self, name: str) -> dict[str, Any]:
        """What launches the run of this name."""
        definition = make_definition(*(f"task {task}" for task in range(self.tasks)), flow_name=FLOW)
        return {"flow_name": FLOW, "run_name": name, "definition": definition}

    async def launch(self, *apis: Api) -> str:
        """Launch one more run at whichever site answers; its name."""
        name = f"run-{next(self._numbers)}"
        for api in itertools.cycle(apis):
            try:
                answer = await api.ask("POST", "/runs", json=self.body(name))
            except httpx.TransportError:  # it may have been accepted all the same: then the name is taken
                await asyncio.sleep(0.2)
                continue
            if answer.status_code in (201, 409):
                self.names.append(name)
                return name
            assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.2)
        raise AssertionError("no site to launch at")

    @asynccontextmanager
    async def going(self, *apis: Api) -> AsyncIterator[None]:
        """Keeps so many runs going, each followed by another when it has been told, until the block is left."""
        enough = asyncio.Event()

        async def one_after_another() -> None:
            while not enough.is_set():
                name = await self.launch(*apis)
                now = asyncio.get_running_loop().time
                ends = now() + 60  # of a run that never begins
                while not enough.is_set() and now() < ends:
                    await asyncio.sleep(0.1)
                    if self.launched(name):
                        ends = self._begun_at[name] + 2 * self.tasks * self.pause

        async with asyncio.TaskGroup() as players:
            for _ in range(self.runs):
                players.create_task(one_after_another())
            yield
            enough.set()

    # --- the count ----------------------------------------------------------------------------------------------

    async def count(self, home: Home, api: Api, seconds: float = 90.0) -> Found:
        """Wait until all runs have ended, and compare what is stored with what was sent.

        Fails where a run is not as it should be otherwise: launched twice, ended wrong, with a hole in its numbers,
        or not what its events say.
        """

        async def over() -> list[dict[str, Any]]:
            runs = await api.runs()
            assert {run["run_name"] for run in runs} == {*self.names}
            return runs if all(run["status"] in ENDED and run["connection"] == "closed" for run in runs) else []

        runs = await eventually(over, seconds, pause=0.5)
        lost = doubled = unlaunched = 0
        for run in runs:
            events = await api.events(run["id"])
            if not self.launched(run["run_name"]):
                assert (run["status"], run["last_seq"]) == ("lost", 0), run
                unlaunched += 1
                continue
            assert run["status"] == "succeeded", run
            assert [event["seq"] for event in events] == list(range(1, run["last_seq"] + 1))
            sent = Counter(json.loads(frame)["timestamp"] for frame in self.frames(run["run_name"]))
            stored = Counter(event["payload"]["timestamp"] for event in events)
            lost += (sent - stored).total()
            doubled += (stored - sent).total()
        launched = Counter(launch["run_name"] for launch in self.upstream.launches)
        assert [name for name, times in launched.items() if times > 1] == []
        rebuilt = await asyncio.to_thread(home.manage, "rebuild_runs")
        assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
        return Found(lost, doubled, runs, unlaunched)
