"""Reads and writes whose SQL is not made by Django do what Django's would."""

import time
from typing import Any

import pytest

from runs.models import EpochNow, Event, Run, Stream
from runs.prepared import Prepared
from runs.updating import update
from tests.factories import make_event, make_run, make_stream

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "values",
    [
        {"status": "failed", "finished_at": 12.5, "conflict": True, "error": {"type": "E", "message": "\x00 'quoted'"}},
        {"error": None, "finished_at": None, "run_name": "%s", "rev": 9},
        {"forecast": {"fraction": 0.5, "low": None}},
    ],
)
def test_an_update_leaves_the_row_that_djangos_would(values: dict[str, Any]) -> None:
    ours, theirs, other = make_run(error={"type": "before"}), make_run(error={"type": "before"}), make_run()
    untouched = Run.objects.values().get(pk=other.pk)
    assert update(Run, values, id=ours.pk) == 1
    Run.objects.filter(pk=theirs.pk).update(**values)
    row, expected = (Run.objects.values(*values).get(pk=run.pk) for run in (ours, theirs))
    assert row == expected
    assert Run.objects.values().get(pk=other.pk) == untouched


def test_an_update_counts_what_it_found_by_all_of_its_columns() -> None:
    stream = make_stream(make_run(), owner="one", epoch=3)
    before = time.time() - 60
    for owner, epoch, found in (("two", 3, 0), ("one", 2, 0), ("one", 3, 1)):
        assert update(Stream, {"alive_at": EpochNow()}, run_id=stream.run_id, owner=owner, epoch=epoch) == found
    alive_at = Stream.objects.get(pk=stream.pk).alive_at
    assert alive_at is not None
    assert alive_at > before


def test_a_prepared_query_gives_the_rows_of_its_numbers() -> None:
    run = make_run()
    for _ in range(3):
        make_event(run)
    after = Prepared(lambda run_id, seq: Event.objects.filter(run_id=run_id, seq__gt=seq).order_by("seq"), 2)
    assert [event.seq for event in after(run.pk, 1)] == [2, 3]
    assert [event.seq for event in after(run.pk, 0)] == [1, 2, 3]
    assert after(run.pk + 1, 0) == []
