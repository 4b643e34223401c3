"""Runs workflows as the upstream does: tasks in dependency order, each step said as an event to who listens.

What happens inside a task comes from the key `sandbox` of its params, what happens to the run as a whole from
the top-level key `sandbox` (sandbox/definition.py has both with their defaults, docs/sandbox.md the rest):

    {"seconds": [0.5, 2], "delay": 0.3, "output": {…}, "task_id": null, "silent_end": true,
     "fail": {error object}, "failures": 2, "failure_chance": 0.3, "retries": 2, "partial_results": {…}}
    {"seed": 7, "speed": 2, "concurrency": 20, "start_delay": 0.2, "end_delay": 0, "silent_end": false,
     "started": {task_id, message}, "completed": {task_id, task_name, output},
     "error": {error, partial_results}}

Everything lives in the memory of one event loop, and finished runs are forgotten after a while.
"""

import asyncio
import json
import logging
import random
import time
import uuid
from collections.abc import Coroutine, Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

from msgspec import UNSET

from sandbox import answers, options
from sandbox.definition import CONDITIONAL, Definition, Duration, Script, Task
from sandbox.params import resolve
from sandbox.rooms import Address, Rooms

log = logging.getLogger("sandbox")

KEPT_FINISHED_RUNS = 500
KEPT_SECONDS = 3600.0
MAX_ACTIVE_RUNS = 10_000


class TooBusy(Exception):
    """MAX_ACTIVE_RUNS runs are going on already."""


class _GaveUp(Exception):
    """A task failed and has no attempt left: the flow stops."""

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task


class _AttemptFailed(Exception):
    def __init__(self, error: Any) -> None:
        super().__init__(str(error))
        self.error = error


class Run:
    """One execution: its id for task-status, and what is known of it so far."""

    def __init__(self, definition: Definition) -> None:
        self.task_id = str(uuid.uuid4())
        self.definition = definition
        self.status: Literal["processing", "completed", "failed"] = "processing"
        self.results: dict[str, Any] = {}  # task name -> output, in the order in which they ended
        self.skipped: set[str] = set()
        self.finished_at: float | None = None  # monotonic seconds
        self.speed = options.speed() * definition.script.speed
        self.done = {name: asyncio.Event() for name in definition.tasks}
        self.places = asyncio.Semaphore(definition.script.concurrency or len(definition.tasks))

    @property
    def address(self) -> Address:
        return self.definition.flow_name, self.definition.run_name

    async def pause(self, duration: Duration, draw: random.Random) -> None:
        seconds = duration if isinstance(duration, float | int) else draw.uniform(*duration)
        await asyncio.sleep(seconds / self.speed)

    def draw(self, for_what: str) -> random.Random:
        """Randomness of its own for each task, so that a seed gives the same whatever happens in parallel."""
        seed = self.definition.script.seed
        return random.Random(None if seed is None else f"{seed}/{for_what}")


class Orchestrator:
    """The runs, the recordings being played and the listeners of one event loop."""

    def __init__(self) -> None:
        self.rooms = Rooms()
        self._runs: dict[str, Run] = {}
        self._jobs: set[asyncio.Task[None]] = set()

    def start(self, definition: Definition) -> Run:
        """Begin a run and return at once. Raises TooBusy."""
        self._forget()
        if sum(run.finished_at is None for run in self._runs.values()) >= MAX_ACTIVE_RUNS:
            raise TooBusy(f"{MAX_ACTIVE_RUNS} runs are going on in this sandbox; wait for some to end.")
        run = Run(definition)
        self._runs[run.task_id] = run
        self._spawn(self._play(run), f"sandbox run {run.address}")
        return run

    def find(self, task_id: str) -> Run | None:
        return self._runs.get(task_id)

    def play(self, frames: Sequence[tuple[float, str]], address: Address, speed: float) -> None:
        """Send recorded frames, each at its second divided by the speed, and return at once."""
        self._spawn(self._replay(frames, address, speed * options.speed()), f"sandbox recording {address}")

    async def shutdown(self) -> None:
        """Cancel everything that is going on, without another word to the listeners, and wait for its end."""
        jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    # --- one run --------------------------------------------------------------------------------------------

    async def _play(self, run: Run) -> None:
        script = run.definition.script
        draw = run.draw("")
        began = time.monotonic()
        gave_up: _GaveUp | None = None
        try:
            await run.pause(script.start_delay, draw)
            began = time.monotonic()
            await self._say_flow(run, "flow_started", task_id=script.started.task_id, message=script.started.message)
            async with asyncio.TaskGroup() as group:
                for task in run.definition.tasks.values():
                    group.create_task(self._task(run, task))
        except* _GaveUp as failures:
            # Leaving the group has cancelled what ran beside the failed task; no event tells of that upstream
            # either.
            gave_up = next(error for error in failures.exceptions if isinstance(error, _GaveUp))
        except* Exception:
            log.exception("the sandbox could not go on with run %r of %r", *reversed(run.address))
            gave_up = _GaveUp("")
        await run.pause(script.end_delay, draw)
        run.status = "failed" if gave_up else "completed"
        run.finished_at = time.monotonic()
        if script.silent_end:
            return
        if gave_up is None:
            completed = script.completed
            await self._say_flow(
                run,
                "flow_completed",
                task_id=completed.task_id,
                task_name=completed.task_name,
                total_execution_time=round(run.finished_at - began, 3),
                output=dict(run.results) if completed.output is UNSET else completed.output,
            )
            return
        partial = script.error.partial_results
        await self._say_flow(
            run,
            "flow_error",
            error=_halted(gave_up.task) if script.error.error is UNSET else script.error.error,
            partial_results=dict(run.results) if partial is UNSET else partial,
        )

    async def _task(self, run: Run, task: Task) -> None:
        for name in task.depends:
            await run.done[name].wait()
        if _is_skipped(run, task):
            run.skipped.add(task.name)
        else:
            async with run.places:
                await self._attempts(run, task)
        run.done[task.name].set()

    async def _attempts(self, run: Run, task: Task) -> None:
        script = task.script
        draw = run.draw(task.name)
        drawn_id = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        task_id = UNSET if script.task_id is None else drawn_id if script.task_id is UNSET else script.task_id
        resolved = resolve(task.params, run.definition.default_inputs, run.results)
        await run.pause(script.delay, draw)
        for attempt in range(script.retries + 1):
            began = time.monotonic()
            await self._say_task(run, task, "task_started", task_id, input=resolved)
            try:
                output = await self._outcome(run, task, attempt, resolved, draw)
            except _AttemptFailed as failure:
                await self._say_task(
                    run,
                    task,
                    "task_failed",
                    task_id,
                    execution_time=round(time.monotonic() - began, 3),
                    error=failure.error,
                    partial_results=script.partial_results,
                )
                if attempt == script.retries:
                    raise _GaveUp(task.name) from failure
                await run.pause(script.retry_delay, draw)
                continue
            run.results[task.name] = output
            if not script.silent_end:
                took = round(time.monotonic() - began, 3)
                await self._say_task(run, task, "task_completed", task_id, execution_time=took, output=output)
            return

    async def _outcome(self, run: Run, task: Task, attempt: int, resolved: dict[str, Any], draw: random.Random) -> Any:
        """Spend the attempt's time and give its output. Raises _AttemptFailed."""
        script = task.script
        if task.function == answers.API_CALL and _is_unscripted(script) and options.api_calls_allowed():
            try:
                return await answers.call_api(resolved)
            except answers.CallFailed as failure:
                raise _AttemptFailed(failure.error) from failure
        usual = answers.USUAL_SECONDS.get(task.function, answers.OTHER_SECONDS)
        await run.pause(usual if script.seconds is None else script.seconds, draw)
        if attempt < script.failures or draw.random() < script.chance():
            raise _AttemptFailed(_failure(task.name) if script.fail is UNSET else script.fail)
        return answers.made_up(task, resolved, draw) if script.output is UNSET else script.output

    # --- events ---------------------------------------------------------------------------------------------

    async def _say_task(self, run: Run, task: Task, event_type: str, task_id: Any, **rest: Any) -> None:
        await self._say(run, {"event_type": event_type, "task_id": task_id, "task_name": task.name}, rest)

    async def _say_flow(
        self, run: Run, event_type: str, *, task_id: Any = UNSET, task_name: Any = UNSET, **rest: Any
    ) -> None:
        await self._say(run, {"event_type": event_type, "task_id": task_id, "task_name": task_name}, rest)

    async def _say(self, run: Run, head: dict[str, Any], rest: dict[str, Any]) -> None:
        flow_name, run_name = run.address
        event = {
            **head,
            "flow_name": flow_name,
            "run_name": run_name,
            "timestamp": round(time.time(), 3),
            **rest,
        }
        frame = json.dumps({key: value for key, value in event.items() if value is not UNSET})
        await self.rooms.say(run.address, frame, keep=options.replay())

    # --- housekeeping ---------------------------------------------------------------------------------------

    async def _replay(self, frames: Sequence[tuple[float, str]], address: Address, speed: float) -> None:
        began = time.monotonic()
        for at, frame in frames:
            await asyncio.sleep(max(0.0, began + at / speed - time.monotonic()))
            await self.rooms.say(address, frame, keep=options.replay())

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        job = asyncio.create_task(work, name=name)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    def _forget(self) -> None:
        now = time.monotonic()
        finished = sorted(
            (run.finished_at, task_id) for task_id, run in self._runs.items() if run.finished_at is not None
        )
        surplus = len(finished) - KEPT_FINISHED_RUNS
        for index, (finished_at, task_id) in enumerate(finished):
            if index < surplus or now - finished_at > KEPT_SECONDS:
                del self._runs[task_id]


def _is_skipped(run: Run, task: Task) -> bool:
    """Whether a branch passed this task by.

    It did when a branching task that gates this one chose otherwise (or was itself skipped), and when all
    that this one depends on was skipped: where branches meet again, one that ran is enough.
    """
    for source, wanted in task.gates.items():
        if source in run.skipped or _choice(run.definition.tasks[source], run.results.get(source)) not in wanted:
            return True
    return bool(task.depends) and run.skipped.issuperset(task.depends)


def _choice(branching: Task, output: Any) -> str | None:
    if branching.function == CONDITIONAL:
        result = output.get("result") if isinstance(output, dict) else output
        return "true" if result is True or str(result).lower() == "true" else "false"
    return output.get("route") if isinstance(output, dict) else None


def _is_unscripted(script: Script) -> bool:
    return script.output is UNSET and not script.failures and not script.chance()


def _failure(task: str) -> dict[str, Any]:
    return {"type": "ScriptedFailure", "message": f"{task} failed, as scripted", "code": "SCRIPTED_FAILURE"}


def _halted(task: str) -> dict[str, Any]:
    if not task:
        return {"type": "SandboxError", "message": "See the log of the sandbox", "code": "SANDBOX_ERROR"}
    return {
        "type": "WorkflowHaltedError",
        "message": f"{task} failed, stopping the workflow",
        "code": "TASK_FAILED",
    }


# asyncio objects belong to one loop. A process has one, so this is one orchestrator a process; each test has
# its own.
_orchestrators: WeakKeyDictionary[asyncio.AbstractEventLoop, Orchestrator] = WeakKeyDictionary()


def orchestrator() -> Orchestrator:
    """The orchestrator of the running event loop."""
    return _orchestrators.setdefault(asyncio.get_running_loop(), Orchestrator())


async def shutdown() -> None:
    """Stop every run and recording of the running loop; for the end of the process."""
    if (running := _orchestrators.get(asyncio.get_running_loop())) is not None:
        await running.shutdown()
