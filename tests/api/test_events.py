"""The events of a run, as JSON pages and as NDJSON."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.http import StreamingHttpResponse
from django.test import AsyncClient

from runs.models import Run
from tests.api.conftest import Caller, problem
from tests.factories import START, make_event, make_run, make_token

NDJSON = "application/x-ndjson"


def page(viewer: Caller, run: Run, **query: Any) -> Any:
    answer = viewer.get(f"/runs/{run.pk}/events", **query)
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)


@pytest.mark.django_db
def test_an_event_has_exactly_the_promised_fields(viewer: Caller) -> None:
    run = make_run()
    payload = {"event_type": "task_started", "nested": {"ü": [1, None]}, "api_key": "[masked:key]"}
    make_event(run, "task_started", payload, task_id="t-1", task_name="Fetch", receipts=2)
    assert page(viewer, run) == {
        "items": [
            {
                "seq": 1,
                "event_type": "task_started",
                "task_id": "t-1",
                "task_name": "Fetch",
                "timestamp": "2025-10-09T08:53:21.000000Z",
                "received_at": "2025-10-09T08:53:21.250000Z",
                "receipts": 2,
                "payload": payload,
            }
        ],
        "next_after": None,
    }


@pytest.mark.django_db
def test_an_event_without_a_usable_time_has_none(viewer: Caller) -> None:
    run = make_run()
    make_event(run, timestamp=None, payload={"timestamp": "yesterday"}, received_at=START)
    (event,) = page(viewer, run)["items"]
    assert event["timestamp"] is None
    assert event["payload"] == {"timestamp": "yesterday"}


@pytest.mark.django_db
def test_integers_of_any_size_come_through_exactly(viewer: Caller) -> None:
    run = make_run()
    make_event(run, payload='{"n":12345678901234567890123,"x":1.10}')
    answer = viewer.get(f"/runs/{run.pk}/events")
    assert b'"payload":{"n":12345678901234567890123,"x":1.10}' in answer.content


@pytest.mark.django_db
def test_pages_join_without_a_hole_or_a_repeat(viewer: Caller) -> None:
    run = make_run()
    for _ in range(7):
        make_event(run)
    make_event(make_run())
    found, after = [], 0
    while after is not None:
        got = page(viewer, run, after=after, limit=3)
        found += [event["seq"] for event in got["items"]]
        after = got["next_after"]
    assert found == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.django_db
def test_asking_after_the_last_event_finds_nothing(viewer: Caller) -> None:
    run = make_run()
    make_event(run)
    assert page(viewer, run, after=1) == {"items": [], "next_after": None}


@pytest.mark.django_db
@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"after": -1}, {"after": "x"}, {"after": 2**40}])
def test_bounds_are_told(viewer: Caller, query: dict[str, Any]) -> None:
    run = make_run()
    document = problem(viewer.get(f"/runs/{run.pk}/events", **query), 422, "invalid")
    assert [error["place"] for error in document["errors"]] == list(query)


@pytest.fixture
def long_run(transactional_db: None) -> tuple[Run, str]:
    """A run of more events than are read at once, and a token to read it with."""
    run = make_run()
    for _ in range(450):
        make_event(run, payload='{\n "a": "line\\nbreak"\r\n}')
    return run, make_token("viewer")


async def read(run: Run, token: str, query: str = "") -> tuple[StreamingHttpResponse, list[bytes]]:
    answer = await AsyncClient().get(
        f"/api/v1/runs/{run.pk}/events{query}", headers={"Authorization": f"Bearer {token}", "Accept": NDJSON}
    )
    assert isinstance(answer, StreamingHttpResponse)
    return answer, [chunk async for chunk in answer]  # type: ignore[union-attr]


async def test_ndjson_holds_every_event_on_its_line_and_is_read_in_pages(long_run: tuple[Run, str]) -> None:
    answer, chunks = await read(*long_run)
    assert answer["Content-Type"] == NDJSON
    assert answer["Vary"].startswith("Accept")
    assert len(chunks) > 1
    text = b"".join(chunks)
    events = [json.loads(line) for line in text.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, 451))
    assert events[0]["payload"] == {"a": "line\nbreak"}
    assert text.endswith(b"\n")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?after=440", range(441, 451)),
        ("?limit=3", range(1, 4)),
        ("?limit=400", range(1, 401)),
        ("?after=448&limit=9", range(449, 451)),
        ("?after=450", range(0)),
    ],
)
async def test_ndjson_obeys_after_and_limit(long_run: tuple[Run, str], query: str, expected: range) -> None:
    _, chunks = await read(*long_run, query)
    assert [json.loads(line)["seq"] for line in b"".join(chunks).splitlines()] == list(expected)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/json, application/x-ndjson;q=0.5", "text/html"]
)
def test_json_is_the_answer_unless_ndjson_is_preferred(viewer: Caller, accept: str) -> None:
    answer = viewer.get(f"/runs/{make_run().pk}/events", accept=accept)
    assert answer["Content-Type"].startswith("application/json")


@pytest.mark.django_db
def test_ndjson_of_a_run_that_is_not_there_is_a_problem(call_as: Callable[[str], Caller]) -> None:
    problem(call_as("viewer").get("/runs/999/events", accept=NDJSON), 404, "not-found")
