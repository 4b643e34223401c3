"""A stored run as the records of its file (runs/core/archive.py): read a page at a time, however long the run."""

import json
from collections.abc import Collection, Iterator
from typing import Any

from django.db import models

from runs.core.archive import (
    EventRecord,
    GapRecord,
    LaunchRecord,
    Record,
    RejectedRecord,
    RunRecord,
    TaskRecord,
    document,
    line,
    sealed,
)
from runs.models import Event, Launch, Run

PAGE = 500
OTHERWISE = {"upstream", "created_by", "created_at", "retry_of"}  # fields of a run that are no columns of it


def records(run: Run) -> Iterator[Record]:
    """The run as it is stored now, masked. Written to meanwhile, it may not be of one piece: export what has ended."""
    yield RunRecord(
        upstream=run.upstream.name,
        created_by=run.created_by.username if run.created_by else None,
        created_at=run.created_at.timestamp(),
        retry_of=run.retry_of.run_name if run.retry_of else None,
        **_fields(RunRecord, run, OTHERWISE),
    )
    for launch in Launch.objects.filter(run=run):
        yield LaunchRecord(**_fields(LaunchRecord, launch))
    for task in run.tasks.order_by("position", "key").iterator(PAGE):
        yield TaskRecord(**_fields(TaskRecord, task))
    for gap in run.gaps.order_by("pk"):
        yield GapRecord(**_fields(GapRecord, gap))
    for frame in run.rejected.order_by("pk"):
        yield RejectedRecord(**_fields(RejectedRecord, frame))
    after = 0
    while page := list(Event.objects.after(run.pk, after, PAGE)):
        for event in page:
            yield EventRecord(payload=json.loads(event.payload), **_fields(EventRecord, event, {"payload"}))
        after = page[-1].seq


def lines(run: Run, form: str) -> Iterator[str]:
    """The text of the file, in parts. `form`: ndjson, or json for one document."""
    if form == "json":
        return document(sealed(records(run)))
    return (line(record) + "\n" for record in sealed(records(run)))


def _fields(kind: type[Record], row: models.Model, but: Collection[str] = ()) -> dict[str, Any]:
    return {name: getattr(row, name) for name in kind.__struct_fields__ if name not in but}
