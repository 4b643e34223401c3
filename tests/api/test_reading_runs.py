"""What the API says about a run, its tasks, gaps and quarantine."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs.facts import moment, run_facts
from runs.models import Run
from tests.api.conftest import Caller, problem
from tests.factories import START, make_event, make_gap, make_rejected, make_run, make_task, make_upstream, make_user

pytestmark = pytest.mark.django_db

RUN_FIELDS = (
    "id upstream flow_name run_name status step progress last_seq created_at started_at finished_at execution_time "
    "error output connection gaps rejected conflict retry_of created_by url notice attached inferred silent_since "
    "overdue due_at retry_number workflow_version"
).split()


def body(answer: Any) -> Any:
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)


def test_a_run_has_exactly_the_promised_fields(viewer: Caller) -> None:
    run = make_run(created_by=make_user(username="ada"), retry_of=make_run())
    found = body(viewer.get(f"/runs/{run.pk}"))
    assert sorted(found) == sorted(RUN_FIELDS)
    assert sorted(found["step"]) == ["current", "name", "total"]
    promised = ["completed", "eta_high", "eta_low", "eta_seconds", "fraction", "overrunning", "total"]
    assert sorted(found["progress"]) == promised
    assert found["created_by"] == "ada"
    assert found["retry_of"] == run.retry_of_id
    assert found["url"] == f"http://testserver/runs/{run.pk}/"
    assert found["upstream"] == run.upstream.name
    assert found["created_at"] == run.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_planned_run_tells_its_step_and_progress(viewer: Caller) -> None:
    run = make_run(
        planned=True, tasks_total=4, tasks_succeeded=1, tasks_failed=1, tasks_running=1, tasks_pending=1,
        current_task="clean",
    )  # fmt: skip
    found = body(viewer.get(f"/runs/{run.pk}"))
    assert found["step"] == {"current": 3, "total": 4, "name": "clean"}
    assert found["progress"]["completed"] == 2
    assert found["progress"]["fraction"] == 0.5


def test_a_run_whose_plan_is_not_known_has_no_total_until_it_has_ended(viewer: Caller) -> None:
    fields = {"tasks_total": 2, "tasks_succeeded": 2}
    going, ended = make_run(**fields), make_run(**fields, status=Run.Status.SUCCEEDED)
    assert body(viewer.get(f"/runs/{going.pk}"))["progress"]["total"] is None
    assert body(viewer.get(f"/runs/{going.pk}"))["progress"]["fraction"] is None
    found = body(viewer.get(f"/runs/{ended.pk}"))["progress"]
    assert (found["total"], found["fraction"]) == (2, 1.0)


def test_the_output_stands_in_the_one_run_and_not_in_the_list(viewer: Caller) -> None:
    run = make_run(status=Run.Status.SUCCEEDED)
    output = {"report": ["ünï", {"big": 2**70}]}
    event = make_event(run, "flow_completed", {"event_type": "flow_completed", "output": output})
    Run.objects.filter(pk=run.pk).update(output_seq=event.seq)
    assert body(viewer.get(f"/runs/{run.pk}"))["output"] == output
    assert body(viewer.get("/runs"))["items"][0]["output"] is None


def test_what_task_status_knew_stands_for_the_output(viewer: Caller) -> None:
    run = make_run(status=Run.Status.SUCCEEDED)
    event = make_event(run, "stepline.task_status", {"status": "completed", "results": {"a": 1}}, source="status")
    Run.objects.filter(pk=run.pk).update(output_seq=event.seq)
    assert body(viewer.get(f"/runs/{run.pk}"))["output"] == {"a": 1}


def test_names_with_blanks_slashes_and_other_letters_come_out_as_they_are(viewer: Caller) -> None:
    run = make_run(flow_name="Nächtlich / a?b#c%20", run_name="läuft 1/2 🚀")
    found = body(viewer.get("/runs", flow_name="Nächtlich / a?b#c%20"))["items"]
    assert [(one["id"], one["flow_name"], one["run_name"]) for one in found] == [
        (run.pk, "Nächtlich / a?b#c%20", "läuft 1/2 🚀")
    ]


def test_the_list_is_paged_newest_first(viewer: Caller) -> None:
    upstream = make_upstream()
    made = [make_run(upstream=upstream).pk for _ in range(5)]
    first = body(viewer.get("/runs", limit=2))
    second = body(viewer.get("/runs", limit=2, cursor=first["next_cursor"]))
    make_run(upstream=upstream)  # a new one moves no page
    third = body(viewer.get("/runs", limit=2, cursor=second["next_cursor"]))
    found = [run["id"] for page in (first, second, third) for run in page["items"]]
    assert found == made[::-1]
    assert third["next_cursor"] is None


def test_the_last_page_that_is_full_has_no_next(viewer: Caller) -> None:
    make_run(), make_run()
    assert body(viewer.get("/runs", limit=2))["next_cursor"] is None


def test_a_list_costs_as_many_queries_for_many_runs_as_for_one(viewer: Caller) -> None:
    make_run(created_by=make_user())
    viewer.get("/runs")  # a token's first use in a minute is noted
    with CaptureQueriesContext(
        connection,
    ) as one:
        body(viewer.get("/runs"))
    for _ in range(5):
        make_run(created_by=make_user())
    with CaptureQueriesContext(connection) as many:
        body(viewer.get("/runs"))
    assert len(many) == len(one)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "failed"}, ["failed"]),
        ({"status": ["failed", "queued"]}, ["failed", "queued"]),
        ({"status": "failed,queued"}, ["failed", "queued"]),
        ({"flow_name": "Other"}, ["other"]),
        ({"flow_name": "Oth"}, []),
        ({"q": "oth"}, ["other"]),
        ({"q": "no such host"}, ["failed"]),
        ({"since": "2025-01-02T00:00:00Z"}, ["other", "queued"]),
        ({"since": "2025-01-02T01:00:00+01:00"}, ["other", "queued"]),
        ({"until": "2025-01-02T00:00:00"}, ["failed"]),
        ({"since": "2025-01-02T00:00:00Z", "status": "queued"}, ["queued"]),
    ],
)
def test_filters(viewer: Caller, query: dict[str, Any], expected: list[str]) -> None:
    made = {
        "failed": make_run(run_name="failed", status="failed", error={"message": "No such host"}),
        "queued": make_run(run_name="queued", status="queued"),
        "other": make_run(run_name="other", flow_name="Other"),
    }
    for day, run in enumerate(made.values(), start=1):
        Run.objects.filter(pk=run.pk).update(created_at=datetime(2025, 1, day, tzinfo=UTC))
    assert sorted(run["run_name"] for run in body(viewer.get("/runs", **query))["items"]) == expected


def test_tasks_have_exactly_the_promised_fields_and_order(viewer: Caller) -> None:
    run = make_run()
    attempts = [
        {"started_at": START, "finished_at": START + 1.5, "status": "failed", "inferred": False},
        {"started_at": START + 2, "finished_at": None, "status": "running", "inferred": False},
    ]
    make_task(run, "b", position=1)
    make_task(
        run, "a", position=0, name="A / ä", status="running", attempts=attempts, started_at=START,
        error={"type": "Timeout", "message": "late", "code": 504},
    )  # fmt: skip
    found = body(viewer.get(f"/runs/{run.pk}/tasks"))
    assert found["next_cursor"] is None
    assert found["items"][0] == {
        "key": "a",
        "name": "A / ä",
        "status": "running",
        "attempts": [
            {
                "started_at": "2025-10-09T08:53:20.000000Z",
                "finished_at": "2025-10-09T08:53:21.500000Z",
                "status": "failed",
                "inferred": False,
            },
            {"started_at": "2025-10-09T08:53:22.000000Z", "finished_at": None, "status": "running", "inferred": False},
        ],
        "started_at": "2025-10-09T08:53:20.000000Z",
        "finished_at": None,
        "duration": None,
        "usual_duration": None,
        "inferred": False,
        "error": {"type": "Timeout", "message": "late", "code": 504},
    }
    assert found["items"][1]["key"] == "b"


def test_tasks_are_paged_even_where_positions_are_equal(viewer: Caller) -> None:
    run = make_run()
    for number in range(5):
        make_task(run, f"t{number}", position=number // 3)
    keys, cursor = [], None
    while True:
        page = body(viewer.get(f"/runs/{run.pk}/tasks", limit=2, **({"cursor": cursor} if cursor else {})))
        keys += [task["key"] for task in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert keys == ["t0", "t1", "t2", "t3", "t4"]


def test_gaps_and_quarantine_are_counted_in_the_run_and_listed_apart(viewer: Caller) -> None:
    run = make_run()
    gap = make_gap(run, started_at=None, reason="late", detail="attached later")
    make_gap(run)
    frame = make_rejected(run, preview="[masked:bearer] {", count=3)
    found = body(viewer.get(f"/runs/{run.pk}"))
    assert (found["gaps"], found["rejected"]) == (2, 3)
    gaps = body(viewer.get(f"/runs/{run.pk}/gaps"))
    assert gaps[0] == {
        "id": gap.pk,
        "reason": "late",
        "detail": "attached later",
        "after_seq": 0,
        "started_at": None,
        "ended_at": moment(START + 15),
    }
    assert [one["id"] for one in body(viewer.get(f"/runs/{run.pk}/gaps", after=gap.pk))] == [gap.pk + 1]
    (rejected,) = body(viewer.get(f"/runs/{run.pk}/rejected"))
    assert sorted(rejected) == ["count", "detail", "first_at", "id", "last_at", "preview", "reason", "size"]
    assert (rejected["id"], rejected["preview"], rejected["count"]) == (frame.pk, "[masked:bearer] {", 3)
    assert body(viewer.get(f"/runs/{run.pk}/rejected", after=frame.pk)) == []


@pytest.mark.parametrize("path", ["", "/tasks", "/events", "/gaps", "/rejected"])
@pytest.mark.parametrize("number", ["999", "9" * 30])
def test_a_run_that_is_not_there_is_named(viewer: Caller, path: str, number: str) -> None:
    assert number in problem(viewer.get(f"/runs/{number}{path}"), 404, "not-found")["detail"]


def test_the_schema_drops_nothing_of_the_facts(viewer: Caller) -> None:
    run = make_run()
    facts = run_facts(Run.objects.listed().get(pk=run.pk), base_url="http://testserver")
    assert body(viewer.get(f"/runs/{run.pk}")) == json.loads(json.dumps(facts))


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_760_000_000.25, "2025-10-09T08:53:20.250000Z"),
        (1e300, None),
        (float("nan"), None),
        (-1e18, None),
    ],
)
def test_times_are_iso_8601_in_utc_and_absurd_ones_are_none(time: float | None, expected: str | None) -> None:
    assert moment(time) == expected
