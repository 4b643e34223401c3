"""The graph of a run and of a workflow, and a run's own input and output, as the server draws them."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from runs.models import Launch, Run
from runs.web import graph, in_and_out
from tests.factories import make_definition, make_event, make_run, make_task, make_workflow

pytestmark = pytest.mark.django_db
SignIn = Callable[[str], Client]
EVIL = "<script>alert(1)</script>\"'&"


def launched(*names: str, inputs: Any = None, **fields: Any) -> Run:
    """A run of a definition with these tasks, none of which has begun."""
    run = make_run(**fields)
    Launch.objects.create(run=run, definition=make_definition(*names), inputs=inputs or {}, sealed="")
    for name in names:
        make_task(run, name)
    return run


def page_of(client: Client, run: Run, query: str = "") -> str:
    return str(client.get(f"/runs/{run.pk}/{query}").content.decode())


def nodes_of(html: str) -> dict[str, str]:
    """The state of each node by the key of its task."""
    return dict(re.findall(r'<a class="node [^"]*" data-key="([^"]*)" data-state="(\w+)"', html))


def test_a_graph_shows_each_task_of_what_was_launched_in_its_state(client_as: SignIn) -> None:
    run = launched("fetch", "clean", "report")
    run.tasks.filter(key="fetch").update(status="failed")
    html = page_of(client_as("viewer"), run, "?view=graph")
    assert nodes_of(html) == {"fetch": "failed", "clean": "pending", "report": "pending"}
    assert html.count('class="edge"') == 2
    assert 'aria-label="fetch, failed"' in html


def test_the_timeline_costs_no_graph(client_as: SignIn) -> None:
    assert nodes_of(page_of(client_as("viewer"), launched("fetch", "clean"))) == {}


def test_a_run_started_elsewhere_has_no_graph_and_says_why(client_as: SignIn) -> None:
    html = page_of(client_as("viewer"), make_run(attached=True), "?view=graph")
    assert "was started elsewhere: Stepline does not know its workflow" in html
    assert 'data-view="graph" class="button' not in html


def test_a_graph_too_large_to_be_read_is_not_drawn(client_as: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_NODES", 2)
    html = page_of(client_as("viewer"), launched("fetch", "clean", "report"), "?view=graph")
    assert nodes_of(html) == {}
    assert "A graph of 3 tasks could not be read" in html


def test_a_workflow_shows_its_graph_before_it_was_ever_run(client_as: SignIn) -> None:
    workflow = make_workflow(definition=make_definition("fetch", EVIL))
    html = client_as("viewer").get(f"/workflows/{workflow.pk}/").content.decode()
    assert html.count('<g class="node"') == 2
    assert "<script>alert" not in html


def test_names_in_a_graph_are_no_markup(client_as: SignIn) -> None:
    html = page_of(client_as("viewer"), launched("fetch", EVIL), "?view=graph")
    assert len(nodes_of(html)) == 2
    assert "<script>alert" not in html


# --- input and output ----------------------------------------------------------------------------------------


def io_of(html: str) -> str:
    return html[html.index('id="io"') : html.index('class="log-section"')]


def test_small_inputs_and_outputs_stand_on_the_page(client_as: SignIn) -> None:
    run = launched("fetch", inputs={"customer": "Ada"}, status="succeeded")
    ended = make_event(run, "flow_completed", {"output": {"rows": 212}})
    Run.objects.filter(pk=run.pk).update(output_seq=ended.seq)
    html = io_of(page_of(client_as("viewer"), run))
    assert "Ada" in html
    assert "212" in html


def test_large_ones_are_not_read_before_somebody_opens_them(client_as: SignIn) -> None:
    client = client_as("viewer")
    long = "x" * in_and_out.SMALL
    run = launched("fetch", inputs={"text": long}, status="succeeded")
    ended = make_event(run, "flow_completed", {"output": {"answer": long}})
    Run.objects.filter(pk=run.pk).update(output_seq=ended.seq)
    html = page_of(client, run)
    assert long not in html
    for name in ("input", "output"):
        address = f"/runs/{run.pk}/{name}/"
        assert f'data-src="{name}/"' in html, "below the address of the page"
        assert long in client.get(address).content.decode()


def test_what_is_not_there_is_said(client_as: SignIn) -> None:
    client, run = client_as("viewer"), make_run(attached=True)
    assert "started elsewhere" in io_of(page_of(client, run))
    assert "It has none before it ends" in io_of(page_of(client, run))
    ended = make_run(status="failed")
    assert "It ended without an output" in io_of(page_of(client, ended))
    for name in ("input", "output"):
        assert client.get(f"/runs/{run.pk}/{name}/").status_code == 404
        assert client.get(f"/runs/987654321/{name}/").status_code == 404


def test_numbers_of_the_input_keep_all_their_digits(client_as: SignIn) -> None:
    run = launched("fetch", inputs=json.loads('{"big": 90071992547409931234}'))
    assert "90071992547409931234" in io_of(page_of(client_as("viewer"), run))


def test_a_page_reads_its_rows_without_payloads_and_in_as_many_queries_whatever_its_size(client_as: SignIn) -> None:
    client = client_as("viewer")
    counts = []
    for size in (3, 900):
        run = launched(*(f"t{n}" for n in range(size)))
        for _ in range(size):
            make_event(run)
        with CaptureQueriesContext(connection) as seen:
            page_of(client, run)
        counts.append(len(seen))
        rows = [one["sql"] for one in seen if 'FROM "runs_event"' in one["sql"] or 'FROM "runs_task"' in one["sql"]]
        assert not any('"payload"' in sql for sql in rows)
    assert counts[1] <= counts[0]
