"""Silent, overdue, disconnected, lost, unconfirmed and launched again: each is said with its time, and in words."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from runs.models import Launch, Run
from runs.web import render
from tests.factories import make_run, make_stream, make_workflow

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html)).strip()


def region(page: str, name: str) -> str:
    """The words of the part of the page with this id; the parts are the ones that live updates replace."""
    start = page.index(f'id="{name}"')
    end = page.index('id="failure"') if name == "banners" else page.index('id="progress"')
    return words(page[page.rindex("<", 0, start) : end])


def banners(client: Client, run: Run) -> str:
    return region(client.get(f"/runs/{run.pk}/").content.decode(), "banners")


def row(client: Client, run: Run) -> str:
    page = client.get("/").content.decode()
    start = page.index(f'id="run-{run.pk}"')
    return page[start : page.index("</tr>", start)]


def ago(seconds: float) -> float:
    return time.time() - seconds


CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "silent": ({"silent_since": 187, "current_task": "clean", "tasks_running": 1}, "Silent since", "clean runs", "3 m"),
    "disconnected": (
        {"connection": "reconnecting", "connection_since": 65},
        "Disconnected since", "check that the upstream is up", "1 m",
    ),
    "overdue": ({"overdue": True, "due_at": 7265}, "Overdue since", "nothing is stopped", "2 h"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_run_that_goes_on_tells_since_when_it_is_what_it_is(client_as: ClientAs, name: str) -> None:
    fields, begins, advice, lasts = CASES[name]
    times = {key: ago(value) for key, value in fields.items() if key.endswith(("_since", "_at"))}
    run = make_run(**{**fields, **times})
    viewer = client_as("viewer")
    said = banners(viewer, run)
    assert begins in said
    assert advice in said
    assert lasts in said
    assert not [other for other in CASES if other != name and CASES[other][1] in said]
    marks = row(viewer, run)
    assert f"i-{name}" in marks
    assert name.capitalize() in words(marks)


def test_an_inconspicuous_run_has_no_banner_and_no_mark(client_as: ClientAs) -> None:
    run, viewer = make_run(), client_as("viewer")
    assert 'class="notice' not in viewer.get(f"/runs/{run.pk}/").content.decode()
    assert "flag" not in row(viewer, run)


def test_who_is_not_connected_is_called_disconnected_and_not_silent(client_as: ClientAs) -> None:
    run = make_run(silent_since=ago(900), connection="reconnecting", connection_since=ago(60))
    said = banners(client_as("viewer"), run)
    assert "Disconnected since" in said
    assert "Silent" not in said


def test_a_deadline_is_told_before_it_passes(client_as: ClientAs) -> None:
    run = make_run(due_at=time.time() + 600)
    page = client_as("viewer").get(f"/runs/{run.pk}/").content.decode()
    assert "Due by" in region(page, "run-head")
    assert "Overdue" not in page


def test_a_run_that_ended_late_tells_by_how_much_and_ticks_no_more(client_as: ClientAs) -> None:
    run = make_run(status="succeeded", overdue=True, due_at=1000.0, finished_at=1125.0, connection="closed")
    viewer = client_as("viewer")
    assert "it ended 2 m 05 s after" in banners(viewer, run)
    assert "data-since" not in row(viewer, run)


def test_a_lost_run_says_what_is_not_known_and_what_to_do(client_as: ClientAs) -> None:
    lost = {"status": "lost", "connection": "closed", "connection_since": ago(60), "notice": "Nothing was heard."}
    viewer = client_as("viewer")
    said = banners(viewer, make_run(**lost))
    assert "Lost since" in said
    assert "Nothing was heard." in said
    assert "Re-run" in said
    assert "Re-run" not in banners(viewer, make_run(**lost, attached=True))


def test_an_unconfirmed_launch_is_told_apart_from_other_notices(client_as: ClientAs) -> None:
    run = make_run(status="launching", started_at=None, notice=f"{Run.UNCONFIRMED}: no answer came.")
    Launch.objects.create(run=run, definition={}, inputs={}, sealed="", sent_at=ago(70))
    viewer = client_as("viewer")
    said = banners(viewer, run)
    assert "Unconfirmed since" in said
    assert "1 m 10 s" in said
    assert "no answer came" in said
    assert "Unconfirmed" in words(row(viewer, run))
    other = make_run(status="launching", started_at=None, notice="The upstream cannot be reached.")
    assert "Unconfirmed" not in banners(viewer, other) + words(row(viewer, other))


# --- retries --------------------------------------------------------------------------------------------------------


@pytest.fixture
def failed() -> Run:
    return make_run(status="failed", connection="closed", workflow=make_workflow(retry_limit=2, retry_on=["Halt"]))


def retry_of(run: Run, number: int, *, wait: float | None = None, **fields: Any) -> Run:
    queued = {"status": "queued", "started_at": None, "connection": "waiting"}
    again = make_run(retry_of=run, retry_number=number, workflow=run.workflow, **{**queued, **fields})
    make_stream(again, lease=None if "status" not in fields else 10, wait=wait)
    return again


def test_a_failed_run_leads_to_its_retry_and_says_when_that_starts(client_as: ClientAs, failed: Run) -> None:
    again, viewer = retry_of(failed, 1, wait=25), client_as("viewer")
    said = banners(viewer, failed)
    assert f"Launched again by itself as run {again.pk} (1 of 2), which starts in 25 s" in said
    assert f'href="/runs/{again.pk}/"' in viewer.get(f"/runs/{failed.pk}/").content.decode()


def test_a_retry_leads_back_and_says_that_it_waits(client_as: ClientAs, failed: Run) -> None:
    again, viewer = retry_of(failed, 1, wait=25), client_as("viewer")
    said = banners(viewer, again)
    assert f"Retry 1 of 2 of run {failed.pk}, which failed." in said
    assert "It waits: it starts in 25 s" in said
    marks = words(row(viewer, again))
    assert f"Retry 1 of #{failed.pk}" in marks
    assert "starts in 25 s" in marks


def test_a_retry_that_runs_waits_no_more(client_as: ClientAs, failed: Run) -> None:
    again, viewer = retry_of(failed, 1, wait=-5, status="running"), client_as("viewer")
    assert "starts in" not in banners(viewer, failed) + banners(viewer, again) + row(viewer, again)


def test_a_retry_that_failed_leads_to_the_next_one_and_the_last_to_none(client_as: ClientAs, failed: Run) -> None:
    first = retry_of(failed, 1, status="failed")
    last = retry_of(failed, 2, status="failed")
    viewer = client_as("viewer")
    assert f"as run {first.pk} (1 of 2)" in banners(viewer, failed)
    said = banners(viewer, first)
    assert f"Retry 1 of 2 of run {failed.pk}" in said
    assert f"as run {last.pk} (2 of 2)" in said
    said = banners(viewer, last)
    assert f"Retry 2 of 2 of run {failed.pk}" in said
    assert "the last retry that its workflow allows" in said


def test_a_run_that_somebody_launched_again_is_no_retry_of_the_workflow(client_as: ClientAs, failed: Run) -> None:
    again, viewer = make_run(retry_of=failed), client_as("viewer")
    assert f"Launched again after run {failed.pk}" in banners(viewer, again)
    assert "by itself" not in banners(viewer, failed)


# --- what it costs --------------------------------------------------------------------------------------------------


def test_the_marks_of_the_list_cost_no_query_of_their_own(client_as: ClientAs, failed: Run) -> None:
    viewer, counts = client_as("viewer"), []
    viewer.get("/")  # the first page of a session enters it into the list of sessions
    for _ in range(2):
        with CaptureQueriesContext(connection) as asked:
            viewer.get("/")
        counts.append(len(asked))
        for _ in range(4):
            retry_of(failed, 1, wait=25)
            make_run(silent_since=ago(900), overdue=True, due_at=ago(5))
    assert counts[0] == counts[1]


def test_a_live_update_costs_one_question_more_for_a_failed_run_only(failed: Run) -> None:
    going = make_run()
    counts = []
    for run in (going, failed):
        with CaptureQueriesContext(connection) as asked:
            render.run_changes(run.pk, 0, 9999, "")  # a page that is ahead gets everything
        counts.append(sum('"retry_of_id" =' in query["sql"] for query in asked.captured_queries))
    assert counts == [0, 1]


def test_what_becomes_of_a_run_goes_to_its_page_and_to_the_list(failed: Run) -> None:
    run = make_run(rev=3, silent_since=ago(900))
    found = render.run_changes(run.pk, 0, 2, "")
    assert found
    assert "Silent" in found[0]
    listed = render.list_changes(render.Listed(((run.pk, 2),)), None)
    assert listed
    assert "i-silent" in listed
