"""The runs list: filters and pages stand in the address, and cost the same however many runs there are."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs.listing import Place
from runs.models import Run
from runs.web import runs_list
from tests.factories import make_event, make_run, make_task, make_upstream, make_user

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db


def shown(client: Client, address: str = "/") -> list[str]:
    """The names of the runs on the page, from top to bottom."""
    return [run.run_name for run in client.get(address).context["runs"]]


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_list, "PAGE_SIZE", 3)


def made(count: int) -> list[Run]:
    upstream = make_upstream()
    return [make_run(upstream=upstream, run_name=f"r{number}") for number in range(count)]


def test_runs_stand_newest_first_with_state_flow_and_who(client_as: ClientAs) -> None:
    make_run(run_name="old", status="succeeded")
    make_run(run_name="new", created_by=make_user("operator", username="ada"))
    answer = client_as("viewer").get("/")
    page = answer.content.decode()
    assert page.index("new") < page.index(">old<")
    assert "Succeeded" in page
    assert "i-succeeded" in page
    assert ">ada<" in page.replace("\n", "").replace(" ", "")


def test_a_visitor_is_sent_to_the_sign_in(client: Client) -> None:
    assert client.get("/?state=failed").headers["Location"].startswith("/sign-in/?next=/%3Fstate%3Dfailed")


def test_several_states_let_any_of_them_through(client_as: ClientAs) -> None:
    for status in ("failed", "lost", "succeeded"):
        make_run(run_name=status, status=status)
    assert set(shown(client_as("viewer"), "/?state=failed&state=lost")) == {"failed", "lost"}


def test_the_flow_must_fit_exactly_and_the_text_anywhere(client_as: ClientAs) -> None:
    make_run(flow_name="Nightly", run_name="a")
    make_run(flow_name="Nightly two", run_name="b", error={"type": "Halt", "message": "bad records"})
    viewer = client_as("viewer")
    assert shown(viewer, "/?flow=Nightly") == ["a"]
    assert shown(viewer, "/?q=nightly") == ["b", "a"]
    assert shown(viewer, "/?q=bad+records") == ["b"]


def test_time_is_bounded_by_since_until_and_within(client_as: ClientAs) -> None:
    for name, hours in (("now", 0), ("yesterday", 20), ("week", 150)):
        run = make_run(run_name=name)
        Run.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(hours=hours))
    viewer = client_as("viewer")
    assert shown(viewer, "/?within=1h") == ["now"]
    assert shown(viewer, "/?within=24h") == ["now", "yesterday"]
    until = (timezone.now() - timedelta(hours=10)).strftime("%Y-%m-%dT%H:%M")
    assert shown(viewer, f"/?within=24h&until={until}") == ["yesterday"]
    assert shown(viewer, f"/?until={until}Z") == ["yesterday", "week"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=blue", "no state “blue”"),
        ("since=tomorrow", "Not a time"),
        ("since=0001-01-01T00:00%2B14:00", "Not a time"),
        ("until=9999-12-31T23:59-12:00", "Not a time"),
        ("within=1y", "none of the times"),
        ("q=%00", "Null characters"),
    ],
)
def test_what_is_wrong_in_the_address_is_said_and_left_out(client_as: ClientAs, query: str, said: str) -> None:
    make_run(run_name="there")
    answer = client_as("viewer").get(f"/?{query}")
    assert answer.status_code == 200
    assert said in answer.content.decode()
    assert [run.run_name for run in answer.context["runs"]] == ["there"]


@pytest.mark.parametrize("cursor", ["before=x", "after=-1", "before=" + "9" * 400, "after=%00", "before=²"])
def test_a_cursor_that_is_none_breaks_nothing(client_as: ClientAs, cursor: str) -> None:
    made(1)
    assert shown(client_as("viewer"), f"/?{cursor}") == ["r0"]


def test_pages_lead_to_older_runs_and_back_without_losing_a_filter(client_as: ClientAs, small_pages: None) -> None:
    made(8)
    viewer = client_as("viewer")
    first = viewer.get("/?q=r").context
    assert [run.run_name for run in first["runs"]] == ["r7", "r6", "r5"]
    assert first["newer"] == ""
    page = viewer.get("/?q=r").content.decode()
    assert f"?q=r&amp;before={first['older']}" in page
    second = viewer.get(f"/?q=r&before={first['older']}").context
    assert [run.run_name for run in second["runs"]] == ["r4", "r3", "r2"]
    third = viewer.get(f"/?q=r&before={second['older']}").context
    assert [run.run_name for run in third["runs"]] == ["r1", "r0"]
    assert third["older"] == ""
    back = viewer.get(f"/?q=r&after={third['newer']}").context
    assert [run.run_name for run in back["runs"]] == ["r4", "r3", "r2"]
    assert viewer.get(f"/?q=r&after={back['newer']}").context["first_page"]


def test_several_states_are_paged_as_one_list(client_as: ClientAs, small_pages: None) -> None:
    upstream = make_upstream()
    for number in range(7):
        make_run(upstream=upstream, run_name=f"r{number}", status=("failed", "lost", "succeeded")[number % 3])
    viewer = client_as("viewer")
    address = "/?state=failed&state=lost"
    first = viewer.get(address).context
    assert [run.run_name for run in first["runs"]] == ["r6", "r4", "r3"]
    second = viewer.get(f"{address}&before={first['older']}").context
    assert [run.run_name for run in second["runs"]] == ["r1", "r0"]
    last = second["runs"][-1]
    back = viewer.get(f"{address}&after={Place(last.created_at, last.pk - 1)}").context
    assert [run.run_name for run in back["runs"]] == ["r3", "r1", "r0"]


def test_a_run_that_came_meanwhile_moves_no_older_page(client_as: ClientAs, small_pages: None) -> None:
    made(5)
    viewer = client_as("viewer")
    older = viewer.get("/").context["older"]
    make_run(run_name="late")
    assert shown(viewer, f"/?before={older}") == ["r1", "r0"]


def test_the_list_asks_the_same_few_questions_for_one_run_and_for_many(client_as: ClientAs) -> None:
    viewer = client_as("viewer")
    viewer.get("/")  # a session's first use in a minute is noted
    counts = []
    for number in range(2):
        for _ in range(1 + 20 * number):
            run = make_run(created_by=make_user("operator"))
            make_task(run)
            make_event(run)
        with CaptureQueriesContext(
            connection,
        ) as asked:
            viewer.get("/")
        counts.append(len(asked))
        text = " ".join(query["sql"] for query in asked.captured_queries)
        assert "runs_event" not in text, "payloads have no place in a list"
        assert "runs_task" not in text
        assert "runs_launch" not in text
        assert "COUNT(" not in text
        assert "OFFSET" not in text
    assert counts[0] == counts[1] <= 6  # session, user, places, runs, flow names, views


def test_htmx_gets_the_table_alone_and_caches_keep_the_two_apart(client_as: ClientAs) -> None:
    make_run(run_name="there")
    answer = client_as("viewer").get("/?state=running", headers={"HX-Request": "true"})
    page = answer.content.decode()
    assert page.lstrip().startswith('<div id="runs-table"')
    assert "there" in page
    assert "<html" not in page
    assert "HX-Request" in answer.headers["Vary"]


def test_before_the_first_run_an_operator_gets_the_button_that_makes_one(client_as: ClientAs) -> None:
    page = client_as("operator").get("/").content.decode()
    assert "No run yet" in page
    assert "Launch the first run" in page


def test_before_the_first_run_a_viewer_reads_who_can_launch(client_as: ClientAs) -> None:
    page = client_as("viewer").get("/").content.decode()
    assert "No run yet" in page
    assert "An operator can launch the first one" in page
    assert "Launch the first run" not in page


def test_filters_that_hide_everything_can_be_cleared(client_as: ClientAs) -> None:
    make_run()
    page = client_as("viewer").get("/?q=nowhere").content.decode()
    assert "No run fits these filters" in page
    assert 'href="/">Clear filters' in page


def test_an_attached_run_claims_no_total(client_as: ClientAs) -> None:
    make_run(attached=True, planned=False, tasks_total=2, tasks_succeeded=2)
    page = client_as("viewer").get("/").content.decode()
    assert "2 done" in page
    assert "2 of 2" not in page


def test_what_came_from_elsewhere_stands_as_text(client_as: ClientAs) -> None:
    evil = "<script>alert(1)</script>"
    make_run(
        flow_name=evil,
        run_name=f'"{evil}',
        status="failed",
        current_task=evil,
        notice=evil,
        error={"type": evil, "message": evil},
    )
    page = client_as("viewer").get("/", {"q": evil, "flow": evil}).content.decode()
    assert "alert(1)" in page
    assert evil not in page


@pytest.mark.parametrize("error", ["a text", ["a list"], 7, {"message": None}, {"message": {"deep": 1}}])
def test_an_error_of_any_shape_leaves_the_list_standing(client_as: ClientAs, error: object) -> None:
    make_run(status="failed", error=error)
    assert client_as("viewer").get("/").status_code == 200
    assert json.loads(json.dumps(error)) == Run.objects.get().error


@pytest.mark.parametrize("time", [-1e18, 0.0, 1e18, float(2**62)])
def test_a_time_that_no_calendar_holds_leaves_the_list_standing(client_as: ClientAs, time: float) -> None:
    make_run(started_at=time)
    make_run(started_at=time, finished_at=time, status="succeeded")
    assert client_as("viewer").get("/").status_code == 200


def test_the_list_has_no_inline_script_or_style(client_as: ClientAs) -> None:
    make_run(planned=True, tasks_total=3, tasks_succeeded=1, tasks_running=1, tasks_pending=1)
    page = client_as("operator").get("/").content.decode()
    assert "style=" not in page
    assert "<style" not in page
    assert " onclick" not in page
    assert page.count("<script") == page.count("<script src=")
