"""What is kept of a run while somebody watches it.

The outline is kept by the run's feed and read on from where it was, so that a change in a run of ten thousand tasks
costs what has changed.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from runs.core.graph import Graph
from runs.core.outline import Item, Outline
from runs.core.timeline import Stretch
from runs.models import Gap, Run, Task
from runs.prepared import Prepared
from runs.web.axis import Axis

KNOWN_SHAPES = 64  # windows whose rows are remembered, so that only what is missing is sent
MOST_TASKS = 200  # rows of tasks that changed last; no window has more
IDLE_SECONDS = 1.0  # at least, between two looks for idle stretches while a run goes on
IDLE_REST = 50  # and so many times as long as the look took
_COUNTERS = {field.attname for field in Run._meta.concrete_fields if field.attname.startswith("tasks_")}
_MOVING = _COUNTERS | {"rev", "last_seq", "current_task", "forecast"}  # of a run, with every event
_STANDING = [field.attname for field in Run._meta.concrete_fields if field.attname not in _MOVING]
_changed = Prepared(
    lambda run_id, rev: Task.objects.filter(run_id=run_id, rev__gt=rev).order_by("rev")[: MOST_TASKS + 1], 2
)
_COLUMNS = ("pk", "key", "name", "position", "status", "error_seq", "started_at", "finished_at", "rev")


@dataclass(slots=True)
class Kept:
    """What is kept of a run while somebody watches it. Whoever uses it holds `lock`."""

    run_id: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    outline: Outline = field(default_factory=Outline)
    rev: int = -1  # the outline holds every change up to this one
    graph: Graph | str | None = None
    run: Run | None = None  # as it was read last
    rings: int = -1  # that the run's feed had heard before that reading
    tasks: OrderedDict[int, Task] = field(default_factory=OrderedDict)  # those that changed last, as of `rev`
    _reset_rev: int | None = None
    _standing: tuple[Any, ...] = ()
    _stands_since: int = 0
    _shapes: OrderedDict[str, tuple[str, ...]] = field(default_factory=OrderedDict)
    _idle: tuple[Stretch, ...] = ()
    _idle_at: float = 0.0  # when to look again, monotonic

    def catch_up(self, rev: int, reset_rev: int) -> None:
        """Read what has changed. `rev`, `reset_rev`: the run's, read before this."""
        if reset_rev != self._reset_rev:
            self.outline, self.rev, self._reset_rev = Outline(), -1, reset_rev
            self.tasks.clear()
        changed = _changed(self.run_id, self.rev) if self.rev >= 0 else None
        if changed is None or len(changed) > MOST_TASKS:  # then without what only a row in sight needs
            self.tasks.clear()
            many = Task.objects.filter(run_id=self.run_id, rev__gt=self.rev).values_list(*_COLUMNS)
            items = [Item(*row) for row in many.iterator(chunk_size=5000)]
        else:
            items = [Item(*(getattr(task, name) for name in _COLUMNS)) for task in changed]
            for task in changed:
                self.tasks[task.pk] = task
                self.tasks.move_to_end(task.pk)
            while len(self.tasks) > MOST_TASKS:
                self.tasks.popitem(last=False)
        self.outline.put(items)
        self.rev = max(rev, self.rev, *(item.rev for item in items))

    def is_whole(self, since: int, rev: int, rings: int) -> bool:
        """Whether a page at this place lacks nothing, known without reading: its run was read after the last ring."""
        if self.rings != rings:  # asked first: another thread sets the run before it
            return False
        return self.run is not None and (self.run.last_seq, self.run.rev) == (since, rev)

    def stands_since(self, run: Run, gaps: Iterable[Gap]) -> int:
        """At which rev, at the latest, the run had become what it is but for its counters."""
        standing = (*(getattr(run, name) for name in _STANDING), *((gap.pk, gap.ended_at) for gap in gaps))
        if standing != self._standing:
            self._standing, self._stands_since = standing, run.rev
        return self._stands_since

    def idle(self, run: Run, axis: Axis) -> tuple[Stretch, ...]:
        """Where nothing ran. That looks at every task: while the run goes on, not often."""
        now = time.monotonic()
        if run.ended or now > self._idle_at:
            self._idle = self.outline.idle(axis.start)
            took = time.monotonic() - now
            self._idle_at = now + max(IDLE_SECONDS, IDLE_REST * took)
        return self._idle

    def remember(self, shape: str, rows: tuple[str, ...]) -> None:
        self._shapes[shape] = rows
        self._shapes.move_to_end(shape)
        if len(self._shapes) > KNOWN_SHAPES:
            self._shapes.popitem(last=False)

    def rows_of(self, shape: str) -> tuple[str, ...]:
        """Of a page that has this shape; none where that is not remembered."""
        return self._shapes.get(shape, ())
