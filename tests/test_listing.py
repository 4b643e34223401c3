"""Which runs a list shows, in which order, and that each question is answered from an index."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs import listing, store
from runs.listing import Filters, Place, place_in
from runs.models import Launch, Run, SearchText
from tests.factories import make_run, make_task, make_upstream

pytestmark = pytest.mark.django_db

DAY = datetime(2026, 1, 1, tzinfo=UTC)
INDEXES = {
    "run_listed": Filters(),
    "run_listed_by_status": Filters(statuses=("failed",)),
    "run_listed_by_flow": Filters(flow_name="Nightly 1"),
    "run_listed_by_flow_status": Filters(flow_name="Nightly 1", statuses=("failed",)),
    "run_listed_by_failure": Filters(failure=1),
    "task_failed": Filters(failed_task="fetch"),
}


def made(count: int, **fields: Any) -> list[Run]:
    """Runs made an hour apart, the last one first in a list."""
    upstream = make_upstream()
    runs = [make_run(upstream=upstream, run_name=f"r{n}", **fields) for n in range(count)]
    for n, run in enumerate(runs):
        run.created_at = DAY + timedelta(hours=n)
        Run.objects.filter(pk=run.pk).update(created_at=run.created_at)
    return runs


def names(filters: Filters, **options: Any) -> list[str]:
    return [run.run_name for run in listing.runs_at(listing.places(filters, options.pop("limit", 50), **options))]


def place(run: Run) -> Place:
    return Place(run.created_at, run.pk)


# --- order and pages ----------------------------------------------------------------------------------------------


def test_a_place_is_the_same_after_it_stood_in_an_address() -> None:
    here = Place(datetime(2026, 11, 25, 3, 4, 5, 123457, tzinfo=UTC), 7)
    assert place_in(str(here)) == here


@pytest.mark.parametrize("text", ["", "7", "-", "7-", "-7", "x-7", "7-²", "9" * 18 + "-7", "1" * 30 + "-7"])
def test_what_is_no_place_is_none(text: str) -> None:
    assert place_in(text) is None


def test_the_newest_stand_first_and_pages_lead_through_all_of_them_once() -> None:
    made(7)
    found, before = [], None
    while page := listing.places(Filters(), 3, before=before):
        found += [run.run_name for run in listing.runs_at(page)]
        before = page[-1]
    assert found == [f"r{n}" for n in range(6, -1, -1)]


def test_the_way_back_gives_what_stands_right_above() -> None:
    runs = made(7)
    assert names(Filters(), after=place(runs[1]), upwards=True, limit=2) == ["r3", "r2"]
    assert names(Filters(), after=place(runs[1]), limit=2) == ["r6", "r5"]


def test_runs_made_in_the_same_moment_are_paged_by_their_numbers() -> None:
    runs = made(5)
    Run.objects.update(created_at=DAY)
    first = listing.places(Filters(), 2)
    assert [one.run_id for one in first] == [runs[4].pk, runs[3].pk]
    assert [one.run_id for one in listing.places(Filters(), 2, before=first[-1])] == [runs[2].pk, runs[1].pk]
    assert [one.run_id for one in listing.places(Filters(), 9, after=first[-1])] == [runs[4].pk]


def test_a_run_that_was_made_long_ago_stands_where_it_belongs_though_it_came_last() -> None:
    made(3)
    late = make_run(run_name="imported")
    Run.objects.filter(pk=late.pk).update(created_at=DAY - timedelta(days=1))
    assert names(Filters()) == ["r2", "r1", "r0", "imported"]
    assert names(Filters(since=DAY)) == ["r2", "r1", "r0"]
    assert names(Filters(until=DAY)) == ["imported"]


def test_several_states_are_one_list() -> None:
    runs = made(6)
    for n, run in enumerate(runs):
        Run.objects.filter(pk=run.pk).update(status=("failed", "lost", "succeeded")[n % 3])
    both = Filters(statuses=("failed", "lost"))
    assert names(both) == ["r4", "r3", "r1", "r0"]
    assert names(both, before=place(runs[4]), limit=2) == ["r3", "r1"]
    assert names(both, after=place(runs[0]), upwards=True, limit=2) == ["r3", "r1"]


# --- text ---------------------------------------------------------------------------------------------------------


def launched(inputs: object, **fields: Any) -> Run:
    run = make_run(**fields)
    Launch.objects.create(run=run, definition={}, inputs=inputs, sealed="x")
    store.write_text(run)
    return run


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("support", True),  # inside a name written as one word
        ("CUSTOMERsupport", True),
        ("late-run", True),
        ("berlin", True),  # in the inputs, however deep
        ("4711", True),
        ("refused by", True),
        ("refused support", True),  # words in any order and place
        ("refused berlin absent", False),
        ("b", True),  # one or two letters: at the beginning of a word
        ("be", True),
        ("rl", False),
        ("100%", True),
        ("10_%", False),  # means itself, nothing more
        ("'\"", True),
        ('" OR "zzz', False),
        ("ÄRGER", True),
        ("question", False),  # the name of a field is no text
    ],
)
def test_each_word_of_a_query_stands_somewhere_in_names_inputs_or_error(query: str, found: bool) -> None:
    launched(
        {"question": {"deep": ["to Berlin", 4711]}, "quote": "'\"", "share": "100%"},
        flow_name="CustomerSupport",
        run_name="late-run",
        status="failed",
        error={"type": "Ärger", "message": "refused by the upstream", "code": None},
    )
    make_run(flow_name="Other", run_name="another")
    assert names(Filters(text=query)) == (["late-run"] if found else [])


def test_a_query_of_blanks_lets_every_run_through() -> None:
    made(2)
    assert names(Filters(text="  \t ")) == ["r1", "r0"]


def test_text_is_paged_and_goes_with_the_other_filters() -> None:
    runs = made(6, flow_name="Nightly")
    Run.objects.filter(pk__in=[runs[1].pk, runs[4].pk]).update(status="failed")
    assert names(Filters(text="night"), before=place(runs[4]), limit=2) == ["r3", "r2"]
    assert names(Filters(text="night"), after=place(runs[1]), upwards=True, limit=2) == ["r3", "r2"]
    assert names(Filters(text="night", statuses=("failed",), since=DAY + timedelta(hours=2))) == ["r4"]


def test_a_run_that_goes_takes_its_text_along() -> None:
    run = make_run(run_name="gone soon")
    Run.objects.filter(pk=run.pk).delete()
    assert not SearchText.objects.filter(run_id=run.pk).exists()
    assert names(Filters(text="gone")) == []


def test_half_a_character_and_a_null_are_found_as_they_are_kept() -> None:
    launched({"odd": "before\x00after", "half": "\ud800x"}, run_name="odd")
    assert names(Filters(text="before")) == ["odd"]
    assert names(Filters(text="nothing\x00\ud800")) == []


# --- failed tasks -------------------------------------------------------------------------------------------------


def test_runs_are_found_by_the_task_that_failed_in_them_each_once() -> None:
    runs = made(4)
    make_task(runs[0], "fetch", status="failed")
    make_task(runs[1], "fetch", status="succeeded")
    make_task(runs[2], "fetch 2", status="failed")
    for key in ("a", "b"):
        make_task(runs[3], key, name="fetch", status="failed")
    assert names(Filters(failed_task="fetch")) == ["r3", "r0"]
    assert names(Filters(failed_task="fetch", text="r0")) == ["r0"]
    assert names(Filters(failed_task="fetch"), before=place(runs[3])) == ["r0"]
    assert names(Filters(failed_task="fetch", statuses=("failed",))) == []


# --- cost ---------------------------------------------------------------------------------------------------------


def plan_of(ask: Callable[[], object]) -> str:
    """How the database goes about the one question that this asks."""
    with CaptureQueriesContext(connection) as asked:
        ask()
    (query,) = asked.captured_queries
    assert "OFFSET" not in query["sql"]
    assert "COUNT(" not in query["sql"]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # A table of a few rows is read whole, whatever indexes it has; and statistics are of an empty one.
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
            cursor.execute("EXPLAIN " + query["sql"])
        else:
            cursor.execute("EXPLAIN QUERY PLAN " + query["sql"])
        return "\n".join(" ".join(map(str, row)) for row in cursor.fetchall())


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("bounds", ["first", "before", "after"])
def test_every_filter_is_answered_by_its_index_in_the_order_of_the_list(index: str, bounds: str) -> None:
    here = Place(DAY, 3)
    options: dict[str, dict[str, Any]] = {
        "first": {},
        "before": {"before": here},
        "after": {"after": here, "upwards": True},
    }
    plan = plan_of(lambda: listing.places(INDEXES[index], 51, **options[bounds]))
    assert re.search(rf"\b{index}\b", plan), plan
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan
    assert "HashAggregate" not in plan, plan


@pytest.mark.parametrize("index", ["run_listed", "run_listed_by_status", "run_listed_by_flow_status"])
def test_a_time_range_is_a_range_of_the_index(index: str) -> None:
    filters = INDEXES[index]
    ranged = Filters(filters.statuses, filters.flow_name, since=DAY, until=DAY + timedelta(days=1))
    plan = plan_of(lambda: listing.places(ranged, 51))
    found = re.search(
        rf"{index} \(.*created_at>. AND created_at<.\)|Index Cond: \(.*created_at >= .*created_at < ", plan
    )
    assert found, plan
    assert index in plan
    assert "TEMP B-TREE" not in plan, plan


def test_text_is_looked_up_and_not_read_through() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
            cursor.execute("EXPLAIN SELECT rowid FROM runs_searchtext WHERE text LIKE '%needle%'")
            assert any("searchtext_trigrams" in row[0] for row in cursor.fetchall())
            return
    for filters in (Filters(text="needle"), Filters(text="needle", statuses=("failed",))):
        plan = plan_of(lambda filters=filters: listing.places(filters, 51)).splitlines()
        assert re.search(r"SCAN runs_searchtext VIRTUAL TABLE INDEX .*M", plan[0]), plan
        assert "TEMP B-TREE" not in "\n".join(plan), plan
