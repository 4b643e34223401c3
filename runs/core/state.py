"""What a run has come to: a fold of its events that does not depend on their order or repetition.

Every task keeps the marks (starts and ends, by the upstream's times) that events have left on it, and its attempts and
status are derived from the sorted marks. What arrives late, twice or in another order therefore ends in the same state.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import msgspec

from runs.core.events import (
    Event,
    FlowCompleted,
    FlowError,
    StatusReport,
    TaskCompleted,
    TaskFailed,
    TaskStarted,
)
from runs.core.plan import Plan

TaskStatus = Literal["pending", "running", "succeeded", "failed", "skipped", "unknown"]
Outcome = Literal["succeeded", "failed"]

ERROR_TEXT = 500  # characters of an error's message that a row keeps; the whole stands in its event

# What an open attempt, and a task that never began, become when the run ends in this outcome; where the run's output
# has a value for the task, it succeeded whatever this says. All of these are inferred.
OPEN_AT_END: dict[Outcome, TaskStatus] = {"succeeded": "unknown", "failed": "unknown"}
UNSEEN_AT_END: dict[bool, TaskStatus] = {True: "unknown", False: "skipped"}  # by: could we have missed its events?

STATUS_REPORT_OUTCOME: dict[str, Outcome] = {"completed": "succeeded", "failed": "failed", "error": "failed"}
"""The words of task-status that say that a run is over; all others say that it goes on."""


class Mark(msgspec.Struct, frozen=True, order=True):
    """A start or an end that an event left on a task; the fields' order is the order in which marks are read."""

    at: float
    rank: int  # at the same moment an end comes after its start
    digest: str
    occurrence: int
    seq: int
    status: TaskStatus  # running for a start
    execution_time: float | None = None


class Attempt(msgspec.Struct, frozen=True):
    started_at: float | None
    finished_at: float | None
    status: TaskStatus
    inferred: bool = False


class Label(msgspec.Struct, frozen=True):
    """How events name a task; either may be empty, not both."""

    task_id: str
    task_name: str


@dataclass(slots=True)
class Reading:
    """What a task's marks say when they are read in order: the attempts that have ended, and the open one."""

    attempts: list[Attempt] = field(default_factory=list)
    open_since: float | None = None  # None while `running`: the start is not known
    running: bool = False
    input_seq: int | None = None
    output_seq: int | None = None
    error_seq: int | None = None

    def go_on(self) -> "Reading":
        """To read on from here; the attempts read further are its own."""
        return Reading([], self.open_since, self.running, self.input_seq, self.output_seq, self.error_seq)

    def read(self, marks: list[Mark]) -> None:
        """Read the marks of one moment."""
        for mark in _at_once(marks, self.running):
            if mark.status == "running":
                if self.running:  # it began again, and no event told how it had ended
                    self.attempts.append(Attempt(self.open_since, mark.at, "unknown", inferred=True))
                self.open_since, self.running = mark.at, True
                self.input_seq = mark.seq
                continue
            if not self.running and mark.execution_time is not None:
                self.open_since = mark.at - mark.execution_time  # the start was missed
            self.attempts.append(Attempt(self.open_since, mark.at, mark.status))
            self.open_since, self.running = None, False
            if mark.status == "failed":
                self.error_seq = mark.seq
            else:
                self.output_seq = mark.seq


@dataclass(slots=True)
class TaskState:
    """One node of the run. All but `key`, `name` and the marks is derived.

    The marks before the last moment are read once, in `before`: a task with thousands of attempts costs no more for
    its next event than one with two.
    """

    key: str
    name: str
    planned: bool = False
    marks: list[Mark] = field(default_factory=list)
    errors: dict[int, Any] = field(default_factory=dict)  # seq -> short error of a failed attempt
    before: Reading = field(default_factory=Reading)
    moment: list[Mark] = field(default_factory=list)  # the marks of the last moment
    ends: list[Attempt] = field(default_factory=list)  # the attempts that follow from these, and the open one
    status: TaskStatus = "pending"
    inferred: bool = False
    error: dict[str, Any] | None = None
    input_seq: int | None = None
    output_seq: int | None = None
    error_seq: int | None = None

    @property
    def attempts(self) -> list[Attempt]:
        return [*self.before.attempts, *self.ends]

    def leave(self, mark: Mark, error: Any) -> None:
        insort(self.marks, mark)
        if error is not None:
            self.errors[mark.seq] = error
        if not self.moment or mark.at > self.moment[0].at:
            self.before.read(self.moment)
            self.moment = [mark]
        elif mark.at == self.moment[0].at:
            insort(self.moment, mark)
        else:
            self.reread()

    def move(self, moved: list[tuple[Mark, Any]], target: "TaskState") -> None:
        """These marks and their errors turned out to be another task's."""
        gone = {mark for mark, _ in moved}
        self.marks = [mark for mark in self.marks if mark not in gone]
        target.marks = sorted([*target.marks, *gone])
        for mark, error in moved:
            self.errors.pop(mark.seq, None)
            if error is not None:
                target.errors[mark.seq] = error
        self.reread()
        target.reread()

    def reread(self) -> None:
        """A mark came or went in the middle: read all but the last moment again."""
        self.before, self.moment = Reading(), []
        for _, group in groupby(self.marks, lambda mark: mark.at):
            self.before.read(self.moment)
            self.moment = list(group)


@dataclass(slots=True)
class Running:
    """The tasks that run, and which began last: found anew only when that one has ended, for there may be thousands."""

    _since: dict[str, float] = field(default_factory=dict)  # key -> time of its last mark
    _last: tuple[float, str] | None = field(default=None, compare=False)  # None: not known

    def __iter__(self) -> Iterator[str]:
        return iter(self._since)

    def put(self, key: str, at: float) -> None:
        if self._since.get(key) == at:
            return
        self.drop(key)
        alone = not self._since
        self._since[key] = at
        if alone or (self._last and (at, key) > self._last):
            self._last = (at, key)

    def drop(self, key: str) -> None:
        if self._since.pop(key, None) is not None and self._last and self._last[1] == key:
            self._last = None

    @property
    def last(self) -> str:
        """The key of the one that began last; '' when none runs."""
        if self._since and self._last is None:
            self._last = max((at, key) for key, at in self._since.items())
        return self._last[1] if self._last else ""


class Terminal(msgspec.Struct, frozen=True, order=True):
    """An event that ends the run. A report of task-status ranks behind every event of the stream."""

    inferred: bool
    at: float
    digest: str
    occurrence: int
    seq: int
    outcome: Outcome
    execution_time: float | None
    outputs: frozenset[str]
    error: Any


@dataclass(slots=True)
class RunState:
    """A run as its events tell it. Owned by one follower, changed only by `apply` and `mark_gap`."""

    tasks: dict[str, TaskState] = field(default_factory=dict)
    seen: dict[tuple[str, int], int] = field(default_factory=dict)  # identity -> seq
    terminals: list[Terminal] = field(default_factory=list)
    gapped: bool = False  # there was a time in which nobody was connected
    started_marks: list[float] = field(default_factory=list)
    first_at: float | None = None
    counts: Counter[TaskStatus] = field(default_factory=Counter)
    moved: set[str] = field(default_factory=set)  # keys between which earlier marks moved; the owner clears it
    _deferred: bool = False  # a fold derives once, at its end
    _running: Running = field(default_factory=Running)
    _latest: tuple[float, str, str] = (0.0, "", "")  # time, id and name of the mark that is last by time
    _keys: dict[Label, str] = field(default_factory=dict)
    _labels_of_id: dict[str, set[Label]] = field(default_factory=dict)
    _labels_of_name: dict[str, set[Label]] = field(default_factory=dict)
    _labelled: dict[Label, list[tuple[Mark, Any]]] = field(default_factory=dict)

    @property
    def terminal(self) -> Terminal | None:
        """The one that decides: of the stream's the earliest, a report only when there is no other."""
        return self.terminals[0] if self.terminals else None

    @property
    def conflict(self) -> bool:
        """Whether terminal events contradict each other."""
        return len({terminal.outcome for terminal in self.terminals}) > 1

    @property
    def started_at(self) -> float | None:
        """The flow's start, else the first thing known of it. Epoch seconds."""
        return min(self.started_marks) if self.started_marks else self.first_at

    @property
    def finished_at(self) -> float | None:
        return self.terminal.at if self.terminal else None

    @property
    def execution_time(self) -> float | None:
        """Seconds: what the upstream says, else the difference of the two ends."""
        if self.terminal is None:
            return None
        if self.terminal.execution_time is not None:
            return self.terminal.execution_time
        return max(0.0, self.terminal.at - self.started_at) if self.started_at is not None else None

    @property
    def running(self) -> list[str]:
        """The names of the tasks that run."""
        return [self.tasks[key].name for key in self._running]

    @property
    def current_task(self) -> str:
        """The name of the running task that began last, else of the one that ended last."""
        if last := self._running.last:
            return self.tasks[last].name
        _, task_id, task_name = self._latest
        key = self._keys.get(Label(task_id, task_name))
        return self.tasks[key].name if key else ""


def begin(plan: Plan | None = None) -> RunState:
    """The state before any event: every planned task is pending."""
    state = RunState()
    for planned in plan.tasks if plan else ():
        state.tasks[planned.name] = TaskState(key=planned.name, name=planned.name, planned=True)
    state.counts["pending"] = len(state.tasks)
    return state


def short_error(error: Any) -> dict[str, Any]:
    """An error as rows show it: {type, message, code}, cut; whatever shape the upstream gave it."""
    if isinstance(error, dict):
        return {
            "type": str(error.get("type") or "Error")[:100],
            "message": str(error.get("message") or error.get("detail") or "")[:ERROR_TEXT],
            "code": str(error.get("code") or "")[:100],
        }
    return {"type": "Error", "message": "" if error is None else str(error)[:ERROR_TEXT], "code": ""}


def apply(state: RunState, event: Event) -> set[str]:
    """Fold one event into the state, in place. Returns the keys of the tasks that changed, came or went.

    An event that the state has seen changes nothing. The event must carry its `seq`.
    """
    if event.identity in state.seen:
        return set()
    state.seen[event.identity] = event.seq
    if not isinstance(event, StatusReport):
        state.first_at = event.at if state.first_at is None else min(state.first_at, event.at)
    match event:
        case TaskStarted():
            return _task(state, event, 0, "running", None, None)
        case TaskCompleted():
            return _task(state, event, 1, "succeeded", event.execution_time, None)
        case TaskFailed():
            return _task(state, event, 1, "failed", event.execution_time, short_error(event.error))
        case FlowCompleted():
            return _end(state, event, "succeeded", event.execution_time, event.outputs, None)
        case FlowError():
            return _end(state, event, "failed", event.execution_time, frozenset(), event.error)
        case StatusReport():
            outcome = STATUS_REPORT_OUTCOME.get(event.status)
            return _end(state, event, outcome, None, event.outputs, event.error) if outcome else set()
        case _:
            if event.event_type == "flow_started":
                state.started_marks.append(event.at)
            return set()


def mark_gap(state: RunState) -> set[str]:
    """Note that events may be missing: a task never seen may then have run. Returns the keys that changed."""
    if state.gapped:
        return set()
    state.gapped = True
    return _derive(state, state.tasks) if state.terminal else set()


def key_of(state: RunState, event: Event) -> str:
    """The key of the task that this applied event belongs to; '' when it is about the whole run."""
    if not isinstance(event, TaskStarted | TaskCompleted | TaskFailed):
        return ""
    return state._keys.get(Label(event.task_id, event.task_name), "")


def fold(events: Iterable[Event], plan: Plan | None = None, *, gapped: bool = False) -> RunState:
    """The state after all of these events."""
    state = begin(plan)
    state._deferred = True
    for event in events:
        apply(state, event)
    state._deferred = False
    _derive(state, state.tasks)
    if gapped:
        mark_gap(state)
    return state


def _task(
    state: RunState, event: Event, rank: int, status: TaskStatus, execution_time: float | None, error: Any
) -> set[str]:
    mark = Mark(event.at, rank, event.digest, event.occurrence, event.seq, status, execution_time)
    label = Label(event.task_id, event.task_name)
    if not (label.task_id or label.task_name):
        return set()
    if label not in state._keys:
        changed = _introduce(state, label)
    else:
        changed = set()
    state._labelled.setdefault(label, []).append((mark, error))
    state._latest = max(state._latest, (mark.at, label.task_id, label.task_name))
    key = state._keys[label]
    state.tasks[key].leave(mark, error)
    changed.add(key)
    return _derive(state, changed) | changed


def _introduce(state: RunState, label: Label) -> set[str]:
    """A label seen for the first time. It may tell that two labels name one task: then their marks move there.

    Returns the keys that lost or gained marks, or changed their name, by it.
    """
    related: set[Label] = set()
    for index, part in ((state._labels_of_id, label.task_id), (state._labels_of_name, label.task_name)):
        if part:
            labels = index.setdefault(part, set())
            related |= labels
            labels.add(label)
    moved: set[str] = set()
    for other in related:
        old, new = state._keys[other], _key(state, other)
        if new != old:
            state._keys[other] = new
            state.tasks[old].move(state._labelled[other], _ensure(state, new))
            moved |= {old, new}
    state._keys[label] = _key(state, label)
    _ensure(state, state._keys[label])
    state.moved |= moved
    for key in moved:
        task = state.tasks[key]
        if not task.planned and not task.marks and key != state._keys[label]:
            del state.tasks[key]
            state.counts[task.status] -= 1
            state._running.drop(key)
    named = {state._keys[label], *moved, *(state._keys[other] for other in related)} & state.tasks.keys()
    return moved | {key for key in named if _rename(state, state.tasks[key])}


def _key(state: RunState, label: Label) -> str:
    """Which task a label means, by all that is known: the planned name, else the id, else the only id of its name."""
    name = label.task_name
    if not name:
        names = {other.task_name for other in state._labels_of_id[label.task_id]} - {""}
        name = names.pop() if len(names) == 1 else ""
    if name in state.tasks and state.tasks[name].planned:
        return name
    if label.task_id:
        return label.task_id
    ids = {other.task_id for other in state._labels_of_name[name]} - {""}
    return ids.pop() if len(ids) == 1 else name


def _ensure(state: RunState, key: str) -> TaskState:
    if key not in state.tasks:
        state.tasks[key] = TaskState(key=key, name=key)
        state.counts["pending"] += 1
    return state.tasks[key]


def _rename(state: RunState, task: TaskState) -> bool:
    """A task that is no planned one is called what its events call it; the smallest where they differ."""
    before = task.name
    if not task.planned:
        labels = state._labels_of_id.get(task.key, ())
        names = {label.task_name for label in labels if state._keys[label] == task.key} - {""}
        task.name = min(names, default=task.key)
    return task.name != before


def _end(
    state: RunState,
    event: Event,
    outcome: Outcome,
    execution_time: float | None,
    outputs: frozenset[str],
    error: Any,
) -> set[str]:
    insort(
        state.terminals,
        Terminal(
            inferred=isinstance(event, StatusReport),
            at=event.at,
            digest=event.digest,
            occurrence=event.occurrence,
            seq=event.seq,
            outcome=outcome,
            execution_time=execution_time,
            outputs=outputs,
            error=None if outcome == "succeeded" else short_error(error),
        ),
    )
    return _derive(state, state.tasks)


def _derive(state: RunState, keys: Iterable[str]) -> set[str]:
    """Bring the derived fields of these tasks up to date. Returns the keys of those that came out different."""
    changed: set[str] = set()
    for key in () if state._deferred else list(keys):
        task = state.tasks.get(key)
        if task is None:
            continue
        before = (task.status, task.inferred, task.ends, task.input_seq, task.output_seq, task.error_seq)
        state.counts[task.status] -= 1
        _derive_task(task, state.terminal, state.gapped)
        state.counts[task.status] += 1
        if task.status == "running":
            state._running.put(key, task.marks[-1].at)
        else:
            state._running.drop(key)
        if before != (task.status, task.inferred, task.ends, task.input_seq, task.output_seq, task.error_seq):
            changed.add(key)
    return changed


def _derive_task(task: TaskState, terminal: Terminal | None, gapped: bool) -> None:
    now = task.before.go_on()
    now.read(task.moment)
    task.input_seq, task.output_seq, task.error_seq = now.input_seq, now.output_seq, now.error_seq
    task.ends = now.attempts
    if now.running:
        task.ends.append(_open_attempt(task, now.open_since, terminal))
    last = task.ends[-1] if task.ends else None
    if last is None and terminal is not None:
        known = task.name in terminal.outputs
        task.status = "succeeded" if known else UNSEEN_AT_END[gapped]
        task.inferred = True
        task.output_seq = terminal.seq if known else None
        task.error = None
        return
    task.status = last.status if last else "pending"
    task.inferred = last.inferred if last else False
    if task.inferred and task.status == "succeeded" and terminal is not None:
        task.output_seq = terminal.seq
    task.error = task.errors.get(task.error_seq or 0) if task.status == "failed" else None


def _at_once(marks: list[Mark], running: bool) -> list[Mark]:
    """Marks of one moment as they are read: starts first, but before them the end of an attempt that is open."""
    ends = [mark for mark in marks if mark.status != "running"]
    if not (running and ends and len(marks) > 1):
        return marks
    return [ends[0], *(mark for mark in marks if mark is not ends[0])]


def _open_attempt(task: TaskState, started_at: float | None, terminal: Terminal | None) -> Attempt:
    if terminal is None:
        return Attempt(started_at, None, "running")
    known = task.name in terminal.outputs
    finished_at = terminal.at if started_at is None else max(started_at, terminal.at)
    return Attempt(started_at, finished_at, "succeeded" if known else OPEN_AT_END[terminal.outcome], inferred=True)
