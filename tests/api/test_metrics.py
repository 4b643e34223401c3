"""What Prometheus reads: who may, what stands there, and that reading it costs the same whatever has been."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from alerts.models import Delivery
from api import metrics
from runs import store
from runs.core.figures import Figures
from runs.models import Happening, Run, RunQuerySet, UnsentTrace, UsualTimes
from tests.alerts.making import happen, make_rule, said
from tests.api.conftest import problem
from tests.factories import make_run, make_stream, make_token, make_upstream, make_worker

pytestmark = pytest.mark.django_db


def scrape(client: Client | None = None) -> HttpResponse:
    headers = {} if client else {"Authorization": f"Bearer {make_token()}"}
    answer = (client or Client()).get("/metrics", headers=headers)
    assert isinstance(answer, HttpResponse)
    return answer


def samples() -> dict[tuple[str, ...], float]:
    """(name, label values by the names of the labels…) -> value; of our own metrics."""
    answer = scrape()
    assert answer.status_code == 200, answer.content
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
        if sample.name.startswith("stepline_")
    }


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_a_token_of_any_role_and_a_session_read(client_as: Callable[[str], Client], role: str) -> None:
    with_token = Client().get("/metrics", headers={"Authorization": f"Bearer {make_token(role)}"})
    for answer in (with_token, scrape(client_as(role))):
        assert answer.status_code == 200
        assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer stl_wrong"}, {"Authorization": "Basic YTpi"}])
def test_nobody_else_does(headers: dict[str, str]) -> None:
    answer = Client().get("/metrics", headers=headers)
    problem(answer, 401, "unauthorized")  # type: ignore[arg-type]
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_database_that_does_not_answer_is_no_page_of_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(RunQuerySet, "unfinished", fail)
    problem(scrape(), 503, "unavailable")


# --- what stands there ----------------------------------------------------------------------------------------------


def test_an_idle_site_tells_zeros_and_its_own_process() -> None:
    text = scrape().content.decode()
    found = samples()
    assert found == {
        ("stepline_streams_unfollowed",): 0,
        ("stepline_retries_waiting",): 0,
        ("stepline_runs_unfinished", "queued"): 0,
        ("stepline_runs_unfinished", "launching"): 0,
        ("stepline_runs_unfinished", "running"): 0,
        ("stepline_runs_silent",): 0,
        ("stepline_runs_overdue",): 0,
        ("stepline_oldest_queued_run_age_seconds",): 0,
        ("stepline_alert_deliveries", "waiting"): 0,
        ("stepline_alert_deliveries", "failed"): 0,
        ("stepline_traces_unsent", "waiting"): 0,
        ("stepline_traces_unsent", "failing"): 0,
        ("stepline_traces_unsent", "refused"): 0,
        ("stepline_browsers",): 0,
    }
    assert "process_resident_memory_bytes" in text
    assert "python_info" in text


def test_what_goes_on_is_counted() -> None:
    make_worker("worker-1", age=2)
    make_worker('odd "name"\\', age=95)
    make_stream(make_run(silent_since=time.time() - 900))
    make_stream(make_run(connection="reconnecting", silent_since=time.time() - 900, overdue=True))
    make_stream(make_run(overdue=True), owner="gone", lease=-60)
    make_stream(make_run(status=Run.Status.QUEUED, connection="waiting", retry_number=1), lease=None, wait=60)
    make_stream(make_run(status=Run.Status.SUCCEEDED, overdue=True, silent_since=1.0), active=False)
    found = samples()
    assert {key: value for key, value in found.items() if key[0] == "stepline_streams"} == {
        ("stepline_streams", "live", "worker-1"): 1,
        ("stepline_streams", "reconnecting", "worker-1"): 1,
        ("stepline_streams", "live", ""): 1,
        ("stepline_streams", "waiting", ""): 1,
    }
    assert found["stepline_streams_unfollowed",] == 1
    assert found["stepline_retries_waiting",] == 1
    assert found["stepline_runs_unfinished", "running"] == 3
    assert found["stepline_runs_unfinished", "queued"] == 1
    assert found["stepline_runs_silent",] == 1, "who is not connected hears nothing"
    assert found["stepline_runs_overdue",] == 2
    assert found["stepline_worker_beat_age_seconds", "worker-1"] == pytest.approx(2, abs=30)
    assert found["stepline_worker_beat_age_seconds", 'odd "name"\\'] == pytest.approx(95, abs=30)


def test_a_worker_tells_what_it_has_done_with_each_beat() -> None:
    figures = Figures()
    figures.commits += 2
    figures.wrote(3, 0, 0.004)
    figures.wrote(1, 2, 0.3)
    figures.wrote(0, 1, None)
    figures.wrote(1, 0, 1000.0)
    store.renew("worker-1", [], [], msgspec.structs.asdict(figures))
    make_worker("before the update")  # whose row says nothing of it
    found = samples()
    assert found["stepline_events_total", "worker-1"] == 5
    assert found["stepline_commits_total", "worker-1"] == 2
    assert found["stepline_rejected_frames_total", "worker-1"] == 3
    name = "stepline_commit_lag_seconds_bucket"
    buckets = {key[1]: value for key, value in found.items() if (key[0], key[-1]) == (name, "worker-1")}
    assert (buckets["0.005"], buckets["0.25"], buckets["0.5"], buckets["60.0"], buckets["+Inf"]) == (1, 1, 2, 2, 3)
    assert found["stepline_commit_lag_seconds_count", "worker-1"] == 3
    assert found["stepline_commit_lag_seconds_sum", "worker-1"] == pytest.approx(1000.304)
    assert found["stepline_events_total", "before the update"] == 0


def test_what_is_to_be_sent_is_counted_by_its_state() -> None:
    make_rule()
    happen(make_run(), Happening.Kind.FAILED)
    happen(make_run(), Happening.Kind.LOST)
    said()
    Delivery.objects.filter(pk=Delivery.objects.latest("pk").pk).update(state="failed")
    for fields in ({"next_at": 0.0}, {"next_at": 0.0, "attempts": 2, "answer": "no answer"}, {"attempts": 1}):
        UnsentTrace.objects.create(run=make_run(), **fields)
    found = samples()
    assert found["stepline_alert_deliveries", "waiting"] == Delivery.objects.count() - 1
    assert found["stepline_alert_deliveries", "failed"] == 1
    assert {key[1]: value for key, value in found.items() if key[0] == "stepline_traces_unsent"} == {
        "waiting": 1,
        "failing": 1,
        "refused": 1,
    }


def test_flows_tell_what_they_usually_take_and_no_more_of_them_than_are_bearable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream = make_upstream(name="east")
    for number in range(4):
        whole = [[run, 10.0 * (run + 1)] for run in range(3)]
        UsualTimes.objects.create(upstream=upstream, flow_name=f"flow {number}", whole=whole)
    UsualTimes.objects.create(upstream=upstream, flow_name="new", whole=[[1, 5.0]])
    monkeypatch.setattr(metrics, "MOST_FLOWS", 2)
    found = {key[1:]: value for key, value in samples().items() if key[0] == "stepline_flow_duration_seconds"}
    assert {flow for flow, *_ in found} == {"flow 0", "flow 1"}
    assert found["flow 0", "0.5", "east"] == 20
    monkeypatch.setattr(metrics, "MOST_FLOWS", 100)
    assert ("new", "0.5", "east") not in {key[1:] for key in samples()}, "one run says nothing"


def test_every_metric_is_there_and_has_the_labels_that_are_documented() -> None:
    make_stream(make_run())
    make_worker()
    UsualTimes.objects.create(upstream=make_upstream(), flow_name="x", whole=[[n, 1.0] for n in range(3)])
    families = {family.name: family for family in text_string_to_metric_families(scrape().content.decode())}
    for name, (kind, words, labels) in metrics.METRICS.items():
        family = families[name.removesuffix("_total")]
        assert family.documentation == words
        assert family.type == kind("x", "x").type
        assert family.samples, name
        assert all(set(sample.labels) - {"le"} == set(labels) for sample in family.samples)


def test_the_pause_of_a_retry_is_no_waiting_for_a_worker() -> None:
    waiting = make_run(status=Run.Status.QUEUED, retry_number=1)
    make_stream(waiting, lease=None, wait=600)
    Run.objects.update(created_at="2026-01-01T00:00:00Z")
    assert samples()["stepline_oldest_queued_run_age_seconds",] == 0
    make_stream(make_run(status=Run.Status.QUEUED, retry_number=1), lease=None, wait=-500)
    make_stream(make_run(status=Run.Status.QUEUED), lease=None)
    assert samples()["stepline_oldest_queued_run_age_seconds",] == pytest.approx(500, abs=60)


# --- what it costs --------------------------------------------------------------------------------------------------


def test_a_scrape_asks_seven_questions_and_none_looks_through_the_past() -> None:
    for _ in range(3):
        make_stream(make_run())
        make_stream(make_run(status=Run.Status.SUCCEEDED), active=False)
    make_worker()
    headers = {"Authorization": f"Bearer {make_token()}"}
    with CaptureQueriesContext(connection) as asked:
        assert Client().get("/metrics", headers=headers).status_code == 200
    queries = [query["sql"] for query in asked.captured_queries if "accounts_" not in query["sql"]]
    assert len(queries) == 7
    if connection.vendor != "sqlite":  # its planner goes by what is in the tables, and these are empty
        return
    with connection.cursor() as cursor:
        for query in queries:
            cursor.execute(f"EXPLAIN QUERY PLAN {query}")
            for *_, step in cursor.fetchall():
                whole = step.startswith("SCAN runs_run") or step.startswith("SCAN runs_stream")
                assert not whole or "INDEX stream_" in step, f"{step}: {query}"
