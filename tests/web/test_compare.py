"""Two runs side by side: which are compared, what is said of them, and what that costs."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from runs import actions, comparing
from runs.models import Launch, Run, Task, Upstream
from runs.web import compare
from tests.factories import START, make_event, make_run, make_task, make_upstream, make_user

pytestmark = pytest.mark.django_db

SignIn = Callable[[str], Client]
T0 = datetime(2026, 11, 24, tzinfo=UTC)
EVIL = "\"><script>alert(1)</script>'"


@pytest.fixture
def viewer(client_as: SignIn) -> Client:
    return client_as("viewer")


@pytest.fixture
def upstream() -> Upstream:
    return make_upstream()


def run_at(minute: int, upstream: Upstream, status: str = "succeeded", **fields: Any) -> Run:
    """A run of the flow that was made then, and has ended."""
    fields.setdefault("finished_at", START + 10)
    run = make_run(upstream=upstream, status=status, connection="closed", **fields)
    Run.objects.filter(pk=run.pk).update(created_at=T0 + timedelta(minutes=minute))
    return Run.objects.get(pk=run.pk)


def launched(run: Run, inputs: dict[str, Any], *tasks: dict[str, Any], **definition: Any) -> Run:
    whole = {"flow_name": run.flow_name, "run_name": run.run_name, "tasks": list(tasks), **definition}
    Launch.objects.create(run=run, inputs=inputs, definition=whole, sealed="")
    return run


def told_task(run: Run, key: str, payload_in: Any = None, payload_out: Any = None, **fields: Any) -> Task:
    """A task with what it was given and what came of it."""
    fields.setdefault("status", "succeeded")
    fields.setdefault("attempts", [{"started_at": START, "finished_at": START + 1, "status": "succeeded"}])
    started = make_event(run, "task_started", {"input": payload_in}, task_key=key)
    ended = make_event(run, "task_completed", {"output": payload_out}, task_key=key)
    return make_task(run, key, input_seq=started.seq, output_seq=ended.seq, **fields)


def page_of(client: Client, before: Run, after: Run, more: str = "") -> str:
    answer = client.get(f"/compare/?a={before.pk}&b={after.pk}{more}")
    assert answer.status_code == 200, answer
    html: str = answer.content.decode()
    return html


def words(html: str) -> str:
    text = re.sub(r"<(script|style|svg).*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())


def rows(html: str) -> list[str]:
    """The names in the table from top to bottom, without the runs themselves."""
    return re.findall(r'<i class="caret"></i>([^<]*)</a>', html)[1:]


def row(html: str, name: str) -> str:
    """What stands in the row of this task."""
    [found] = [one for one in html.split("<tr ") if f'<i class="caret"></i>{name}</a>' in one]
    return words(f"<tr {found}".split("</tr>")[0])


# --- which runs ----------------------------------------------------------------------------------------------


def test_of_one_run_the_other_is_the_last_good_one_of_its_flow_before_it(viewer: Client, upstream: Upstream) -> None:
    good = run_at(1, upstream)
    run_at(2, upstream, "failed")
    run_at(2, upstream, flow_name="Other")
    run_at(2, make_upstream())
    run = run_at(3, upstream, "failed")
    run_at(4, upstream)
    answer = viewer.get(f"/compare/?b={run.pk}")
    assert answer.status_code == 302
    assert answer["Location"] == f"/compare/?b={run.pk}&a={good.pk}"
    assert viewer.get(f"/compare/?a={run.pk}")["Location"] == f"/compare/?a={good.pk}&b={run.pk}"


def test_without_a_good_one_it_is_the_one_before(viewer: Client, upstream: Upstream) -> None:
    run_at(1, upstream, "failed")
    before = run_at(2, upstream, "lost")
    run = run_at(3, upstream, "failed")
    assert viewer.get(f"/compare/?b={run.pk}")["Location"].endswith(f"a={before.pk}")


def test_where_none_came_before_the_reader_chooses(viewer: Client, upstream: Upstream) -> None:
    run, later = run_at(1, upstream), run_at(2, upstream)
    html = viewer.get(f"/compare/?b={run.pk}").content.decode()
    assert f"No run of Nightly came before {run.run_name} ." in words(html)
    assert f'href="?b={run.pk}&amp;a={later.pk}"' in html
    assert f'name="b" value="{run.pk}"' in html


def test_the_page_of_a_run_leads_to_its_comparison(viewer: Client, upstream: Upstream) -> None:
    run = run_at(1, upstream)
    assert f'href="/compare/?b={run.pk}"' in viewer.get(f"/runs/{run.pk}/").content.decode()


def test_two_rows_of_the_list_are_compared_the_older_one_first(viewer: Client, upstream: Upstream) -> None:
    newer, older = run_at(2, upstream), run_at(1, upstream)
    assert viewer.get("/").content.decode().count('<input type="checkbox" form="compare" name="run"') == 2
    answer = viewer.get(f"/compare/?run={newer.pk}&run={older.pk}")
    assert answer["Location"] == f"/compare/?a={older.pk}&b={newer.pk}"
    answer = viewer.get(f"/compare/?run={newer.pk}", follow=True)
    assert answer.redirect_chain[-1][0] == f"/compare/?b={newer.pk}&a={older.pk}"


def test_more_than_two_rows_are_no_pair(viewer: Client, upstream: Upstream) -> None:
    made = [run_at(n, upstream).pk for n in range(3)]
    answer = viewer.get("/compare/?" + "&".join(f"run={one}" for one in made))
    assert answer.status_code == 400
    assert "3 runs were chosen, and a comparison takes two." in words(answer.content.decode())
    assert viewer.get("/compare/?run=x&run=987654", follow=True).status_code == 200, "nothing was chosen: the form"


@pytest.mark.parametrize("form", ["#{}", " {} ", "/runs/{}/", "http://example.com/stepline/runs/{}/?task=a#x"])
def test_runs_are_named_by_number_or_by_the_address_of_their_page(
    viewer: Client, upstream: Upstream, form: str
) -> None:
    before, after = run_at(1, upstream), run_at(2, upstream)
    answer = viewer.get(f"/compare/?a={quote(form.format(before.pk))}&b={after.pk}&order=plan")
    assert answer["Location"] == f"/compare/?a={before.pk}&b={after.pk}&order=plan"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("a=987654&b={}", "There is no run 987654."),
        ("a={}&b=x%22y", '“x"y” names no run.'),
        ("a={}&b=-1", "“-1” names no run."),
        ("a={}&b=%D9%A3", "“٣” names no run."),
        ("a={}&b=" + "9" * 30, "names no run."),
        ("a={}&b=/runs/x/", "names no run."),
        ("a={0}&b={0}", "This is run A, too."),
    ],
)
def test_what_names_no_run_is_said_at_its_field(viewer: Client, upstream: Upstream, query: str, said: str) -> None:
    answer = viewer.get("/compare/?" + query.format(run_at(1, upstream).pk))
    assert answer.status_code == 404
    html = answer.content.decode()
    assert 'class="field wrong"' in html
    assert said in words(html)


def test_without_runs_there_is_a_form(viewer: Client) -> None:
    answer = viewer.get("/compare/")
    assert answer.status_code == 200
    assert "Run A" in words(answer.content.decode())


# --- the page ------------------------------------------------------------------------------------------------


def test_both_runs_are_told_side_by_side(viewer: Client, upstream: Upstream) -> None:
    ada = make_user("operator", username="ada")
    before = run_at(1, upstream, execution_time=20.0, created_by=ada)
    after = run_at(2, upstream, "failed", execution_time=30.0, error={"type": "Timeout", "message": "late"})
    html = page_of(viewer, before, after)
    said = words(html)
    for part in ("ada", "Succeeded", "Failed", "20.0 s", "30.0 s", "Timeout : late"):
        assert part in said
    assert "another state, 10.0 s longer +50 %" in row(html, "The whole run")
    for run in (before, after):
        assert f'href="/runs/{run.pk}/"' in html
    assert f'id="swap" href="/compare/?a={after.pk}&amp;b={before.pk}"' in html
    assert "go on" not in said


def test_tasks_stand_side_by_side_and_what_differs_most_first(viewer: Client, upstream: Upstream) -> None:
    before, after = run_at(1, upstream), run_at(2, upstream, "failed")
    once = [{"status": "succeeded"}]
    for run, seconds, tries, status in ((before, 1.0, once, "succeeded"), (after, 5.0, once * 3, "failed")):
        make_task(run, "same", status="succeeded", duration=2.0, attempts=once)
        make_task(run, "slow", status="succeeded", duration=seconds, attempts=once)
        make_task(run, "retried", status="succeeded", duration=1.0, attempts=tries)
        make_task(run, "broken", status=status, duration=1.0, attempts=once)
    make_task(before, "gone", status="succeeded", duration=1.0)
    make_task(after, "new", status="running")
    html = page_of(viewer, before, after)
    assert rows(html) == ["broken", "gone", "new", "retried", "slow", "same"]
    assert row(html, "slow") == "slow A succeeded 1.0 s B succeeded 5.0 s 4.0 s longer +400 %"
    assert row(html, "broken") == "broken A succeeded 1.0 s B failed 1.0 s another state, the same time"
    assert row(html, "gone") == "gone A succeeded 1.0 s B not there only in A"
    assert row(html, "new") == "new A not there B running only in B"
    assert "↻ x3" in row(html, "retried")
    assert "1 in another state · 1 only in A · 1 only in B · 1 with other attempts · 1 longer · 1 the same" in words(
        html
    )
    assert rows(page_of(viewer, before, after, "&order=plan")) == ["same", "slow", "retried", "broken", "gone", "new"]
    assert rows(page_of(viewer, before, after, "&only=differences")) == ["broken", "gone", "new", "retried", "slow"]
    assert "4.0 s shorter −80 %" in row(page_of(viewer, after, before), "slow")


def test_the_longest_difference_fills_its_half_of_the_bar(viewer: Client, upstream: Upstream) -> None:
    before, after = run_at(1, upstream), run_at(2, upstream)
    for run, first, second in ((before, 8.0, 2.0), (after, 4.0, 4.0)):
        make_task(run, "first", status="succeeded", duration=first)
        make_task(run, "second", status="succeeded", duration=second)
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)" width="([\d.]+)"', page_of(viewer, before, after))
    assert bars == [("shorter", "0.00", "50.00"), ("longer", "50.00", "25.00")]


def test_runs_that_do_not_differ_say_so(viewer: Client, upstream: Upstream) -> None:
    before, after = (launched(run_at(n, upstream), {"a": 1}, {"name": "fetch"}) for n in (1, 2))
    for run in (before, after):
        make_task(run, "fetch", status="succeeded", duration=1.0)
    html = page_of(viewer, before, after, "&only=differences")
    assert words(html).count("The same.") == 2
    assert "No task differs. Show all 1" in words(html)
    assert rows(html) == []


def test_runs_without_tasks_say_so(viewer: Client, upstream: Upstream) -> None:
    assert "Neither run has a task." in words(page_of(viewer, run_at(1, upstream), run_at(2, upstream)))


def test_a_run_that_goes_on_is_compared_as_of_now(viewer: Client, upstream: Upstream) -> None:
    before, after = run_at(1, upstream), run_at(2, upstream, "running", finished_at=None)
    html = page_of(viewer, before, after)
    assert "Run B goes on : this is how they stood at" in words(html).replace("on:", "on :")
    assert 'id="reload"' in html
    assert "Neither run has a task yet." in words(html)


def test_what_was_launched_is_compared(viewer: Client, upstream: Upstream) -> None:
    fetch = {"name": "fetch", "params": {"url": "a", "key": "[masked:bearer#3f9a1c]"}}
    before = launched(run_at(1, upstream), {"day": "Mon", "key": "[masked:name#111111]", "deep": {"a": [1]}}, fetch,
                      {"name": "old"}, edges=[1])  # fmt: skip
    after = launched(
        run_at(2, upstream), {"day": "Tue", "key": "[masked:name#222222]", "deep": {"a": [1, 2]}},
        {"name": "fetch", "params": {"url": "b", "key": "[masked:bearer#3f9a1c]"}}, {"name": "new"}, edges=[2],
    )  # fmt: skip
    html = page_of(viewer, before, after)
    said = words(html)
    assert 'day "Mon" → now "Tue"' in said
    assert "deep.a[1] not in A → now 2" in said
    assert 'key " masked 111111 " → now " masked 222222 " another secret' in said
    assert said.count("another secret") == 1, "equal secrets have equal marks"
    assert "Only in B: new" in said
    assert "Only in A: old" in said
    assert 'Task fetch is not the same params.url "a" → now "b"' in said
    assert "edges[0] 1 → now 2" in said


def test_a_run_that_was_launched_again_was_launched_with_the_same(viewer: Client, upstream: Upstream) -> None:
    definition = {
        "description": "Told to people, not sent.",
        "tasks": [
            {"name": "fetch", "function": "call_lyzr_agent", "params": {"password": "hunter2-4711"}},
            {"name": "canvas", "function": "default_inputs"},
        ],
        "default_inputs": {"day": "Mon"},
    }
    first = actions.launch(flow_name="Nightly", upstream=upstream, definition=definition)
    again = actions.retry(first)
    assert words(page_of(viewer, first, again)).count("The same.") == 2


def test_what_a_run_that_was_started_elsewhere_was_launched_with_is_not_known(
    viewer: Client, upstream: Upstream
) -> None:
    before, after = launched(run_at(1, upstream), {}), run_at(2, upstream, attached=True)
    assert "It is not known of B:" in words(page_of(viewer, before, after))


def test_huge_values_are_cut_to_where_they_part(viewer: Client, upstream: Upstream) -> None:
    before = launched(run_at(1, upstream), {"text": "x" * 50_000 + "one" + "y" * 50_000})
    after = launched(run_at(2, upstream), {"text": "x" * 50_000 + "two" + "y" * 50_000})
    html = page_of(viewer, before, after)
    assert "one" in words(html)
    assert "two" in words(html)
    assert len(html) < 30_000


# --- what a task was given, and what came of it --------------------------------------------------------------


def test_an_open_task_tells_where_its_payloads_differ(viewer: Client, upstream: Upstream) -> None:
    before, after = run_at(1, upstream), run_at(2, upstream, "failed")
    told_task(before, "fetch", {"url": "a", "token": "[masked:bearer#aaaaaa]"}, {"rows": [1, 2]})
    task = told_task(after, "fetch", {"url": "a", "token": "[masked:bearer#bbbbbb]"}, {"rows": [1, 3]})
    failed = make_event(after, "task_failed", {"error": {"type": "Late"}, "partial_results": {"half": 1}})
    Task.objects.filter(pk=task.pk).update(error_seq=failed.seq)
    said = words(page_of(viewer, before, after, "&task=fetch"))
    assert 'Input token " masked bearer aaaaaa " → now " masked bearer bbbbbb " another secret' in said
    assert "Output rows[1] 2 → now 3" in said
    assert 'Error the whole not in A → now {"type":"Late"}' in said
    assert 'Partial results the whole not in A → now {"half":1}' in said
    part = viewer.get(f"/compare/task/?a={before.pk}&b={after.pk}&before=fetch&after=fetch").content.decode()
    assert words(part) in said
    assert "url" not in words(part).replace("In run", "")


def test_a_task_whose_key_is_another_in_each_run_opens(viewer: Client, upstream: Upstream) -> None:
    before, after = run_at(1, upstream), run_at(2, upstream)
    told_task(before, "id-1", "one", name="fetch")
    told_task(after, "id-2", "two", name="fetch")
    for key in ("id-2", "id-1"):
        html = page_of(viewer, before, after, f"&task={key}")
        assert rows(html) == ["fetch"]
        assert 'Input the whole "one" → now "two"' in words(html), key
    link = unescape(re.findall(r'data-src="([^"]*after=id-2[^"]*)"', html)[0])
    assert 'the whole "one" → now "two"' in words(viewer.get(link).content.decode())


def test_the_whole_runs_open_too(viewer: Client, upstream: Upstream) -> None:
    before, after = run_at(1, upstream), run_at(2, upstream, "failed", error={"type": "Late"})
    ended = make_event(before, "flow_completed", {"output": {"sum": 3}})
    Run.objects.filter(pk=before.pk).update(output_seq=ended.seq)
    said = words(page_of(viewer, before, after, "&whole=1"))
    assert 'Output the whole {"sum":3} → now not in B' in said
    assert 'Error the whole not in A → now {"type":"Late"}' in said


def test_keys_of_any_shape_open(viewer: Client, upstream: Upstream) -> None:
    key = "a/b ?c#d%25&e=\"'<é>"
    before, after = run_at(1, upstream), run_at(2, upstream)
    for number, run in enumerate((before, after)):
        told_task(run, key, number)
    html = page_of(viewer, before, after)
    assert "Input the whole 0 → now 1" in words(page_of(viewer, before, after, f"&task={quote(key, safe='')}"))
    [link] = [unescape(found) for found in re.findall(r'data-src="([^"]*before=a[^"]*)"', html)]
    assert "Input the whole 0 → now 1" in words(viewer.get(link).content.decode())


@pytest.mark.parametrize("query", ["", "a=1", "a=x&b=1", "a=-1&b=2"])
def test_a_part_without_two_runs_is_no_request(viewer: Client, query: str) -> None:
    assert viewer.get(f"/compare/task/?{query}").status_code == 400


def test_a_part_of_what_is_not_there_says_so(viewer: Client, upstream: Upstream) -> None:
    before, after = run_at(1, upstream), run_at(2, upstream)
    assert viewer.get(f"/compare/task/?a={before.pk}&b=987654").status_code == 404
    for key in ("nobody", "x" * 900, "%00"):
        part = viewer.get(f"/compare/task/?a={before.pk}&b={after.pk}&before=a&after={key}").content.decode()
        assert "No event tells of an input" in words(part)


# --- large runs, and what comes from outside -----------------------------------------------------------------


def many(run: Run, count: int, seconds: float) -> None:
    Task.objects.bulk_create(
        Task(run=run, key=f"t{n:04d}", name=f"t{n:04d}", position=n, status="succeeded", duration=n * seconds)
        for n in range(count)
    )


def test_many_tasks_come_in_pages(viewer: Client, upstream: Upstream) -> None:
    before, after = run_at(1, upstream), run_at(2, upstream)
    many(before, 250, 1.0)
    many(after, 250, 2.0)
    html = page_of(viewer, before, after)
    assert rows(html) == [f"t{n:04d}" for n in range(249, 149, -1)]
    assert "Page 1 of 3, 250 tasks" in words(html)
    last = page_of(viewer, before, after, "&order=plan&page=3")
    assert rows(last) == [f"t{n:04d}" for n in range(200, 250)]
    assert "launched with" in words(html)
    assert "launched with" not in words(last), "it stands on the first page"
    for nonsense in ("0", "-4", "x", "999", "٣"):
        assert page_of(viewer, before, after, f"&page={quote(nonsense)}")
    opened = page_of(viewer, before, after, "&order=plan&task=t0222")
    assert "t0222" in rows(opened), "an address that names a task leads to the page that holds it"
    assert 'id="open"' in opened


def test_of_very_many_places_some_are_shown_and_the_others_counted(viewer: Client, upstream: Upstream) -> None:
    before = launched(run_at(1, upstream), {f"n{n}": 0 for n in range(5000)})
    after = launched(run_at(2, upstream), {f"n{n}": 1 for n in range(5000)})
    html = page_of(viewer, before, after)
    assert html.count("<del>") == compare.MOST_PLACES
    assert f"and {comparing.MOST_PLACES - compare.MOST_PLACES} or more other places." in words(html)


@pytest.mark.parametrize("size", [3, 300])
def test_the_number_of_queries_does_not_grow_and_no_payload_is_read(
    viewer: Client, upstream: Upstream, size: int
) -> None:
    before, after = launched(run_at(1, upstream), {}), launched(run_at(2, upstream), {})
    for run in (before, after):
        many(run, size, 1.0)
        for _ in range(3):
            make_event(run)
    viewer.get("/compare/")  # a session's first page enters it into a list
    with CaptureQueriesContext(connection) as seen:
        page_of(viewer, before, after)
    assert len(seen) <= 8
    assert not [one["sql"] for one in seen if "runs_event" in one["sql"]]
    with CaptureQueriesContext(connection) as seen:
        viewer.get(f"/compare/task/?a={before.pk}&b={after.pk}&before=t0001&after=t0001")
    assert len(seen) <= 6


def test_only_so_many_runs_of_a_flow_are_offered(viewer: Client, upstream: Upstream) -> None:
    made = [run_at(n, upstream, run_name=f"nth-{n}") for n in range(compare.RECENT + 5)]
    html = page_of(viewer, made[0], made[1])
    offered = re.findall(rf'<a href="\?a=(\d+)&amp;b={made[1].pk}">', html)
    assert offered == [str(run.pk) for run in made[: -compare.RECENT - 1 : -1]]


def test_nothing_that_came_in_is_markup(viewer: Client, upstream: Upstream) -> None:
    error = {"type": EVIL, "message": EVIL}
    before = launched(run_at(1, upstream, flow_name=EVIL, run_name=EVIL), {EVIL: EVIL}, {"name": EVIL})
    after = launched(run_at(2, upstream, "failed", flow_name=EVIL, error=error, notice=EVIL), {EVIL: 1}, {"name": "x"})
    told_task(before, EVIL, {EVIL: EVIL})
    told_task(after, EVIL, {EVIL: 2})
    html = page_of(viewer, before, after, f"&task={quote(EVIL, safe='')}&whole=1")
    assert "<script>alert" not in html
    assert EVIL in unescape(html)


def test_nobody_compares_without_signing_in(upstream: Upstream) -> None:
    before, after = run_at(1, upstream), run_at(2, upstream)
    for address in (f"/compare/?a={before.pk}&b={after.pk}", f"/compare/task/?a={before.pk}&b={after.pk}"):
        assert Client().get(address)["Location"].startswith("/sign-in/")
