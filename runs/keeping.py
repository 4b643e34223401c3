"""Whole runs that come in from a file and go when they are old: beside runs/store.py the only writer of their rows.

What is followed is never touched here.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import batched
from typing import Any

import msgspec
from django.db import models, transaction
from django.db.models import F, Q, QuerySet, Sum

from accounts.models import User
from runs import store
from runs.core.archive import (
    EventRecord,
    GapRecord,
    LaunchRecord,
    Record,
    RejectedRecord,
    RunRecord,
    TaskRecord,
)
from runs.fields import dumps
from runs.models import Event, Gap, Launch, Rejected, Run, Stream, Task, Upstream, Workflow

RUNS_AT_ONCE = 50  # in one transaction, when they are removed
EVENTS_AT_ONCE = 5000  # rows in one statement

TABLES: dict[type[Record], type[models.Model]] = {
    LaunchRecord: Launch,
    TaskRecord: Task,
    GapRecord: Gap,
    RejectedRecord: Rejected,
    EventRecord: Event,
}


class Removed(msgspec.Struct, frozen=True):
    runs: int
    events: int


# --- coming in ------------------------------------------------------------------------------------------------


def insert_run(upstream: Upstream, records: Iterable[Record]) -> Run:
    """The run of these records, ended and followed by nobody, in one transaction with whatever `records` raises.

    What it was launched with is known masked only, so it cannot be launched again. Its workflow, its user and the run
    that it retries are found by their names, where they are here. Raises IntegrityError when the run is here already.
    """
    known = iter(records)
    with transaction.atomic():
        run = _insert(upstream, next(known))
        for page in batched(known, 500):
            for kind, model in TABLES.items():
                rows = [model(run=run, **_columns(record)) for record in page if type(record) is kind]
                model._default_manager.bulk_create(rows)
        Stream.objects.create(run=run, active=False)
        store.note_ends([run.pk])
    return run


def _insert(upstream: Upstream, record: Record) -> Run:
    assert isinstance(record, RunRecord)
    flow = {"upstream": upstream, "flow_name": record.flow_name}
    fields = _columns(record) | flow
    fields["created_by"] = User.objects.filter(username=record.created_by).first() if record.created_by else None
    fields["retry_of"] = Run.objects.filter(**flow, run_name=record.retry_of).first() if record.retry_of else None
    run = Run(workflow=Workflow.objects.filter(**flow).first(), rev=1, **fields)
    run.save(force_insert=True)
    Run.objects.filter(pk=run.pk).update(created_at=datetime.fromtimestamp(record.created_at, UTC))
    return run


def _columns(record: Record) -> dict[str, Any]:
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    match record:
        case TaskRecord():
            return fields | {"rev": 1, "added_rev": 1}
        case EventRecord():
            return fields | {"payload": dumps(record.payload)}
        case _:
            return fields


# --- going ----------------------------------------------------------------------------------------------------


def removable(before: float) -> QuerySet[Run]:
    """Runs that had ended, and were let go by their follower, before this time in epoch seconds."""
    then = datetime.fromtimestamp(before, UTC)
    closed = Q(connection_since__lt=before) | Q(connection_since=None, created_at__lt=then)
    followed = Q(stream__active=True)
    return Run.objects.filter(closed, created_at__lt=then, status__in=Run.ENDED).exclude(followed).order_by("pk")


def count(before: float) -> Removed:
    """What `remove` would remove."""
    found = removable(before).order_by().aggregate(runs=models.Count("pk"), events=Sum("last_seq"))
    return Removed(found["runs"], found["events"] or 0)


def remove(before: float) -> Iterator[Removed]:
    """Remove them with all that hangs on them, oldest first; yields what each short transaction has removed.

    A run of very many events goes in parts, its newest events first and the run itself at the end: interrupted, it
    stands there shortened until the next time.
    """
    while ids := list(removable(before).values_list("pk", flat=True)[:RUNS_AT_ONCE]):
        for run_id in ids:
            yield from _shorten(before, run_id)
        with transaction.atomic():
            mine = _locked(before, ids)
            events = Event.objects.filter(run_id__in=mine).delete()[0]
            Run.objects.filter(pk__in=mine).delete()
        if not mine:
            return  # all of them have been taken up meanwhile; the next time will find what is left
        yield Removed(len(mine), events)


def _shorten(before: float, run_id: int) -> Iterator[Removed]:
    last: int = Run.objects.filter(pk=run_id).values_list("last_seq", flat=True).first() or 0
    while last > EVENTS_AT_ONCE:
        with transaction.atomic():
            if not _locked(before, [run_id]):
                return
            last -= EVENTS_AT_ONCE
            gone = Event.objects.filter(run_id=run_id, seq__gt=last).delete()[0]
            Run.objects.filter(pk=run_id).update(last_seq=last, rev=F("rev") + 1, reset_rev=F("rev") + 1)
        yield Removed(0, gone)


def _locked(before: float, ids: list[int]) -> list[int]:
    """Those of the runs that may still go. Their streams are locked, so that nobody can claim one meanwhile."""
    list(Stream.objects.select_for_update().filter(run_id__in=ids).order_by("run_id").values_list("run_id"))
    return list(removable(before).filter(pk__in=ids).values_list("pk", flat=True))
