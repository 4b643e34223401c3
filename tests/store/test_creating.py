"""A run is created whole: its row, its planned tasks, what it is launched with, and a stream that waits."""

from typing import Any

import pytest
from django.db import IntegrityError

from runs import store
from runs.models import EpochNow, Launch, Run, Stream, Task, Upstream
from tests.factories import make_workflow
from tests.store.conftest import Create

pytestmark = pytest.mark.django_db


def test_a_planned_run_has_a_pending_row_for_each_task_in_the_plan_order(create: Create) -> None:
    run = create("fetch", "clean", "report")
    rows = Task.objects.filter(run=run).order_by("position")
    assert [(row.key, row.position, row.status, row.depends, row.rev) for row in rows] == [
        ("fetch", 0, "pending", [], 1),
        ("clean", 1, "pending", ["fetch"], 1),
        ("report", 2, "pending", ["clean"], 1),
    ]
    assert (run.status, run.planned, run.attached, run.tasks_total, run.tasks_pending) == ("queued", True, False, 3, 3)
    assert Launch.objects.get(run=run).sent_at is None


def test_an_attached_run_has_no_task_and_nothing_to_launch(create: Create) -> None:
    run = create()
    assert (run.attached, run.planned, run.tasks_total) == (True, False, 0)
    assert not Task.objects.filter(run=run).exists()
    assert not Launch.objects.filter(run=run).exists()


def test_it_waits_for_anybody_from_the_start(create: Create) -> None:
    stream = Stream.objects.get(run=create("a"))
    assert (stream.active, stream.owner, stream.epoch, stream.lease_until) == (True, "", 0, None)


def test_its_workflows_deadline_is_counted_by_the_clock_of_the_database_from_when_it_may_begin(
    create: Create, upstream: Upstream
) -> None:
    workflow = make_workflow(upstream=upstream, deadline_seconds=60.0)
    for pause in (0.0, 30.0):
        run = create("a", workflow=workflow, pause=pause)
        left = Run.objects.annotate(now=EpochNow()).get(pk=run.pk)
        assert left.due_at is not None
        assert pause + 55 < left.due_at - left.now <= pause + 60  # type: ignore[attr-defined]
    assert Run.objects.get(pk=create("a").pk).due_at is None


def test_one_that_has_to_wait_is_claimed_by_nobody_before_unless_somebody_stops_it(create: Create) -> None:
    waiting = create("a", pause=60.0)
    assert store.claim("first", 10) == []
    store.request_stop(waiting.pk)
    assert [claim.run_id for claim in store.claim("first", 10)] == [waiting.pk]


def test_an_address_that_is_taken_is_refused_and_leaves_nothing_behind(create: Create) -> None:
    create("a", run_name="tonight")
    before = (Run.objects.count(), Task.objects.count(), Stream.objects.count())
    with pytest.raises(IntegrityError):
        create("a", "b", run_name="tonight")
    assert (Run.objects.count(), Task.objects.count(), Stream.objects.count()) == before


@pytest.mark.parametrize("size", [1, 501, 1200])
def test_a_plan_of_any_size_is_written_whole(create: Create, size: int) -> None:
    run = create(*(f"task {number}" for number in range(size)))
    assert Task.objects.filter(run=run).count() == run.tasks_total == size


def test_what_it_is_launched_with_comes_back_exactly(create: Create, upstream: Any) -> None:
    inputs = {"nul": "\x00", "half": "\ud800", "huge": 10**400, "text": "ü"}
    run = create("a", run_name="odd")
    Launch.objects.filter(run=run).update(inputs=inputs)
    assert Launch.objects.get(run=run).inputs == inputs
