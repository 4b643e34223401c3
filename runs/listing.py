"""Which runs a list shows, and in which order: filters, and pages by the place of a run. Reads only.

Nothing here counts or skips rows, so a page costs the same wherever it is. Each query finds the places alone, straight
from an index; the rows are then read by their ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from django.db.models import Exists, OuterRef

from runs.core.searching import needles_of
from runs.models import Run, SearchText, Task

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Place(NamedTuple):
    """Where a run stands in a list: runs made at the same moment stand by their numbers.

    In a list by number `at` means nothing.
    """

    at: datetime
    run_id: int

    @property
    def microseconds(self) -> int:
        """Since 1970."""
        return (self.at - EPOCH) // timedelta(microseconds=1)

    def __str__(self) -> str:
        """For an address: `microseconds-run`."""
        return f"{self.microseconds}-{self.run_id}"


def place_in(text: str) -> Place | None:
    """A place as an address has it; None where there is none."""
    moment, _, run_id = text.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (moment, run_id)):
        return None
    try:
        return Place(EPOCH + timedelta(microseconds=int(moment)), int(run_id))
    except OverflowError:
        return None


@dataclass(frozen=True, slots=True)
class Filters:
    """What a run must be to be shown. Empty ones let every run through."""

    statuses: tuple[str, ...] = ()  # any of them
    flow_name: str = ""  # exactly
    text: str = ""  # each of its words, in names, inputs or error
    since: datetime | None = None  # made then or later
    until: datetime | None = None  # made before then
    failed_task: str = ""  # name of a task that failed in the run, exactly
    failure: int | None = None  # number of a Failure

    @property
    def by_number(self) -> bool:
        """Whether the list is in order of the runs' numbers, not of when they were made: what finds runs by text or by
        task knows the numbers alone. The two orders differ only where runs were imported.
        """
        return bool(needles_of(self.text) or self.failed_task)

    def one_status_each(self) -> list[Self]:
        """One status' newest runs come straight from an index; several in one query would have to be sorted."""
        return [replace(self, statuses=(status,)) for status in self.statuses] or [self]


def places(
    filters: Filters, limit: int, *, before: Place | None = None, after: Place | None = None, upwards: bool = False
) -> list[Place]:
    """At most `limit` places between `after` and `before`, newest first; `upwards`: the oldest of them."""
    found: list[Place] = []
    for one in filters.one_status_each():
        query = _between(_matching(one), one, before, after)
        rows = (query.reverse() if upwards else query)[:limit]
        found += [Place(EPOCH, *row) for row in rows] if filters.by_number else [Place(*row) for row in rows]
    found.sort(reverse=not upwards)
    return found[:limit][:: -1 if upwards else 1]


def runs_at(found: Sequence[Place]) -> list[Run]:
    """Their runs in the same order; one that was removed meanwhile is left out."""
    rows = Run.objects.listed().in_bulk([place.run_id for place in found])
    return [rows[place.run_id] for place in found if place.run_id in rows]


def _matching(filters: Filters) -> Any:
    """(created_at, id) of the runs that fit, newest first; in a list by number (id,), from what finds them fastest."""
    if not filters.by_number:
        return _narrowed(Run.objects, filters, "").order_by("-created_at", "-id").values_list("created_at", "id")
    failed = Task.objects.filter(status=Task.Status.FAILED, name=filters.failed_task)
    needles = needles_of(filters.text)
    found: Any
    if not needles:
        found = failed.distinct()
    elif not filters.failed_task:
        found = SearchText.objects.filter(text__holds=needles)
    else:
        found = SearchText.objects.filter(Exists(failed.filter(run_id=OuterRef("run_id"))), text__holds=needles)
    return _narrowed(found, filters, "run__").order_by("-run_id").values_list("run_id")


def _narrowed(query: Any, filters: Filters, to_run: str) -> Any:
    wanted = {
        "status__in": filters.statuses,
        "flow_name": filters.flow_name,
        "created_at__gte": filters.since,
        "created_at__lt": filters.until,
        "failure_id": filters.failure,
    }
    if len(filters.statuses) == 1:
        wanted["status"], wanted["status__in"] = filters.statuses[0], ()
    return query.filter(**{f"{to_run}{name}": value for name, value in wanted.items() if value not in ("", (), None)})


def _between(query: Any, filters: Filters, before: Place | None, after: Place | None) -> Any:
    if filters.by_number:
        bounds = {"run_id__lt": before and before.run_id, "run_id__gt": after and after.run_id}
        return query.filter(**{name: value for name, value in bounds.items() if value is not None})
    if before:
        query = query.filter(created_at__lte=before.at).exclude(created_at=before.at, id__gte=before.run_id)
    if after:
        query = query.filter(created_at__gte=after.at).exclude(created_at=after.at, id__lte=after.run_id)
    return query
