"""A run as one file: a page that needs nothing else, and the same records that the command writes."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.http import StreamingHttpResponse
from django.test import Client

from runs import actions, archive, replay, store
from runs.models import Event, Gap, Run, Task
from runs.web import export
from tests.factories import START, make_definition, make_event, make_run, make_upstream
from tests.store.conftest import Hand, completed, flow_completed, started

pytestmark = pytest.mark.django_db
HOSTILE = "</script><script>alert(1)</script><!--\u2028&amp;{{ 7 }}"


@pytest.fixture
def run(db: None) -> Run:
    """An ended run of a planned flow with a gap, a task that was tried twice, and one that nobody had planned."""
    run = actions.launch(
        flow_name=HOSTILE, run_name="r", definition=make_definition("a", "b"), upstream=make_upstream()
    )
    hand = Hand(store.claim("me", 1)[0])
    failed = {"event_type": "task_failed", "task_id": "id-a", "task_name": "a", "timestamp": START + 1}
    hand.write({"event_type": "flow_started", "timestamp": START, "text": HOSTILE}, started("a"), failed)
    hand.write(gap=store.OpenGap("disconnected", 3, START + 2, START + 3))
    hand.write(started("a", START + 4), completed("a", START + 5), started("extra", START + 5))
    hand.write(flow_completed(), done=True, run={"connection": "closed"})
    return Run.objects.get(pk=run.pk)


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def replayed(data: dict[str, Any], place: int) -> dict[str, tuple[str, list[Any]]]:
    """The tasks after so many events, as the page's script puts them together."""
    tasks = {}
    for step in data["steps"][: place + 1]:
        for key, status, attempts in step:
            tasks[key] = (status, attempts)
    return {key: task for key, task in tasks.items() if task[0] is not None}


def test_the_page_ends_in_what_is_stored(run: Run) -> None:
    data = data_of(export.page(run, "http://here"))
    stored = {
        task.key: (task.status, [[one["started_at"], one["finished_at"], one["status"]] for one in task.attempts])
        for task in Task.objects.filter(run=run)
    }
    assert len(stored) == 3
    assert replayed(data, len(data["events"])) == stored
    assert data["outcomes"][-1] == run.status == "succeeded"
    assert [task["key"] for task in data["tasks"]] == list(stored)
    assert data["run"]["url"] == f"http://here/runs/{run.pk}/"
    assert data["gaps"] == [[3, START + 2, START + 3, "disconnected"]]


def test_the_page_stands_at_any_event(run: Run) -> None:
    data = data_of(export.page(run, ""))
    states = [{key: status for key, (status, _) in replayed(data, place).items()} for place in range(8)]
    assert states[0] == {"a": "pending", "b": "pending"}
    assert [state["a"] for state in states] == ["pending", "pending", "running", "failed", "running", "succeeded"] + [
        "succeeded"
    ] * 2
    assert [("id-extra" in state or "extra" in state) for state in states] == [False] * 6 + [True] * 2
    assert data["outcomes"] == ["running"] * 7 + ["succeeded"]


def test_the_page_loads_nothing_and_holds_hostile_text_as_text(run: Run) -> None:
    page = export.page(run, "http://here")
    assert "alert(1)</script>" not in page
    assert data_of(page)["run"]["flow_name"] == HOSTILE
    assert page.count("<script") == 2
    assert not re.search(r"\b(src|href)\s*=", page)
    assert "url(" not in page
    assert "default-src &#x27;none&#x27;" in page


def test_a_long_run_is_cut_and_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MOST_EVENTS", 4)
    monkeypatch.setattr(replay, "PAYLOAD_BYTES", 300)
    data = data_of(export.page(run, ""))
    assert (len(data["events"]), len(data["steps"]), data["left_out"]) == (4, 5, 3)
    assert [event[5] is None for event in data["events"]] == [False, False, False, True]


def test_a_run_without_events_has_a_page_too() -> None:
    data = data_of(export.page(make_run(started_at=None), ""))
    assert (data["events"], data["steps"], data["outcomes"]) == ([], [[]], ["running"])


def test_odd_payloads_stand_in_the_page(run: Run) -> None:
    odd = make_run()
    make_event(odd, payload='{"n":12345678901234567890123}', timestamp=None)
    (event,) = data_of(export.page(odd, ""))["events"]
    assert "12345678901234567890123" in event[5]
    assert event[3] is None


@pytest.mark.django_db(transaction=True)  # it is read on another thread
@pytest.mark.parametrize("form", ["html", "ndjson", "json"])
def test_the_download_is_what_the_command_writes(
    run: Run, form: str, client_as: Callable[[str], Client], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    call_command("export_run", str(run.pk), "--format", form, "-o", str(path), stderr=io.StringIO())
    answer = client_as("viewer").get(f"/runs/{run.pk}/export/", {"format": form})
    assert isinstance(answer, StreamingHttpResponse)
    assert answer["Content-Disposition"] == f'attachment; filename="run-{run.pk}.{form}"'
    assert answer["Content-Type"].startswith(export.TYPES[form])
    with pytest.warns(Warning, match="asynchronous iterators"):  # the test's client is synchronous, the site is not
        theirs = b"".join(answer).decode()  # type: ignore[arg-type]
    if form == "html":  # the site's address is the caller's in one, HOST and PORT in the other
        assert data_of(theirs)["steps"] == data_of(path.read_text())["steps"]
    else:
        assert theirs == path.read_text()


def test_what_is_not_there_or_no_format_is_told(run: Run, client_as: Callable[[str], Client]) -> None:
    client = client_as("viewer")
    assert client.get("/runs/999/export/").status_code == 404
    assert client.get(f"/runs/{run.pk}/export/?format=pdf").status_code == 400


def test_the_run_page_offers_the_file(run: Run, client_as: Callable[[str], Client]) -> None:
    assert f'href="/runs/{run.pk}/export/"' in client_as("viewer").get(f"/runs/{run.pk}/").text


def test_exports_read_events_a_page_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PAGE", 2)
    lines = [json.loads(line) for line in archive.lines(run, "ndjson")]
    assert [line["seq"] for line in lines if line["kind"] == "event"] == list(
        Event.objects.filter(run=run).order_by("seq").values_list("seq", flat=True)
    )
    assert Gap.objects.filter(run=run).count() == sum(line["kind"] == "gap" for line in lines)
