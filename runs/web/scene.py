"""What a run's page is drawn from: the run as it is now, or as it stood right after one of its events.

Whoever draws asks a scene and not the tables of the run: so both are drawn by the same functions.
"""

import time
from collections.abc import Collection, Mapping
from functools import cached_property

from django.db.models import QuerySet

from runs.core.outline import Item
from runs.history import HISTORIES
from runs.models import Event, Gap, Run, Task
from runs.web.axis import Axis, axis_of
from runs.web.kept import Kept


class Scene:
    """The run as it is now."""

    at: int | None = None  # the event right after which this is; None: now

    def __init__(self, run: Run, kept: Kept | None = None, *, guest: bool = False) -> None:
        """`kept`: what is kept of the run from one drawing to the next. `guest`: drawn for somebody who may see this
        run and nothing else.
        """
        self.run, self.kept, self.guest = run, kept or Kept(run.pk), guest
        self.now = time.time()

    def catch_up(self) -> None:
        """Bring the outline up to date."""
        self.kept.catch_up(self.run.rev, self.run.reset_rev)

    @cached_property
    def axis(self) -> Axis:
        return axis_of(self.run, self.now)

    @cached_property
    def gaps(self) -> list[Gap]:
        return list(Gap.objects.filter(run=self.run).order_by("pk")) if self.run.gap_count else []

    @property
    def events(self) -> QuerySet[Event]:
        """What has been received by then, without payloads."""
        return Event.objects.heads().filter(run_id=self.run.pk, seq__lte=self.run.last_seq)

    def tasks(self, items: Collection[Item]) -> Mapping[int, Task]:
        """Their rows by pk, and others; a task that has just gone has none. Asks the database for those not kept."""
        known = self.kept.tasks
        unknown = [item.pk for item in items if item.pk not in known]
        return {**known, **Task.objects.in_bulk(unknown)} if unknown else known

    def task(self, key: str) -> Task | None:
        return self.run.tasks.filter(key=key).first()

    def first_failed_task(self) -> Task | None:
        return self.run.first_failed_task()

    def failed_keys(self) -> list[str]:
        """In the order of the page."""
        failed = self.run.tasks.filter(status=Task.Status.FAILED)
        return list(failed.order_by("position").values_list("key", flat=True))


class Past(Scene):
    """The run right after event `at`; `run` is as it stood then."""

    def __init__(self, stored: Run, at: int, *, guest: bool = False) -> None:
        self._then = HISTORIES.then(stored, at)
        super().__init__(self._then.run, guest=guest)
        self.at, self.now, self.gaps = at, self._then.moment, self._then.gaps
        self._items = [version.item for version in self._then.versions.values()]
        self.kept.outline.put(self._items)

    def catch_up(self) -> None:
        """Nothing comes to a past."""

    def tasks(self, items: Collection[Item]) -> Mapping[int, Task]:
        return self._then.tasks([item.key for item in items])

    def task(self, key: str) -> Task | None:
        return next(iter(self._then.tasks([key]).values()), None)

    def first_failed_task(self) -> Task | None:
        failed = min(self._failed(), key=lambda item: (item.finished_at or 0.0, item.position), default=None)
        return self.task(failed.key) if failed else None

    def failed_keys(self) -> list[str]:
        return [item.key for item in sorted(self._failed(), key=lambda item: item.position)]

    def _failed(self) -> list[Item]:
        return [item for item in self._items if item.status == Task.Status.FAILED]
