"""Many runs at once through one worker of this process, each behind a fault proxy of its own.

A case is one run: the script of its upstream, and what surely reached the worker. What was kept of it is compared with
that; every sentence about a difference begins with the case's name.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import batched
from typing import Any

from websockets.asyncio.server import ServerConnection

from runs import actions, store
from runs.models import Event, Gap, Run, Stream, Task, Upstream
from runs.worker.db import on_thread
from runs.worker.supervisor import Supervisor
from runs.worker.writer import Commit, Writer
from tests import seed
from tests.faults.proxy import Fault, Link, Proxy, fault_proxy
from tests.scripted import ScriptedUpstream, eventually, scripted_upstream
from tests.worker.test_follow import definition

AT_ONCE = 100  # runs that are followed at the same time
END_SECONDS = 180.0  # in which they all must have ended

type Mark = tuple[str, str, float]  # type, task and time: no two frames of an example have the same
type Script = Callable[["Case", ServerConnection, Link], Awaitable[None]]

_RUN_FACTS = (
    "status", "started_at", "finished_at", "execution_time", "conflict", "inferred", "error", "current_task",
    "tasks_total", "tasks_succeeded", "tasks_failed", "tasks_skipped", "tasks_unknown", "tasks_running", "notice",
)  # fmt: skip
_TASK_FACTS = ("key", "name", "status", "inferred", "attempts", "started_at", "finished_at", "duration", "error")


@dataclass(frozen=True)
class Example:
    """One of the two runs of the upstream's documentation."""

    name: str
    flow_name: str
    run_name: str
    tasks: tuple[str, ...]
    outcome: str  # the run's status at its end
    reported: str  # the same in the words of task-status

    @property
    def frames(self) -> list[str]:
        return seed.frames(self.name)


EXAMPLES = (
    Example(
        "customer_support", "Customer_Support_Pipeline", "ticket_78453",
        ("sentiment_analyzer", "update_salesforce", "send_notifications"), "succeeded", "completed",
    ),
    Example(
        "financial_data", "Financial_Data_Pipeline", "daily_batch_20240215",
        ("validate_financial_data",), "failed", "failed",
    ),
)  # fmt: skip


def mark(frame: str) -> Mark:
    payload = json.loads(frame)
    return payload["event_type"], payload.get("task_name", ""), payload["timestamp"]


@dataclass
class Case:
    """One run, its frames those of the example under a run name of its own."""

    name: str  # the run's name, too
    example: Example
    script: Script  # called for each connection of this run; when it returns, the socket closes with 1000
    plan: dict[int, Fault] = field(default_factory=dict)
    gaps: int = 0  # that must be shown
    after: int = 0  # events that came before the gap
    delivered: list[str] = field(default_factory=list)  # frames that surely reached the worker, repeats included
    injected: int = 0  # faults seen to strike, besides those that the proxy counts
    dropped_at: float = 0.0  # epoch seconds: just before the connection was lost

    def __post_init__(self) -> None:
        there, here = json.dumps(self.example.run_name), json.dumps(self.name)
        self.frames = [frame.replace(there, here) for frame in self.example.frames]
        self.launched = asyncio.Event()
        self.proxy: Proxy
        self.run: Run

    async def deliver(self, socket: ServerConnection, frames: Iterable[str]) -> None:
        """Send these, and return when the other side has surely read them."""
        frames = list(frames)
        for frame in frames:
            await socket.send(frame)
        await (await socket.ping())
        self.delivered += frames


@dataclass
class Kept:
    """What the database holds of a case's run when it has ended."""

    run: Run
    stored: Counter[Mark]  # events of the stream
    reports: int  # answers of task-status kept as events
    receipts: int  # of the stream
    gaps: list[Gap]
    tasks: dict[str, dict[str, Any]]
    differences: list[str]  # between the rows and the fold of the events

    @property
    def facts(self) -> dict[str, Any]:
        return {**{name: getattr(self.run, name) for name in _RUN_FACTS}, "tasks": self.tasks}


def read(run: Run) -> Kept:
    events = list(Event.objects.filter(run=run, source=Event.Source.STREAM).order_by("seq"))
    return Kept(
        run=Run.objects.get(pk=run.pk),
        stored=Counter((event.event_type, event.task_name, event.timestamp or 0.0) for event in events),
        reports=Event.objects.filter(run=run, source=Event.Source.STATUS).count(),
        receipts=sum(event.receipts for event in events),
        gaps=list(Gap.objects.filter(run=run).order_by("pk")),
        tasks={row["key"]: row for row in Task.objects.filter(run=run).values(*_TASK_FACTS)},
        differences=store.rebuild(run.pk),
    )


@dataclass
class Found:
    """The sum over many cases."""

    problems: list[str] = field(default_factory=list)
    injected: int = 0
    lost: int = 0
    doubled: int = 0

    def look(self, case: Case, kept: Kept, launches: int) -> None:
        """What must hold of every case: each delivered event once, the gaps that were possible, one launch."""
        wanted = Counter(set(map(mark, case.delivered)))
        lost, doubled = wanted - kept.stored, kept.stored - wanted
        self.lost += lost.total()
        self.doubled += doubled.total()
        self.injected += case.injected + case.proxy.injected.total()
        seen = [(gap.after_seq, gap.ended_at is not None) for gap in kept.gaps]
        problems = len(self.problems)
        for what, found, right in (
            ("lost", sorted(lost), []),
            ("stored though never sent, or twice", sorted(doubled), []),
            ("receipts", kept.receipts, len(case.delivered)),
            ("events", kept.run.last_seq, kept.stored.total() + kept.reports),
            ("gaps, with whether they have ended", seen, [(case.after, True)] * case.gaps),
            ("gap count", kept.run.gap_count, case.gaps),
            ("rejected", kept.run.rejected_count, 0),
            ("status", kept.run.status, case.example.outcome),
            ("differences from the fold", kept.differences, []),
            ("launches", launches, 1),
        ):
            self.expect(case, what, found, right)
        if len(self.problems) > problems:
            print(case.name, kept.run.notice, [(gap.reason, gap.detail) for gap in kept.gaps])  # noqa: T201

    def expect(self, case: Case, what: str, found: Any, right: Any) -> None:
        if found != right:
            self.problems.append(f"{case.name}: {what}: {found!r}, where {right!r} is right")
            print(self.problems[-1])  # noqa: T201  # pytest shortens long lists


class Stage:
    """An upstream, and a worker beside it; `play` brings cases onto it."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self._cases: dict[str, Case] = {}
        upstream.visit = self._visit

    async def _visit(self, socket: ServerConnection, number: int) -> None:
        case = self._cases[self.upstream.paths[number].rpartition("/")[2]]
        await case.script(case, socket, case.proxy.link_from(socket.remote_address[1]))

    async def play(self, cases: Sequence[Case]) -> AsyncIterator[tuple[Case, Kept, int]]:
        """Play all, many at once; gives each with what was kept of it and how often it was launched."""
        for some in batched(cases, AT_ONCE):
            async with AsyncExitStack() as proxies:
                for case in some:
                    case.proxy = await proxies.enter_async_context(
                        fault_proxy(int(self.upstream.socket_url.rpartition(":")[2]), case.plan)
                    )
                await self._play(some)
                launches = Counter(launch["run_name"] for launch in self.upstream.launches)
                for case in some:
                    yield case, await on_thread(read, case.run), launches[case.name]

    async def _play(self, cases: Sequence[Case]) -> None:
        self._cases |= {case.name: case for case in cases}
        noticing = asyncio.create_task(self._notice_launches())
        for case in cases:
            case.run = await on_thread(self._launch, case)

        async def over() -> bool:
            return not await on_thread(self._going_on)

        try:
            await eventually(over, END_SECONDS)
        except AssertionError:
            names = ", ".join(await on_thread(self._going_on))
            raise AssertionError(f"not ended in {END_SECONDS} s: {names}") from None
        finally:
            noticing.cancel()

    async def _notice_launches(self) -> None:
        """At once: a script that waits for its launch must not wait until all have been launched."""
        seen = 0
        while True:
            for launch in self.upstream.launches[seen:]:
                self._cases[launch["run_name"]].launched.set()
                seen += 1
            await asyncio.sleep(0.01)

    def _launch(self, case: Case) -> Run:
        upstream = Upstream.objects.create(
            name=case.name, api_url=self.upstream.api_url, socket_url=f"ws://127.0.0.1:{case.proxy.port}"
        )
        return actions.launch(
            upstream=upstream, definition=definition(case.example.flow_name, *case.example.tasks), run_name=case.name
        )

    def _going_on(self) -> list[str]:
        return list(Stream.objects.filter(active=True).values_list("run__run_name", flat=True))


@asynccontextmanager
async def stage(commit: Commit = store.commit) -> AsyncIterator[Stage]:
    """For tests with a database whose transactions are real. `commit` is what the worker's writer writes with."""
    async with scripted_upstream() as upstream:
        worker = Supervisor("faults")
        worker._writer = Writer(commit)
        working = asyncio.create_task(worker.run())
        try:
            yield Stage(upstream)
        finally:
            worker.stop()
            await working
