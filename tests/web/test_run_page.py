"""The run page as the server draws it: every state, the failure first, payloads on demand, nothing unescaped."""

import gzip
import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from runs.models import Run, Task
from runs.web import board, render
from tests.factories import START, make_event, make_gap, make_rejected, make_run, make_task

pytestmark = pytest.mark.django_db
SignIn = Callable[[str], Client]


def page_of(client: Client, run: Run, query: str = "") -> str:
    answer = client.get(f"/runs/{run.pk}/{query}")
    assert answer.status_code == 200
    return str(answer.content.decode())


def words_of(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


def attempt(status: str, start: float | None, end: float | None, inferred: bool = False) -> dict[str, Any]:
    return {"started_at": start, "finished_at": end, "status": status, "inferred": inferred}


@pytest.mark.parametrize("status", Run.Status.values)
def test_every_state_has_its_word_and_its_mark(client_as: SignIn, status: str) -> None:
    html = page_of(client_as("viewer"), make_run(status=status, notice="Something to know."))
    word = {"rejected": "Refused"}.get(status, status.capitalize())
    assert f'pill-{status}"><i class="icon i-{status}"></i>{word}<' in html
    assert "Something to know." in html
    assert f"<title>{word} · Nightly" in html


@pytest.mark.parametrize("status", Task.Status.values)
def test_every_state_of_a_task_is_said_in_words_and_by_a_mark(client_as: SignIn, status: str) -> None:
    run = make_run()
    make_task(run, "fetch", status=status)
    html = page_of(client_as("viewer"), run)
    assert f'icon i-{status} state s-{status}"' in html
    assert re.search(rf"fetch\s*,\s*{status}\b", words_of(html))


def test_there_is_no_style_in_the_page_and_no_script(client_as: SignIn) -> None:
    run = make_run()
    make_task(run, "fetch", status="running", attempts=[attempt("running", START, None)])
    make_event(run)
    html = page_of(client_as("operator"), run, "?task=fetch")
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|<script(?! src=)", html)


def test_step_and_share_come_from_the_plan(client_as: SignIn) -> None:
    run = make_run(planned=True, tasks_total=8, tasks_succeeded=5, tasks_running=1, tasks_pending=2)
    assert "Step 6 of 8 · 62 %" in words_of(page_of(client_as("viewer"), run))


def test_without_a_plan_nothing_is_promised(client_as: SignIn) -> None:
    run = make_run(planned=False, tasks_total=2, tasks_succeeded=1, tasks_running=1)
    words = words_of(page_of(client_as("viewer"), run))
    assert "1 done, 1 running" in words
    assert " of 2" not in words


def test_a_failed_run_says_why_first(client_as: SignIn) -> None:
    run = make_run(status="failed", error={"type": "PipelineHaltedError", "message": "stopped", "code": "HALT"})
    error = {"type": "DataError", "message": "1,247 records", "code": "BAD", "details": {"total_records": 45000}}
    failed = make_event(run, "task_failed", {"error": error, "partial_results": {"valid_records": 43753}})
    flow = make_event(run, "flow_error", {"error": {}, "partial_results": {"quarantined_records": 12}})
    Run.objects.filter(pk=run.pk).update(error_seq=flow.seq)
    make_task(run, "later", status="failed", finished_at=START + 9, error={"type": "X", "message": "second"})
    task = make_task(
        run, "validate", status="failed", finished_at=START + 5, error_seq=failed.seq,
        error={name: error[name] for name in ("type", "message", "code")},
    )  # fmt: skip
    html = page_of(client_as("viewer"), run)
    card = html[html.index('class="failure"') : html.index('id="board"')]
    words = words_of(card)
    assert "validate failed" in words
    for said in ("DataError", "1,247 records", "BAD", "total_records", "45000", "valid_records", "43753"):
        assert said in words
    for said in ("PipelineHaltedError", "HALT", "quarantined_records"):
        assert said in words
    assert f"#task-{task.pk}" in card
    assert "second" not in words


def test_a_run_that_has_not_failed_has_no_failure_card(client_as: SignIn) -> None:
    run = make_run()
    make_task(run, "fetch", status="failed", error={"type": "X", "message": "y"})
    assert 'class="failure"' not in page_of(client_as("viewer"), run)


def test_what_is_doubtful_is_said(client_as: SignIn) -> None:
    run = make_run(status="succeeded", conflict=True, inferred=True)
    make_gap(run, started_at=None, reason="late")
    make_gap(run)
    make_rejected(run, count=3)
    words = words_of(page_of(client_as("viewer"), run))
    assert "2 gaps" in words
    assert "3 frames" in words
    assert "both that this run succeeded and that it failed" in words
    assert "inferred" in words
    assert f'href="/runs/{run.pk}/rejected/"' in page_of(client_as("viewer"), run)


def test_each_attempt_has_its_bar_and_a_running_one_has_no_end(client_as: SignIn) -> None:
    run = make_run(started_at=START)
    make_task(
        run, "fetch", status="running",
        attempts=[attempt("failed", START, START + 4), attempt("running", START + 6, None)],
    )  # fmt: skip
    html = page_of(client_as("viewer"), run)
    bars = re.findall(r'<rect class="seg s-([\w ]+)" x="([\d.]+)" width="([\d.]+)"', html)
    assert [(state, float(x)) for state, x, _ in bars if state != "pending"][:2] == [
        ("failed retried", 0),
        ("running", 6),
    ]
    assert float(bars[0][2]) == 4
    assert float(bars[1][2]) > 1e6
    assert "x2" in words_of(html)


def test_a_gap_is_hatched_and_an_open_one_has_an_end(client_as: SignIn) -> None:
    run = make_run(started_at=START, finished_at=START + 40, status="lost")
    make_gap(run, started_at=START + 10, ended_at=START + 15)
    make_gap(run, started_at=START + 30, ended_at=None)
    make_task(run, "fetch")
    html = page_of(client_as("viewer"), run)
    assert re.findall(r'<path class="gap" d="M([\d.]+) 8H([\d.]+)"/>', html) == [
        ("10.000", "15.000"),
        ("30.000", "80.000"),
    ]


def test_a_run_that_never_began_claims_no_time(client_as: SignIn) -> None:
    words = words_of(page_of(client_as("viewer"), make_run(status="rejected", started_at=None)))
    assert "Asked for" in words
    assert "Elapsed —" in words
    assert "Nothing was received" in words


def test_odd_times_break_nothing(client_as: SignIn) -> None:
    run = make_run(started_at=None, finished_at=1e300, status="failed")
    odd = [attempt("failed", START + 9, START), attempt("succeeded", None, START), attempt("failed", None, None)]
    make_task(run, "fetch", status="failed", attempts=odd, started_at=-1e12, finished_at=1e300, duration=1e300)
    make_event(run, timestamp=1e300)
    page_of(client_as("viewer"), run, "?task=fetch")


@pytest.mark.parametrize("size", [3, 40])
def test_the_number_of_queries_does_not_grow(client_as: SignIn, size: int) -> None:
    client = client_as("viewer")
    run = make_run(status="failed")
    for n in range(size):
        make_task(run, f"t{n}", status="failed", error={"type": "X", "message": "y"})
        make_event(run)
        make_gap(run)
    with CaptureQueriesContext(
        connection,
    ) as seen:
        page_of(client, run)
    assert len(seen) <= 15
    reads = [one["sql"] for one in seen if "runs_event" in one["sql"]]
    assert not any('"payload"' in sql for sql in reads)


def rows_of(html: str) -> list[str]:
    """Names of the rows from top to bottom."""
    return re.findall(r'<li id="(?:task|fold)-\d+"[^>]* data-name="([^"]*)"', html)


def make_tasks(run: Run, names: list[str], **fields: Any) -> None:
    Task.objects.bulk_create(
        Task(run=run, key=f"{name}-{n}", name=name, position=n, **fields) for n, name in enumerate(names)
    )


def test_a_large_run_is_drawn_in_part_and_from_where_its_reader_was(client_as: SignIn) -> None:
    client, run = client_as("viewer"), make_run(status="succeeded")
    make_tasks(run, [f"t{n:04d}" for n in range(2000)])
    html = page_of(client, run)
    assert rows_of(html) == [f"t{n:04d}" for n in range(board.WINDOW)]
    assert 'data-first="0" data-total="2000"' in html
    assert rows_of(page_of(client, run, "?row=1000"))[board.ABOVE] == "t1000"
    assert rows_of(page_of(client, run, "?row=99999"))[-1] == "t1999"
    for nonsense in ("x", "-1", "1e3", "٣"):
        assert rows_of(page_of(client, run, f"?row={quote(nonsense)}"))[0] == "t0000"


def test_what_the_address_says_is_what_is_shown(client_as: SignIn) -> None:
    client, run = client_as("viewer"), make_run(tasks_failed=1)
    make_task(run, "fetch", status="failed")
    make_task(run, "clean", status="succeeded", error_seq=4)
    make_task(run, "report", status="succeeded")
    assert rows_of(page_of(client, run, "?state=failed")) == ["fetch"]
    assert rows_of(page_of(client, run, "?errors=1")) == ["fetch", "clean"]
    assert rows_of(page_of(client, run, "?find=REP")) == ["report"]
    html = page_of(client, run, "?find=x%22y&state=failed,nonsense&errors=1&other=1")
    assert rows_of(html) == []
    assert 'name="view" value="find=x%22y&amp;state=failed%2Cnonsense&amp;errors=1"' in html
    assert 'data-state="failed" aria-pressed="true"' in html
    assert rows_of(page_of(client, run, "?" + "&".join(["open=a"] * 900))) == ["fetch", "clean", "report"]
    assert rows_of(page_of(client, run, "?find=" + "x" * 5000)) == ["fetch", "clean", "report"], "too long to be meant"


def test_more_than_five_of_one_name_are_one_row_until_it_is_opened(client_as: SignIn) -> None:
    client, run = client_as("viewer"), make_run()
    make_tasks(run, ["fetch", *["part"] * 7, "report"])
    Task.objects.filter(run=run, key="part-3").update(status="failed")
    html = page_of(client, run)
    assert rows_of(html) == ["fetch", "part", "report"]
    fold = html[html.index('data-fold="part"') :].split("</li>")[0]
    assert 'aria-expanded="false"' in fold
    assert re.search(r"1 failed .*6 pending", words_of(fold))
    assert rows_of(page_of(client, run, "?fold=0")) == ["fetch", *["part"] * 7, "report"]
    opened = page_of(client, run, "?open=part")
    assert rows_of(opened) == ["fetch", *["part"] * 8, "report"]
    assert re.findall(r'data-key="(part-\d)"', opened)[0] == "part-3", "what failed comes first"


def test_the_ghost_of_the_usual_duration_lies_behind_the_last_attempt(client_as: SignIn) -> None:
    run = make_run()
    tries = [attempt("failed", START, START + 1), attempt("running", START + 2, None)]
    make_task(run, "fetch", status="running", attempts=tries, usual_p50=4.0, usual_p90=9.0)
    make_task(run, "other", status="running", attempts=tries)
    ghosts = re.findall(
        r'<rect class="(ghost[a-z ]*)" x="([\d.]+)" width="([\d.]+)"', page_of(client_as("viewer"), run)
    )
    assert ghosts == [("ghost late", "2.000", "9.000"), ("ghost", "2.000", "4.000")]


def test_idle_stretches_are_left_out_where_the_reader_wants_that(client_as: SignIn) -> None:
    client = client_as("viewer")
    run = make_run(status="succeeded", finished_at=START + 100)
    for name, start, end in (("fetch", 0, 10), ("report", 70, 100)):
        ends = {"started_at": START + start, "finished_at": START + end}
        make_task(run, name, status="succeeded", attempts=[attempt("succeeded", START + start, START + end)], **ends)
    html = page_of(client, run)
    assert 'data-idle="10.000-70.000" data-hidden="0"' in html
    assert 'class="seg s-succeeded" x="70.000" width="30.000"' in html
    html = page_of(client, run, "?idle=hide")
    assert 'class="seg s-succeeded" x="10.000" width="30.000"' in html
    assert 'viewBox="0 0 40.000 16"' in html


def test_a_row_out_of_sight_can_be_found(client_as: SignIn) -> None:
    client, run = client_as("viewer"), make_run()
    make_tasks(run, [f"t{n}" for n in range(900)])
    Task.objects.filter(run=run, name__in=["t300", "t700"]).update(status="failed")

    def place(query: str) -> Any:
        return client.get(f"/runs/{run.pk}/place/?{query}").json()

    assert place("key=t650-650") == {"line": 650, "open": None}
    assert place("key=nobody") == {"line": None, "open": None}
    assert [place(f"after={after}")["line"] for after in ("", "x", 0, 300, 700)] == [300, 300, 300, 700, 300]
    assert place("state=failed&after=0")["line"] == 1
    assert place("state=pending&after=0")["line"] is None


def test_a_row_in_a_fold_is_found_with_the_fold_that_is_to_be_opened(client_as: SignIn) -> None:
    client, run = client_as("viewer"), make_run()
    make_tasks(run, ["fetch", *["part"] * 7])
    assert client.get(f"/runs/{run.pk}/place/?key=part-5").json() == {"line": 6, "open": "part"}
    assert client.get(f"/runs/{run.pk}/place/?key=part-5&open=part").json() == {"line": 6, "open": None}


def test_the_log_shows_the_last_events_and_fetches_earlier_ones(client_as: SignIn) -> None:
    client, run = client_as("viewer"), make_run()
    for _ in range(render.LOG_FIRST + 30):
        make_event(run)
    html = page_of(client, run)
    seqs = [int(seq) for seq in re.findall(r'<li id="e-(\d+)"', html)]
    assert seqs == list(range(31, render.LOG_FIRST + 31))
    earlier = client.get(f"/runs/{run.pk}/events/?first=11").content.decode()
    assert [int(seq) for seq in re.findall(r'<li id="e-(\d+)"', earlier)] == list(range(11, 11 + render.LOG_FIRST))
    for wrong in ("", "?first=", "?first=x", "?first=-1", "?first=٣"):
        assert client.get(f"/runs/{run.pk}/events/{wrong}").status_code == 400


def test_the_page_goes_on_from_where_it_was_drawn(client_as: SignIn) -> None:
    run = make_run()
    make_event(run)
    html = page_of(client_as("viewer"), run)
    assert 'name="since" value="1"' in html
    assert f'name="rev" value="{run.rev}"' in html


def test_scripts_and_styles_of_the_page_are_light(client_as: SignIn) -> None:
    html = page_of(client_as("operator"), make_run())
    found = re.findall(
        r'<(?:script src|link rel="stylesheet" href)="[^"]*/static/([^"]+)"', html.replace('="/', '="//')
    )
    assert len(found) > 8
    weight = 0
    for name in found:
        path = finders.find(re.sub(r"\.[0-9a-f]{12}(?=\.\w+$)", "", name))
        assert isinstance(path, str), name
        weight += len(gzip.compress(Path(path).read_bytes()))
    assert weight < 60 * 1024


# --- the drawer and payloads ---------------------------------------------------------------------------------


def test_the_drawer_shows_input_output_error_and_attempts(client_as: SignIn) -> None:
    client, run = client_as("viewer"), make_run()
    started = make_event(run, "task_started", {"input": {"customer": "Ada"}}, task_key="fetch")
    failed = make_event(
        run, "task_failed", {"error": {"type": "Timeout", "message": "late"}, "partial_results": {"half": 1}},
        task_key="fetch",
    )  # fmt: skip
    ended = make_event(run, "task_completed", {"output": {"rows": 212}}, task_key="fetch")
    make_task(
        run, "fetch", status="succeeded", input_seq=started.seq, output_seq=ended.seq, error_seq=failed.seq,
        attempts=[attempt("failed", START, START + 1), attempt("succeeded", START + 2, START + 3)],
    )  # fmt: skip
    answer = client.get(f"/runs/{run.pk}/task/?key=fetch")
    words = words_of(answer.content.decode())
    for said in ("customer", "Ada", "Timeout", "late", "half", "rows", "212"):
        assert said in words
    assert "fetch" in words_of(page_of(client, run, "?task=fetch").split('id="drawer"')[1])


def test_an_inferred_output_is_the_tasks_own_part_of_the_runs(client_as: SignIn) -> None:
    run = make_run(status="succeeded")
    ended = make_event(run, "flow_completed", {"output": {"notify": {"sent": 2}, "other": {"hidden": 1}}})
    make_task(run, "notify", status="succeeded", inferred=True, output_seq=ended.seq)
    words = words_of(client_as("viewer").get(f"/runs/{run.pk}/task/?key=notify").content.decode())
    assert "sent" in words
    assert "hidden" not in words
    assert "inferred" in words


@pytest.mark.parametrize("key", ["no such", "", "a/b?c#d%e&f", "é✓", "x" * 5000])
def test_a_drawer_for_no_task_says_so(client_as: SignIn, key: str) -> None:
    run = make_run()
    answer = client_as("viewer").get(f"/runs/{run.pk}/task/?key={quote(key, safe='')}")
    assert "no task" in answer.content.decode()


def test_keys_of_any_shape_open_their_drawer(client_as: SignIn) -> None:
    client, run = client_as("viewer"), make_run()
    key = "a/b ?c#d%25&e=\"'<é>"
    make_task(run, key)
    [link] = re.findall(r'class="t-name" href="(\?task=[^"]*)"', page_of(client, run))
    assert "no task" not in page_of(client, run, unescape(link)).split('id="drawer"')[1]


def test_a_payload_is_drawn_when_it_is_asked_for(client_as: SignIn) -> None:
    client, run = client_as("viewer"), make_run()
    text = '{"big":90071992547409931234,"n":9007199254740993,"s":"[masked:bearer#3f9a2c] and","f":1.50,"none":null}'
    event = make_event(run, payload=text)
    words = words_of(client.get(f"/runs/{run.pk}/events/{event.seq}/").content.decode())
    assert "90071992547409931234" in words
    assert "9007199254740993" in words
    assert "bearer" in words
    assert "3f9a2c" in words
    assert client.get(f"/runs/{run.pk}/events/99/").status_code == 404
    assert client.get(f"/runs/{make_run().pk}/events/{event.seq}/").status_code == 404


def test_a_large_payload_is_drawn_in_part_and_says_so(client_as: SignIn) -> None:
    run = make_run()
    event = make_event(run, payload=json.dumps({f"k{n}": [n, "x" * 50] for n in range(20_000)}))
    html = client_as("viewer").get(f"/runs/{run.pk}/events/{event.seq}/").content.decode()
    assert html.count("<li>") < 5000
    assert "more" in words_of(html)


def test_deep_payloads_are_drawn(client_as: SignIn) -> None:
    run = make_run()
    event = make_event(run, payload='{"a":' * 64 + "1" + "}" * 64)
    assert client_as("viewer").get(f"/runs/{run.pk}/events/{event.seq}/").status_code == 200


EVIL = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg/onload=alert(1)>",
    "</textarea></title><b>",
    "javascript:alert(1)",
    "<hx-partial hx-target='body'>",
    "{{ request.user }}{% debug %}",
]  # fmt: skip


@pytest.mark.parametrize("evil", EVIL)
def test_nothing_that_came_in_is_markup(client_as: SignIn, evil: str) -> None:
    run = make_run(
        status="failed", flow_name=evil, run_name=evil, notice=evil, current_task=evil,
        error={"type": evil, "message": evil, "code": evil},
    )  # fmt: skip
    payload = {evil: evil, "error": {"details": {evil: [evil]}, "message": evil}, "partial_results": {evil: evil}}
    event = make_event(
        run, evil[:100], {**payload, "input": {evil: evil}, "output": evil},
        task_key=evil, task_id=evil, task_name=evil, flags=evil[:100],
    )  # fmt: skip
    make_task(
        run, evil, tag=evil, function=evil, depends=[evil], status="failed", error=run.error,
        input_seq=event.seq, output_seq=event.seq, error_seq=event.seq, attempts=[attempt("failed", START, START + 1)],
    )  # fmt: skip
    make_gap(run, detail=evil)
    client = client_as("operator")
    html = page_of(client, run, f"?task={quote(evil, safe='')}")
    html += client.get(f"/runs/{run.pk}/events/{event.seq}/").content.decode()
    assert "alert(1)>" not in html
    assert "<hx-partial" not in html
    assert "<b></b>" not in html
    for tag in ("<script>", "<img", "<svg/", "</textarea>"):
        assert tag not in html
    assert not re.search(r'(href|src)="javascript:', html)
    if "request.user" in evil:
        assert "{{ request.user }}" in unescape(html)


# --- who may what --------------------------------------------------------------------------------------------


def test_a_viewer_is_offered_nothing_to_do(client_as: SignIn) -> None:
    run = make_run()
    html = page_of(client_as("viewer"), run)
    assert "Re-run" not in html
    assert "Stop watching" not in html
    assert client_as("viewer").post(f"/runs/{run.pk}/stop-watching/").status_code == 403


def test_an_operator_can_stop_watching_and_nobody_can_cancel(client_as: SignIn) -> None:
    run, client = make_run(), client_as("operator")
    html = page_of(client, run)
    assert "Stop watching" in html
    assert "Cancel" not in html
    answer = client.post(f"/runs/{run.pk}/stop-watching/", follow=True)
    assert "goes on at the upstream" in answer.content.decode()
    run.refresh_from_db()
    assert run.stop_requested
    assert client.get(f"/runs/{run.pk}/stop-watching/").status_code == 405


def test_a_run_that_has_ended_cannot_be_stopped(client_as: SignIn) -> None:
    run = make_run(status="succeeded")
    answer = client_as("operator").post(f"/runs/{run.pk}/stop-watching/", follow=True)
    assert "has ended" in answer.content.decode()


@pytest.mark.parametrize("part", ["", "task/?key=a", "events/?first=3", "place/?key=a", "events/1/", "rejected/"])
def test_no_part_is_shown_without_signing_in_or_without_a_run(client_as: SignIn, part: str) -> None:
    run = make_run()
    make_event(run)
    assert Client().get(f"/runs/{run.pk}/{part}").status_code == 302
    assert client_as("viewer").get(f"/runs/987654321/{part}").status_code == 404


@pytest.mark.parametrize("path", ["task/?key=%00", "?task=%00x", "?at=1&task=%00"])
def test_a_key_with_a_nul_is_no_key(client_as: SignIn, path: str) -> None:
    assert client_as("viewer").get(f"/runs/{make_run().pk}/{path}").status_code == 200
