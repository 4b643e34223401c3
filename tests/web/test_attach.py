"""Following a run that was started elsewhere."""

from collections.abc import Callable

import pytest
from django.test import Client

from runs.models import Run
from tests.factories import make_run, make_upstream, make_workflow

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db


def test_a_viewer_may_not(client_as: ClientAs) -> None:
    assert client_as("viewer").get("/attach/").status_code == 403


def test_the_page_says_what_will_be_missing_and_offers_known_flows(client_as: ClientAs) -> None:
    make_workflow(flow_name="Nightly")
    page = client_as("operator").get("/attach/").content.decode()
    assert "What happened before you attach is not shown" in page
    assert '<option value="Nightly">' in page


def test_without_an_upstream_the_page_leads_whoever_may_to_one(client_as: ClientAs) -> None:
    assert "/upstreams/new/" in client_as("admin").get("/attach/").content.decode()
    page = client_as("operator").get("/attach/").content.decode()
    assert "An administrator can add one" in page
    assert "/upstreams/new/" not in page


def test_the_default_upstream_is_chosen_and_a_link_prefills(client_as: ClientAs) -> None:
    make_upstream(name="another")
    default = make_upstream(name="default")
    form = client_as("operator").get("/attach/?flow_name=A+B&run_name=r%2F1").context["form"]
    assert form["upstream"].value() in (default, default.pk)
    assert form["flow_name"].value() == "A B"
    assert form["run_name"].value() == "r/1"


def test_attaching_makes_a_run_and_leads_to_it(client_as: ClientAs) -> None:
    upstream = make_upstream()
    fields = {"upstream": upstream.pk, "flow_name": "Über Nacht", "run_name": "100 %?#/"}
    answer = client_as("operator").post("/attach/", fields)
    run = Run.objects.get()
    assert answer.headers["Location"] == f"/runs/{run.pk}/"
    assert (run.attached, run.upstream, run.flow_name, run.run_name) == (True, upstream, "Über Nacht", "100 %?#/")
    assert run.created_by is not None


def test_a_run_that_is_followed_already_is_linked(client_as: ClientAs) -> None:
    run = make_run(run_name="there")
    fields = {"upstream": run.upstream.pk, "flow_name": run.flow_name, "run_name": "there"}
    answer = client_as("operator").post("/attach/", fields)
    assert answer.status_code == 409
    assert f'followed already: <a href="/runs/{run.pk}/">' in answer.content.decode()
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flow_name", ""),
        ("flow_name", ".."),
        ("run_name", ""),
        ("run_name", "x" * 301),
        ("upstream", "999"),
        ("upstream", ""),
    ],
)
def test_a_mistake_stands_at_its_field(client_as: ClientAs, field: str, value: str) -> None:
    fields = {"upstream": str(make_upstream().pk), "flow_name": "F", "run_name": "r"}
    answer = client_as("operator").post("/attach/", fields | {field: value})
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert not Run.objects.exists()


def test_a_run_that_is_followed_already_is_linked_even_among_others_of_its_flow(
    client_as: Callable[[str], Client],
) -> None:
    upstream = make_upstream()
    make_run(upstream=upstream, flow_name="Flow", run_name="first")
    wanted = make_run(upstream=upstream, flow_name="Flow", run_name="second")
    answer = client_as("operator").post(
        "/attach/", {"upstream": upstream.pk, "flow_name": "Flow", "run_name": "second"}
    )
    assert answer.status_code == 409
    assert answer.context["taken"] == wanted
