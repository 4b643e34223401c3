"""Time left, overrunning and silent tasks as the server words them: header, task rows, list, API."""

import re
import time
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from msgspec import structs

from runs.core.progress import Forecast
from runs.facts import progress_of
from runs.models import Run
from runs.templatetags import pace
from runs.web import board, render
from runs.web.scene import Scene
from tests.factories import make_run, make_task, make_token

pytestmark = pytest.mark.django_db
SignIn = Callable[[str], Client]
NOW = 1_760_000_600.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def foreseen(**fields: Any) -> dict[str, Any]:
    """A forecast made now: 62 %, about 1 m 40 s left."""
    plain: dict[str, Any] = {
        "at": NOW, "fraction": 0.62, "rate": 0.001, "most": 0.8, "low_at": NOW + 100, "high_at": NOW + 115,
        "low_rest": 30.0, "high_rest": 40.0, "overruns_at": NOW + 20,
    }  # fmt: skip
    return structs.asdict(Forecast(**plain | fields))


def going(**fields: Any) -> Run:
    counts = {"planned": True, "tasks_total": 20, "tasks_succeeded": 11, "tasks_running": 1, "tasks_pending": 8}
    return make_run(**{"started_at": NOW - 60, "forecast": foreseen(), **counts, **fields})


def words_of(html: str) -> str:
    shown = re.sub(r"<(\w+)[^>]*\shidden[^>]*>.*?</\1>", " ", html)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", "", shown)))


def head(run: Run) -> str:
    return words_of(render.region("head", run, **render.facts_of(Scene(run))))


def test_the_header_says_step_share_and_time_left() -> None:
    assert "Step 12 of 20 · 62 % · about 1 m 40 s left" in head(going())


def test_where_median_and_ninetieth_percentile_are_far_apart_it_says_both() -> None:
    forecast = foreseen(low_at=NOW + 70, high_at=NOW + 115)
    assert "62 % · about 1–2 m left" in head(going(forecast=forecast))


def test_it_goes_on_between_two_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    run = going(forecast=foreseen(at=NOW - 50, low_at=NOW + 50, high_at=NOW + 65, overruns_at=NOW + 9))
    assert "67 % · about 50 s left" in head(run)


def test_overrunning_is_said_in_the_header() -> None:
    late = foreseen(overruns_at=NOW - 1)
    assert "about 1 m 40 s left, overrunning" in head(going(forecast=late))
    last = foreseen(overruns_at=NOW - 1, low_at=NOW - 20, high_at=NOW - 2, low_rest=0.0, high_rest=0.0)
    words = head(going(forecast=last))
    assert "62 % · overrunning" in words
    assert "left" not in words, "it is not nearly done for ever"


def test_without_a_forecast_steps_are_counted_and_no_time_is_promised() -> None:
    words = head(going(forecast=None))
    assert "Step 12 of 20 · 55 %" in words
    assert "left" not in words


@pytest.mark.parametrize("status", sorted(Run.ENDED))
def test_of_a_run_that_has_ended_no_time_is_promised(status: str) -> None:
    words = head(going(status=status))
    assert "left" not in words
    assert "overrunning" not in words


def test_without_a_plan_the_time_left_is_that_of_the_whole_run() -> None:
    run = going(planned=False, forecast=foreseen(fraction=None))
    assert "11 done, 1 running · about 1 m 40 s left" in head(run)


@pytest.mark.parametrize(("connection_", "frozen"), [("live", 0), ("connecting", 0), ("reconnecting", 1)])
def test_while_the_upstream_is_away_it_stands_still(connection_: str, frozen: int) -> None:
    assert str(pace.pace(going(connection=connection_))).count("data-frozen") == frozen


def test_the_list_shows_the_same(client_as: SignIn) -> None:
    going(current_task="clean")
    words = words_of(client_as("viewer").get("/").content.decode())
    assert "12 of 20" in words
    assert "about 1 m 40 s left" in words
    Run.objects.update(forecast=foreseen(overruns_at=NOW - 1))
    words = words_of(client_as("viewer").get("/").content.decode())
    assert "overrunning" in words
    assert "left" not in words, "a column has room for one of them"


def test_the_api_tells_it_in_seconds() -> None:
    run = going()
    client = Client(headers={"Authorization": f"Bearer {make_token()}"})
    make_task(run, "clean", usual_p50=40.0, usual_p90=50.0)
    found = client.get(f"/api/v1/runs/{run.pk}").json()
    assert found["step"]["current"] == 12
    assert found["progress"] == {
        "completed": 11, "total": 20, "fraction": 0.62,
        "eta_seconds": 100.0, "eta_low": 100.0, "eta_high": 115.0, "overrunning": False,
    }  # fmt: skip
    assert client.get("/api/v1/runs").json()["items"][0]["progress"] == found["progress"]
    assert client.get(f"/api/v1/runs/{run.pk}/tasks").json()["items"][0]["usual_duration"] == 40.0


def test_the_step_is_the_same_wherever_it_stands() -> None:
    run = make_run(planned=True, tasks_total=8, tasks_succeeded=2, tasks_running=3, tasks_pending=3)
    assert pace.step(run) == "5 of 8"
    assert progress_of(run, NOW).step.current == 5
    assert "Step 5 of 8" in head(run)


# --- tasks --------------------------------------------------------------------------------------------------------


def running(since: float, **fields: Any) -> str:
    """The row of a task that began `since` seconds ago and usually takes 1 m, in nine of ten runs 1 m 30 s."""
    run = going()
    started = NOW - since
    attempts = [{"started_at": started, "finished_at": None, "status": "running", "inferred": False}]
    usual = {"usual_p50": 60.0, "usual_p90": 90.0}
    task = make_task(run, "fetch", **{"status": "running", "attempts": attempts, **usual, **fields})
    return board.task_row(task, board.Drawing(Scene(run)))


def test_a_task_within_what_is_usual_is_not_marked() -> None:
    assert "overrunning" not in words_of(running(90))


def test_a_task_beyond_its_ninetieth_percentile_is_marked() -> None:
    row = running(92)
    assert "overrunning" in words_of(row)
    assert 'title="It usually takes 1 m, and in nine of ten runs at most 1 m 30 s."' in row


def test_a_task_that_has_said_nothing_for_long_is_marked_with_how_long() -> None:
    assert "no word for 4 m; usually done in 1 m" in words_of(running(250))


@pytest.mark.parametrize("fields", [{"usual_p50": None, "usual_p90": None}, {"status": "succeeded"}])
def test_under_three_past_runs_or_after_its_end_a_task_is_never_marked(fields: dict[str, Any]) -> None:
    assert "t-pace" not in running(9_000, **fields)


def test_no_page_and_no_update_reads_what_was_learned(client_as: SignIn) -> None:
    run, client = going(), client_as("viewer")
    make_task(run, "fetch", status="running", usual_p50=1.0, usual_p90=2.0)
    with CaptureQueriesContext(connection) as seen:
        client.get(f"/runs/{run.pk}/")
        client.get("/")
        render.run_changes(run.pk, 0, -1, "")
    assert not [one["sql"] for one in seen if "usualtimes" in one["sql"]]


def test_the_drawer_says_what_is_usual(client_as: SignIn) -> None:
    run = going()
    make_task(run, "fetch", usual_p50=60.0, usual_p90=90.0)
    make_task(run, "new")
    client = client_as("viewer")
    drawer = client.get(f"/runs/{run.pk}/task/?key=fetch").content.decode()
    assert "Usually 1 m 00 s" in re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", drawer))
    assert "at most 1 m 30 s" in drawer
    assert "Usually" not in client.get(f"/runs/{run.pk}/task/?key=new").content.decode()
