"""The pages for administrators: who follows what, and the quarantine of all runs."""

import time
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from runs.models import Run
from runs.web import operations
from tests.factories import make_rejected, make_run, make_stream, make_upstream, make_worker

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client_as: ClientAs) -> Client:
    return client_as("admin")


def names(client: Client, address: str = "/streams/") -> list[str]:
    return [stream.run.run_name for stream in client.get(address).context["streams"]]


@pytest.fixture
def some() -> None:
    make_worker("worker-1", age=2)
    make_worker("worker-2", age=95)
    make_stream(make_run(run_name="fine"), last_frame_at=time.time() - 3, alive_at=time.time() - 2)
    make_stream(make_run(run_name="away", connection="reconnecting", connection_since=time.time() - 70))
    make_stream(make_run(run_name="orphan"), owner="worker-2", lease=-130)
    make_stream(make_run(run_name="fresh", status=Run.Status.QUEUED), lease=None)
    make_stream(make_run(run_name="later", status=Run.Status.QUEUED, retry_number=1), lease=None, wait=65)
    make_stream(make_run(run_name="over", status=Run.Status.SUCCEEDED), active=False)


@pytest.mark.parametrize("address", ["/streams/", "/quarantine/", "/quarantine/1/preview/"])
@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_they_are_for_administrators_alone(client_as: ClientAs, role: str, address: str) -> None:
    assert client_as(role).get(address).status_code == 403


def test_the_header_leads_there_for_administrators_alone(client_as: ClientAs) -> None:
    for role, count in (("operator", 0), ("admin", 1)):
        page = client_as(role).get("/").content.decode()
        assert page.count('href="/streams/"') == page.count('href="/quarantine/"') == count


# --- streams --------------------------------------------------------------------------------------------------------


def test_every_active_stream_stands_with_its_worker_lease_and_times(admin: Client, some: None) -> None:
    assert names(admin) == ["later", "fresh", "orphan", "away", "fine"]
    page = admin.get("/streams/").content.decode()
    for said in ("epoch 1", "Disconnected", "1 m 10 s", "Expired", "2 m 10 s", "Retry 1", "nobody yet"):
        assert said in page
    assert "2 runs have no worker" in page


def test_a_stream_without_a_good_lease_and_a_worker_without_a_beat_stand_out(admin: Client, some: None) -> None:
    page = admin.get("/streams/").content.decode()
    bad = [row for row in page.split("<tr")[1:] if 'class="bad"' in row.split(">")[0]]
    assert len(bad) == 3
    assert all("i-warn" in row for row in bad), "never by colour alone"
    assert "worker-2" in bad[0]
    assert "No beat" in bad[0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("show=unfollowed", ["fresh", "orphan"]),
        ("show=disconnected", ["away"]),
        ("show=waiting", ["later"]),
        ("show=followed", ["away", "fine"]),
        ("worker=worker-2", ["orphan"]),
        ("worker=worker-1&show=followed", ["away", "fine"]),
        ("show=nonsense", ["later", "fresh", "orphan", "away", "fine"]),
    ],
)
def test_one_kind_or_one_worker_can_be_chosen(admin: Client, some: None, query: str, expected: list[str]) -> None:
    assert names(admin, f"/streams/?{query}") == expected


def test_how_many_there_are_of_each_kind_does_not_depend_on_what_is_shown(admin: Client, some: None) -> None:
    counts = admin.get("/streams/?show=waiting").context["counts"]
    assert counts == {"all": 5, "disconnected": 1, "unfollowed": 2, "waiting": 1, "followed": 2}


def test_workers_tell_how_many_runs_they_follow(admin: Client, some: None) -> None:
    workers = admin.get("/streams/").context["workers"]
    assert [(worker.name, worker.following) for worker in workers] == [("worker-1", 2), ("worker-2", 0)]


def test_streams_are_paged_by_run(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "STREAMS_A_PAGE", 2)
    upstream = make_upstream()
    for number in range(5):
        make_stream(make_run(upstream=upstream, run_name=f"r{number}"))
    seen, address = [], "/streams/"
    while address:
        context = admin.get(address).context
        seen += [stream.run.run_name for stream in context["streams"]]
        address = f"/streams/?before={context['older']}" if context["older"] else ""
    assert seen == ["r4", "r3", "r2", "r1", "r0"]


def test_htmx_gets_the_changing_part_alone(admin: Client, some: None) -> None:
    part = admin.get("/streams/?show=waiting", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert part.lstrip().startswith('<div id="streams" hx-get="/streams/?show=waiting"')


def test_empty_states_of_streams_differ(admin: Client) -> None:
    page = admin.get("/streams/").content.decode()
    assert "No worker is at work" in page
    assert "No run is to be followed" in page
    make_stream(make_run())
    assert "None of this kind" in admin.get("/streams/?show=waiting").content.decode()


def test_streams_cost_the_same_few_questions_for_many(admin: Client, some: None) -> None:
    admin.get("/")  # the first page of a session enters it into the list of sessions
    counts = []
    for turn in range(2):
        with CaptureQueriesContext(connection) as asked:
            admin.get("/streams/")
        counts.append(len(asked))
        for number in range(6):
            make_stream(make_run())
            make_worker(f"more-{turn}-{number}")
    assert counts == [5, 5], "session, user, streams, counts, workers"


# --- quarantine -----------------------------------------------------------------------------------------------------


def details(client: Client, address: str = "/quarantine/") -> list[str]:
    return [frame.detail for frame in client.get(address).context["frames"]]


@pytest.fixture
def rejects() -> list[int]:
    one, other = make_run(flow_name="One", run_name="läuft"), make_run(flow_name="Other / 2")
    made = [
        make_rejected(one, detail="a", preview="<b>secretless</b>", count=3),
        make_rejected(one, detail="binary b", reason="binary", preview=""),
        make_rejected(other, detail="c 100%"),
    ]
    return [frame.pk for frame in made]


def test_all_rejected_frames_stand_newest_first_with_their_run_and_no_preview(
    admin: Client, rejects: list[int]
) -> None:
    assert details(admin) == ["c 100%", "binary b", "a"]
    with CaptureQueriesContext(connection) as asked:
        page = admin.get("/quarantine/").content.decode()
    assert len(asked) == 4, "session, user, frames, reasons"
    assert "preview" not in " ".join(query["sql"] for query in asked.captured_queries)
    assert "secretless" not in page
    assert "× 3" in page
    run = Run.objects.get(flow_name="One")
    assert f'href="/runs/{run.pk}/"' in page
    assert f'href="/runs/{run.pk}/rejected/#frame-{rejects[0]}"' in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("reason=binary", ["binary b"]),
        ("flow=Other%20/%202", ["c 100%"]),
        ("q=BIN", ["binary b"]),
        ("q=100%25", ["c 100%"]),
        ("reason=invalid-json&flow=One&q=a", ["a"]),
        ("reason=binary&flow=Other%20/%202", []),
        ("q=%00", ["c 100%", "binary b", "a"]),
    ],
)
def test_the_quarantine_is_filtered_by_the_address(
    admin: Client, rejects: list[int], query: str, expected: list[str]
) -> None:
    assert details(admin, f"/quarantine/?{query}") == expected


def test_the_reasons_to_choose_from_are_those_that_there_are(admin: Client, rejects: list[int]) -> None:
    assert admin.get("/quarantine/").context["reasons"] == ["binary", "invalid-json"]
    assert "gone" in admin.get("/quarantine/?reason=gone").context["reasons"]


def test_the_quarantine_is_paged_and_keeps_its_filters(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "FRAMES_A_PAGE", 2)
    run = make_run()
    for number in range(5):
        make_rejected(run, detail=f"d{number}")
    make_rejected(run, detail="other", reason="binary")
    seen, address = [], "/quarantine/?reason=invalid-json"
    while address:
        answer = admin.get(address)
        seen += [frame.detail for frame in answer.context["frames"]]
        older = answer.context["older"]
        address = f"/quarantine/?reason=invalid-json&before={older}" if older else ""
        assert not older or f"reason=invalid-json&amp;before={older}" in answer.content.decode()
    assert seen == ["d4", "d3", "d2", "d1", "d0"]


def test_a_preview_is_read_when_it_is_opened_and_escaped(admin: Client, rejects: list[int]) -> None:
    whole = admin.get(f"/quarantine/{rejects[0]}/preview/").content.decode()
    assert whole == "<code>&lt;b&gt;secretless&lt;/b&gt;</code>"
    assert "Nothing of it was kept" in admin.get(f"/quarantine/{rejects[1]}/preview/").content.decode()
    assert admin.get("/quarantine/999/preview/").status_code == 404


def test_empty_states_of_the_quarantine_differ(admin: Client) -> None:
    assert "Nothing is in quarantine" in admin.get("/quarantine/").content.decode()
    assert "No rejected frame fits" in admin.get("/quarantine/?q=x").content.decode()
    assert "There is nothing older" in admin.get("/quarantine/?before=1").content.decode()
