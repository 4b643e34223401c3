"""What is understood across runs: how a flow's runs went, kinds of failures, the way from run to run, saved views."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from runs.models import Failure, Run, SavedView
from runs.web import flow_head, render, runs_list
from runs.web.forms import filters_in
from runs.web.render import Listed, list_changes
from tests.factories import START, make_run, make_task, make_upstream, make_user, make_workflow

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db


# --- how one flow's runs went -------------------------------------------------------------------------------------


def ran(seconds: float, status: str = "succeeded", **fields: Any) -> Run:
    return make_run(status=status, execution_time=seconds, **fields)


def test_above_one_flows_runs_stand_its_failure_rate_and_durations(client_as: ClientAs) -> None:
    upstream = make_upstream()
    workflow = make_workflow(upstream=upstream, flow_name="Nightly")
    for seconds in (10.0, 20.0, 90.0):
        ran(seconds, upstream=upstream)
    ran(1.0, "failed", upstream=upstream)
    ran(500.0, flow_name="Other", upstream=upstream)
    answer = client_as("viewer").get("/?flow=Nightly")
    page, head = answer.content.decode(), answer.context["head"]
    assert "25 % " in page
    assert "1 of 4" in page
    assert "20.0 s" in page
    assert "1 m 30 s" in page
    assert f'href="/workflows/{workflow.pk}/"' in page
    assert [one["status"] for one in head["strip"]] == ["succeeded", "succeeded", "succeeded", "failed"]
    drawn = json.loads(head["chart"])
    assert drawn["succeeded"] == [10.0, 20.0, 90.0, None]
    assert drawn["failed"] == [None, None, None, 1.0]
    assert len(drawn["runs"]) == len(drawn["at"]) == 4


def test_without_a_flow_or_without_runs_nothing_stands_above(client_as: ClientAs) -> None:
    make_run()
    viewer = client_as("viewer")
    for address in ("/", "/?flow=Unknown"):
        page = viewer.get(address).content.decode()
        assert "flow-head" not in page
        assert "uplot" not in page


def test_a_flow_whose_runs_all_go_on_has_no_figures_and_no_chart(client_as: ClientAs) -> None:
    make_run()
    make_run()
    answer = client_as("viewer").get("/?flow=Nightly")
    assert answer.context["head"]["chart"] is None
    assert "<dd>—</dd>" in answer.content.decode()


def test_a_flows_figures_cost_the_same_however_many_runs_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_head, "LAST_RUNS", 3)
    for number in range(9):
        ran(float(number))
    with CaptureQueriesContext(connection) as asked:
        head = flow_head.flow_head("Nightly")
    assert head
    assert head["summary"].ended == 3
    assert head["summary"].p95 == 8.0
    assert len(asked) == 2
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(
            ("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + asked.captured_queries[0]["sql"]
        )
        plan = "\n".join(" ".join(map(str, row)) for row in cursor.fetchall())
    assert "run_listed_by_flow" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan


# --- kinds of failures --------------------------------------------------------------------------------------------


def failure(run: Run, number: int, count: int) -> Failure:
    kind = Failure.objects.create(
        upstream=run.upstream, flow_name=run.flow_name, fingerprint=f"{run.pk:032x}", task_name="fetch", count=count,
        error={"type": "Timeout", "message": "<b>late</b>"}, first_at=START, last_at=START,
    )  # fmt: skip
    Run.objects.filter(pk=run.pk).update(failure=kind, failure_number=number)
    return kind


def test_the_failure_card_says_which_time_it_is_and_leads_to_the_others(client_as: ClientAs) -> None:
    run = make_run(status="failed", error={"type": "Timeout", "message": "late"})
    kind = failure(run, 14, 20)
    page = client_as("viewer").get(f"/runs/{run.pk}/").content.decode()
    assert "The 14th time, first seen " in page
    assert f'href="/?failure={kind.pk}">All 20 runs that failed so' in page
    assert 'datetime="2025-10-09T08:53:20.000Z"' in page


@pytest.mark.parametrize(("count", "said"), [(1, "failed so."), (3, "3 times by now</a>.")])
def test_the_first_failure_of_its_kind_is_called_that(client_as: ClientAs, count: int, said: str) -> None:
    run = make_run(status="failed", error={"type": "Timeout", "message": "late"})
    failure(run, 1, count)
    page = client_as("viewer").get(f"/runs/{run.pk}/").content.decode()
    assert "The first time that Nightly failed so" in page
    assert said in page


def test_a_failed_run_from_before_failures_were_counted_has_its_card_as_ever(client_as: ClientAs) -> None:
    run = make_run(status="failed", error={"type": "Timeout", "message": "late"})
    page = client_as("viewer").get(f"/runs/{run.pk}/").content.decode()
    assert "late" in page
    assert "time that" not in page


def test_the_list_of_one_failure_says_which_and_holds_its_runs_alone(client_as: ClientAs) -> None:
    upstream = make_upstream()
    run, other = (make_run(upstream=upstream, run_name=name, status="failed") for name in ("so", "otherwise"))
    kind = failure(run, 1, 1)
    failure(other, 1, 1)
    answer = client_as("viewer").get(f"/?failure={kind.pk}")
    page = answer.content.decode()
    assert [one.run_name for one in answer.context["runs"]] == ["so"]
    assert "&lt;b&gt;late" in page
    assert f'name="failure" value="{kind.pk}"' in page, "the other filters keep it"


@pytest.mark.parametrize("value", ["x", "0", "-1", "9" * 30])
def test_what_is_no_failure_is_said_and_left_out(client_as: ClientAs, value: str) -> None:
    make_run(run_name="there")
    answer = client_as("viewer").get(f"/?failure={value}")
    assert [run.run_name for run in answer.context["runs"]] == ["there"]
    assert "This filter is left out" in answer.content.decode()


def test_runs_are_filtered_by_the_name_of_a_task_that_failed(client_as: ClientAs) -> None:
    make_task(make_run(run_name="there"), "fetch", status="failed")
    make_task(make_run(run_name="elsewhere"), "clean", status="failed")
    assert [run.run_name for run in client_as("viewer").get("/?failed=fetch").context["runs"]] == ["there"]


# --- from run to run ----------------------------------------------------------------------------------------------


def test_the_way_to_the_run_before_and_after_keeps_the_filters(client_as: ClientAs) -> None:
    upstream = make_upstream()
    runs = [make_run(upstream=upstream, status=status) for status in ("failed", "running", "failed", "running")]
    viewer = client_as("viewer")

    def to(run: Run, way: str, query: str = "") -> str:
        return viewer.get(f"/runs/{run.pk}/{way}/{query}").headers["Location"]

    assert to(runs[2], "older") == f"/runs/{runs[1].pk}/"
    assert to(runs[2], "older", "?state=failed&before=7") == f"/runs/{runs[0].pk}/"
    assert to(runs[0], "newer", "?state=failed") == f"/runs/{runs[2].pk}/"
    assert to(runs[0], "newer", "?q=nightly") == f"/runs/{runs[1].pk}/"
    assert to(runs[2], "newer", "?state=failed") == f"/runs/{runs[2].pk}/"
    assert (
        "There is no newer run in the list with these filters." in viewer.get(f"/runs/{runs[2].pk}/").content.decode()
    )


def test_the_run_page_leads_to_its_neighbours(client_as: ClientAs) -> None:
    upstream = make_upstream()
    runs = [make_run(upstream=upstream) for _ in range(3)]
    page = client_as("viewer").get(f"/runs/{runs[1].pk}/").content.decode()
    assert f'href="/runs/{runs[1].pk}/older/"' in page
    assert f'href="/runs/{runs[1].pk}/newer/"' in page


# --- saved views --------------------------------------------------------------------------------------------------


def save(client: Client, name: str, query: str) -> str:
    return client.post("/views/", {"name": name, "query": query}).headers["Location"]


def test_filters_are_kept_under_a_name_and_stand_in_the_menu(client_as: ClientAs) -> None:
    viewer = client_as("viewer")
    assert save(viewer, " Bad nights ", "state=failed&state=lost&q=&before=1-2&nonsense=1") == (
        "/?state=failed&state=lost"
    )
    page = viewer.get("/?state=failed&state=lost").content.decode()
    assert 'href="/?state=failed&amp;state=lost" aria-current="true">Bad nights</a>' in page
    assert "is kept" in page


def test_a_name_that_is_in_use_gets_the_new_filters(client_as: ClientAs) -> None:
    viewer = client_as("viewer")
    save(viewer, "mine", "state=failed")
    save(viewer, "mine", "q=Berlin+%26+more")
    assert SavedView.objects.get().query == "q=Berlin+%26+more"


@pytest.mark.parametrize(("name", "query"), [("", "state=failed"), (" \x00", "state=failed"), ("mine", "before=1-2")])
def test_a_view_needs_a_name_and_filters(client_as: ClientAs, name: str, query: str) -> None:
    save(client_as("viewer"), name, query)
    assert not SavedView.objects.exists()


def test_nobody_keeps_views_without_end(client_as: ClientAs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_list, "MOST_VIEWS", 2)
    viewer = client_as("viewer")
    for name in ("a", "b", "c", "a"):
        save(viewer, name, "state=failed")
    assert sorted(SavedView.objects.values_list("name", flat=True)) == ["a", "b"]


def test_views_are_their_owners_alone(client_as: ClientAs) -> None:
    theirs = SavedView.objects.create(user=make_user(), name="theirs", query="state=failed")
    viewer = client_as("admin")
    assert "theirs" not in viewer.get("/").content.decode()
    assert viewer.post(f"/views/{theirs.pk}/delete/").status_code == 404
    assert SavedView.objects.exists()


def test_a_view_that_is_removed_leaves_the_list_as_it_was(client_as: ClientAs) -> None:
    viewer = client_as("viewer")
    save(viewer, "mine", "state=failed")
    assert viewer.post(f"/views/{SavedView.objects.get().pk}/delete/").headers["Location"] == "/?state=failed"
    assert not SavedView.objects.exists()


# --- new runs of a list that is filtered --------------------------------------------------------------------------


def page_of(*runs: Run, query: str = "", floor: str = "", fresh: str = "0") -> Listed:
    return Listed(tuple((run.pk, run.rev) for run in runs), query, floor, fresh)


def fresh(page: Listed) -> str | None:
    """How many new runs the next message says; None when there is none."""
    found = list_changes(page, filters_in(page.query))
    return found.split('name="fresh" value="')[1].split('"')[0] if found else None


def test_new_runs_that_the_filters_hide_are_not_offered() -> None:
    old = make_run(status="failed")
    page = page_of(old, query="state=failed")
    make_run()
    assert fresh(page) is None
    make_run(status="failed")
    assert fresh(page) == "1"
    assert fresh(page_of(old, query="state=failed", fresh="1")) is None, "it was told already"


def test_a_run_that_comes_to_fit_the_filters_is_new_to_the_list() -> None:
    going = make_run()
    old = make_run(status="failed")
    page = page_of(old, query="state=failed")
    Run.objects.filter(pk=going.pk).update(status="failed")
    assert fresh(page) == "1"


def test_what_stands_below_the_page_is_not_new() -> None:
    runs = [make_run() for _ in range(4)]
    floor = runs_list.Place(runs[2].created_at, runs[2].pk)
    assert fresh(page_of(runs[2], runs[3], floor=str(floor))) is None
    make_run()
    assert fresh(page_of(runs[2], runs[3], floor=str(floor))) == "1"


def test_a_row_that_no_longer_fits_stays_and_is_patched() -> None:
    run = make_run()
    page = page_of(run, query="state=running")
    Run.objects.filter(pk=run.pk).update(status="succeeded", rev=run.rev + 1)
    found = list_changes(page, filters_in(page.query))
    assert found
    assert f'hx-target="#run-{run.pk}"' in found
    assert "Succeeded" in found


def test_very_many_new_runs_are_not_counted_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "MOST_FRESH", 2)
    for _ in range(3):
        make_run()
    assert fresh(page_of()) == "2+"


def test_a_list_that_does_not_count_now_gets_its_rows_alone() -> None:
    run = make_run(rev=3)
    make_run()
    assert list_changes(page_of(run), None) is None
    found = list_changes(Listed(((run.pk, 2),)), None)
    assert found
    assert 'name="fresh" value="0"' in found
