"""The failure card says what changed since the flow last succeeded."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from runs.models import Launch, Run
from runs.web.since_good import MOST_SHOWN, since_good
from tests.factories import make_run, make_task, make_upstream

pytestmark = pytest.mark.django_db

SignIn = Callable[[str], Client]
T0 = datetime(2026, 11, 24, tzinfo=UTC)


def launched(status: str, minute: int, inputs: dict[str, Any], tasks: list[Any] | None = None, **fields: Any) -> Run:
    run = make_run(status=status, finished_at=1.0, **fields)
    created_at = T0 + timedelta(minutes=minute)
    Run.objects.filter(pk=run.pk).update(created_at=created_at)
    definition = {"flow_name": run.flow_name, "run_name": run.run_name, "tasks": tasks or [], "default_inputs": inputs}
    Launch.objects.create(run=run, definition=definition, inputs=inputs)
    return Run.objects.get(pk=run.pk)


def test_inputs_and_tasks_that_changed_since_the_last_good_run_are_told() -> None:
    upstream = make_upstream()
    launched("succeeded", 0, {"tolerance": 9}, upstream=upstream)
    good = launched("succeeded", 1, {"tolerance": 0.1}, [{"name": "fetch", "url": "a"}], upstream=upstream)
    launched("failed", 2, {"tolerance": 7}, upstream=upstream)
    run = launched("failed", 3, {"tolerance": 0.5, "new": "x"}, [{"name": "fetch", "url": "b"}], upstream=upstream)
    launched("succeeded", 4, {"tolerance": 8}, upstream=upstream)
    launched("succeeded", 2, {"tolerance": 8}, upstream=upstream, flow_name="Other")
    launched("succeeded", 2, {"tolerance": 8}, upstream=make_upstream())
    found = since_good(run)
    assert found.run == good
    assert found.changes is not None
    assert (found.changes.more, found.changes.counted) == (0, True)
    assert [tuple(one) for one in found.changes.shown] == [
        ("inputs.tolerance", "0.1", "0.5"),
        ("inputs.new", "", '"x"'),
        ("tasks[fetch].url", '"a"', '"b"'),
    ]


def test_of_many_differences_the_first_are_shown_and_the_others_counted() -> None:
    upstream = make_upstream()
    launched("succeeded", 0, {f"n{n}": 0 for n in range(50)}, upstream=upstream)
    found = since_good(launched("failed", 1, {f"n{n}": "y" * 500 for n in range(50)}, upstream=upstream)).changes
    assert found is not None
    assert (len(found.shown), found.more) == (MOST_SHOWN, 50 - MOST_SHOWN)
    assert len(found.shown[0].after) < 200


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (None, "No run of Nightly has succeeded before."),
        ({"a": 1}, "was launched with the same inputs and the same definition"),
        ({"a": "<b>"}, "<del>&quot;&lt;b&gt;&quot;</del>"),
    ],
)
def test_the_card_says_what_changed_or_that_nothing_did(
    client_as: SignIn, before: dict[str, Any] | None, words: str
) -> None:
    upstream = make_upstream()
    if before is not None:
        launched("succeeded", 0, before, upstream=upstream)
    run = launched("failed", 1, {"a": 1}, upstream=upstream)
    make_task(run, "fetch", status="failed", error={"type": "E", "message": "no"})
    assert words in client_as("viewer").get(f"/runs/{run.pk}/").content.decode()


def test_of_a_run_that_was_started_elsewhere_it_is_said_that_nothing_is_known(client_as: SignIn) -> None:
    upstream = make_upstream()
    launched("succeeded", 0, {}, upstream=upstream)
    run = make_run(upstream=upstream, status="failed", attached=True)
    html = client_as("viewer").get(f"/runs/{run.pk}/").content.decode()
    assert "what both were launched with is not known here" in html


def test_the_last_good_run_is_found_by_an_index() -> None:
    run = launched("failed", 1, {})
    with CaptureQueriesContext(connection) as seen:
        since_good(run)
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + seen[0]["sql"])
            plan = " ".join(str(row) for row in cursor.fetchall())
        assert "run_listed_by_flow_status" in plan
        assert "TEMP B-TREE" not in plan
