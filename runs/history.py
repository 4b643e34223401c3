"""Any past of a run: its stored events folded once, and of each task what every event made of it.

The fold is the one of core/state.py, gone on with as events come. To stand at an event is then to look up what each
task was by then: backwards costs what forwards costs, and a run of 20,000 events is folded once and not at each step.
"""

import copy
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, Final, NamedTuple

from runs import store
from runs.core import plan as plans
from runs.core.events import Event as CoreEvent
from runs.core.outline import Item
from runs.core.plan import Plan
from runs.core.state import Attempt, RunState, TaskState, apply, begin, mark_gap
from runs.models import Gap, Launch, Run, Task

MOST_EVENTS: Final = 50_000  # the first ones of a run, over which one can go back; up to 2 kB each
MOST_KEPT: Final = 50_000  # events, or versions of tasks, of all runs whose histories are kept in this process
CHUNK: Final = 5000


class Folding:
    """A run's events folded one by one."""

    def __init__(self, plan: Plan | None, gaps: Iterable[int]) -> None:
        """`gaps`: after which events nobody was connected."""
        self.state: RunState = begin(plan)
        self.first_gap: float = min(gaps, default=inf)

    def add(self, event: CoreEvent) -> set[str]:
        """The keys of the tasks that changed, came or went by this event, or by a gap that lies before it."""
        changed = mark_gap(self.state) if self.first_gap < event.seq else set()
        changed |= apply(self.state, event) | self.state.moved
        self.state.moved.clear()
        return changed


class Version(NamedTuple):
    """A task as an event left it. Of `earlier`, to which the fold goes on adding, the first `known` attempts."""

    item: Item  # its `rev` is the number of that event
    planned: bool
    inferred: bool
    error: dict[str, Any] | None
    input_seq: int | None
    output_seq: int | None
    earlier: list[Attempt]
    known: int
    ends: list[Attempt]

    @property
    def state(self) -> TaskState:
        """The same as the fold had it, without the marks."""
        task = TaskState(self.item.key, self.item.name, self.planned)
        task.before.attempts, task.ends = self.earlier[: self.known], self.ends
        task.status, task.inferred, task.error = self.item.status, self.inferred, self.error  # type: ignore[assignment]
        task.input_seq, task.output_seq, task.error_seq = self.input_seq, self.output_seq, self.item.error_seq
        return task


class Then(NamedTuple):
    """A run right after one of its events."""

    run: Run  # a copy that is never saved
    moment: float  # epoch seconds: the latest time that any event up to then has told
    gaps: list[Gap]
    versions: dict[str, Version]  # of the tasks that were there, by key
    plan: Plan | None

    def tasks(self, keys: Iterable[str]) -> dict[int, Task]:
        """Their rows as they would have been stored, by pk. Asks the database once, for what no event tells."""
        found = [self.versions[key] for key in keys if key in self.versions]
        stored = Task.objects.in_bulk([version.item.pk for version in found])
        return {version.item.pk: self._task(version, stored.get(version.item.pk)) for version in found}

    def _task(self, version: Version, stored: Task | None) -> Task:
        item = version.item
        task = stored or Task(pk=item.pk, run_id=self.run.pk)
        for name, value in store.task_row(version.state, self.plan, item.position).items():
            setattr(task, name, value)
        task.rev = item.rev
        return task


class History:
    """Of one run, as far as it has been asked for. Whoever uses it holds `lock`."""

    def __init__(self, run: Run) -> None:
        launch = Launch.objects.filter(run=run).only("definition").first()
        self.lock = threading.Lock()
        self._run_id = run.pk
        self._asked_at = run.created_at.timestamp()
        self._plan = plans.read(launch.definition) if launch else None
        self.begin(())

    def begin(self, gaps: Iterable[int]) -> None:
        """As before the first event. `gaps`: after which events nobody was connected."""
        self._folding = Folding(self._plan, gaps)
        self._versions: dict[str, tuple[list[int], list[Version | None]]] = {}
        self._places: dict[str, int] = {}
        self._next_place = 0
        self._pks: dict[str, int] = {}
        self._moments = array("d", [self._asked_at])
        self._runs: list[tuple[Any, ...]] = []
        self._names: tuple[str, ...] = ()
        self._noted = 0
        self._read_pks()
        self._note(0, self._folding.state.tasks)

    def __len__(self) -> int:
        """How many events are folded."""
        return len(self._moments) - 1

    @property
    def weight(self) -> int:
        """What it holds: as a rule each event makes one version, but one event may change every task."""
        return max(len(self), self._noted)

    def learn(self, gaps: Sequence[int]) -> bool:
        """Take up gaps that are new; False where one lies before what is folded, which is then wrong."""
        first = min(gaps, default=inf)
        if first != self._folding.first_gap and min(first, self._folding.first_gap) < len(self):
            return False
        self._folding.first_gap = first
        return True

    def reach(self, seq: int) -> None:
        """Fold on, up to this event."""
        while len(self) < seq:
            first = len(self)
            events = list(store.read_events(self._run_id, after=first, until=min(seq, first + CHUNK)))
            if not events:
                return
            self._read_pks()  # after the events: a task is stored with the event that brings it
            for event in events:
                changed = self._folding.add(event)
                self._moments.append(max(event.at, self._moments[-1]) if len(self) else event.at)
                self._note(event.seq, changed)

    def at(self, run: Run, seq: int, gaps: Sequence[Gap]) -> Then:
        """The run right after event `seq`, which has been reached. `run`: as it is stored now."""
        versions = {}
        for key, (seqs, found) in self._versions.items():
            place = bisect_right(seqs, seq)
            if place and (version := found[place - 1]):
                versions[key] = version
        moment = self._moments[seq]
        before = [gap for gap in gaps if gap.after_seq < seq]
        return Then(self._run_then(run, seq, moment, len(before)), moment, before, versions, self._plan)

    def _run_then(self, run: Run, seq: int, moment: float, gap_count: int) -> Run:
        """What no event tells is left out: connections, notices, forecasts, the quarantine."""
        then = copy.copy(run)
        told = dict(zip(self._names, self._runs[seq], strict=True))
        begun = Run.Status.RUNNING if seq else Run.Status.QUEUED if run.attached else Run.Status.LAUNCHING
        told["status"] = told["status"] or begun
        told |= {"notice": "", "forecast": None, "silent_since": None, "connection_since": None, "rejected_count": 0}
        told["overdue"] = run.overdue and run.due_at is not None and run.due_at <= moment
        told |= {"last_seq": seq, "gap_count": gap_count}
        for name, value in told.items():
            setattr(then, name, value)
        then.connection = Run.Connection.CLOSED if then.ended else Run.Connection.LIVE
        return then

    def _read_pks(self) -> None:
        self._pks.update(Task.objects.filter(run_id=self._run_id).values_list("key", "pk"))

    def _note(self, seq: int, keys: Iterable[str]) -> None:
        """Keep what this event made of these tasks and of the run."""
        state = self._folding.state
        changed = list(keys)
        if len(changed) > 1:  # several that come at once stand in the order of the fold
            places = {key: place for place, key in enumerate(state.tasks)}
            changed.sort(key=lambda key: places.get(key, -1))
        for key in changed:
            task = state.tasks.get(key)
            seqs, found = self._versions.setdefault(key, ([], []))
            seqs.append(seq)
            found.append(self._version(seq, task) if task else None)
            self._noted += 1
            if task is None:
                self._places.pop(key, None)
        row = store.run_row(state, self._plan is not None)
        row = {"status": row.pop("status", None), **row}
        self._names = tuple(row)
        self._runs.append(tuple(row.values()))

    def _version(self, seq: int, task: TaskState) -> Version:
        if task.key not in self._places:
            self._places[task.key] = self._next_place
            self._next_place += 1
        place, earlier, ends = self._places[task.key], task.before.attempts, task.ends
        attempts = (earlier[:1] or ends[:1]) + (ends[-1:] or earlier[-1:])  # the first and the last
        return Version(
            Item(
                # One that turned out to be another has no row any more.
                pk=self._pks.get(task.key, -1 - place),
                key=task.key,
                name=task.name,
                position=place,
                status=task.status,
                error_seq=task.error_seq,
                started_at=attempts[0].started_at if attempts else None,
                finished_at=attempts[-1].finished_at if attempts else None,
                rev=seq,
            ),
            task.planned,
            task.inferred,
            task.error,
            task.input_seq,
            task.output_seq,
            earlier,
            len(earlier),
            ends,
        )


class Histories:
    """The histories of this process that were asked for last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # one folds at a time: what it makes is large, and its time is the process's
        self._kept: OrderedDict[tuple[Any, ...], History] = OrderedDict()

    def then(self, run: Run, seq: int) -> Then:
        """The run right after event `seq`: one that it has, and at most MOST_EVENTS. `run`: as it is stored now."""
        gaps = list(Gap.objects.filter(run=run).order_by("pk")) if run.gap_count else []
        after = [gap.after_seq for gap in gaps]
        key = (run.pk, run.created_at, run.reset_rev)
        with self._lock:
            history = self._kept.get(key)
        if history is None:
            fresh = History(run)
            with self._lock:
                history = self._kept.setdefault(key, fresh)
        with history.lock:
            if not history.learn(after):
                history.begin(after)
            if len(history) < seq:
                with self._turn:
                    self._make_room(key, seq - len(history))
                    history.reach(seq)
            then = history.at(run, seq, gaps)
        self._make_room(key, 0)
        return then

    def _make_room(self, key: tuple[Any, ...], events: int) -> None:
        """For so many events more of this history, which is now the one that was asked for last."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(one.weight for one in self._kept.values()) + events > MOST_KEPT:
                self._kept.popitem(last=False)


HISTORIES = Histories()
