"""What the API tells of runs that need a look, of the quarantine of all runs, and of who follows what."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs.facts import moment
from runs.models import Run
from tests.api.conftest import Caller, problem
from tests.factories import START, make_rejected, make_run, make_stream, make_upstream, make_worker

pytestmark = pytest.mark.django_db


def body(answer: Any) -> Any:
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)


@pytest.fixture
def admin(call_as: Callable[[str], Caller]) -> Caller:
    return call_as("admin")


def test_a_run_tells_its_silence_its_deadline_and_which_retry_it_is(viewer: Caller) -> None:
    first = make_run(silent_since=START, overdue=True, due_at=START + 60)
    again = make_run(retry_of=first, retry_number=2)
    found = body(viewer.get(f"/runs/{first.pk}"))
    assert (found["silent_since"], found["overdue"], found["due_at"]) == (moment(START), True, moment(START + 60))
    found = body(viewer.get(f"/runs/{again.pk}"))
    assert (found["retry_of"], found["retry_number"], found["silent_since"], found["due_at"]) == (
        first.pk, 2, None, None
    )  # fmt: skip


# --- quarantine -----------------------------------------------------------------------------------------------------


def test_the_quarantine_of_all_runs_is_told_newest_first_with_whose_it_is(viewer: Caller) -> None:
    one, other = make_run(flow_name="One"), make_run(flow_name="Other")
    old = make_rejected(one, preview="{nonsense", detail="not JSON")
    new = make_rejected(other, reason="other-run")
    found = body(viewer.get("/rejected"))["items"]
    assert [frame["id"] for frame in found] == [new.pk, old.pk]
    assert (found[1]["run"], found[1]["flow_name"], found[1]["run_name"], found[1]["preview"]) == (
        one.pk, "One", one.run_name, "{nonsense"
    )  # fmt: skip
    [same] = body(viewer.get(f"/runs/{one.pk}/rejected"))
    assert same.items() <= found[1].items()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"reason": "binary"}, ["b"]),
        ({"flow_name": "One"}, ["b", "a"]),
        ({"reason": "invalid-json", "flow_name": "Other"}, ["c"]),
        ({"reason": "nothing"}, []),
    ],
)
def test_it_is_filtered_by_reason_and_flow(viewer: Caller, query: dict[str, str], expected: list[str]) -> None:
    one, other = make_run(flow_name="One"), make_run(flow_name="Other")
    make_rejected(one, detail="a")
    make_rejected(one, detail="b", reason="binary")
    make_rejected(other, detail="c")
    assert [frame["detail"] for frame in body(viewer.get("/rejected", **query))["items"]] == expected


def test_it_is_paged_and_costs_the_same_for_many(viewer: Caller) -> None:
    viewer.get("/rejected")  # the first use of a token is noted
    ids = [make_rejected(make_run()).pk for _ in range(5)][::-1]
    found, cursor, counts = [], None, []
    for _ in range(3):
        with CaptureQueriesContext(connection) as asked:
            page = body(viewer.get("/rejected", limit=2, **({"cursor": cursor} if cursor else {})))
        counts.append(len(asked))
        found += [frame["id"] for frame in page["items"]]
        cursor = page["next_cursor"]
    assert (found, cursor) == (ids, None)
    assert set(counts) == {2}, "the token and the page"


def test_a_cursor_of_another_list_and_an_unknown_filter_are_refused(viewer: Caller) -> None:
    make_run(), make_run()
    cursor = body(viewer.get("/runs", limit=1))["next_cursor"]
    problem(viewer.get("/rejected", cursor=cursor), 400, "bad-cursor")
    problem(viewer.get("/rejected", status="failed"), 422, "invalid")


# --- streams --------------------------------------------------------------------------------------------------------


def test_who_follows_what_is_told_with_workers_leases_and_waits(admin: Caller) -> None:
    make_worker("worker-1", age=2)
    make_worker("worker-2", age=90)
    followed = make_stream(make_run(connection_since=START), last_frame_at=START + 5, alive_at=START + 9)
    expired = make_stream(make_run(), owner="worker-2", lease=-20)
    waiting = make_stream(make_run(status=Run.Status.QUEUED, retry_number=1), lease=None, wait=60)
    make_stream(make_run(status=Run.Status.SUCCEEDED), active=False)
    found = body(admin.get("/streams"))
    assert [(one["run"], one["place"], one["worker"]) for one in found["items"]] == [
        (waiting.run_id, "waiting", None),
        (expired.run_id, "unfollowed", "worker-2"),
        (followed.run_id, "followed", "worker-1"),
    ]
    whole = found["items"][2]
    assert (whole["connection"], whole["connection_since"], whole["last_frame_at"], whole["alive_at"]) == (
        "live", moment(START), moment(START + 5), moment(START + 9)
    )  # fmt: skip
    assert found["items"][0]["claim_after"] == moment(waiting.claim_after)
    assert [(one["name"], one["following"]) for one in found["workers"]] == [("worker-1", 1), ("worker-2", 0)]
    assert found["workers"][1]["beat_age"] == pytest.approx(90, abs=30)


def test_streams_are_paged_and_cost_the_same_for_many(admin: Caller) -> None:
    admin.get("/streams")  # the first use of a token is noted
    upstream = make_upstream()
    ids = [make_stream(make_run(upstream=upstream)).run_id for _ in range(5)][::-1]
    found, cursor, counts = [], None, []
    for _ in range(3):
        with CaptureQueriesContext(connection) as asked:
            page = body(admin.get("/streams", limit=2, **({"cursor": cursor} if cursor else {})))
        counts.append(len(asked))
        found += [one["run"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert (found, cursor) == (ids, None)
    assert set(counts) == {3}, "the token, the page and the workers"


def test_a_stream_whose_pause_is_over_waits_no_more(admin: Caller) -> None:
    make_stream(make_run(status=Run.Status.QUEUED, retry_number=1), lease=None, claim_after=time.time() - 30)
    assert [one["place"] for one in body(admin.get("/streams"))["items"]] == ["unfollowed"]
