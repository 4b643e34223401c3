"""Importing from the studio: what is offered, what is stored, and what is said when the studio gives nothing."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client

from accounts.models import AuditEntry
from runs import catalogue, vault
from runs.importing import Offer
from runs.models import Upstream, Workflow, WorkflowVersion
from runs.upstream import studio as studio_api
from tests.factories import make_definition, make_upstream
from tests.studio import Answer, Studio, item, studio

ClientAs = Callable[[str], Client]
pytestmark = pytest.mark.django_db(transaction=True)
KEY = "lyzr-key-of-this-upstream"
SECRET = "sk-" + "live-0123456789abcdefghij"


@pytest.fixture
def there() -> Iterator[Studio]:
    with studio() as made:
        yield made


@pytest.fixture
def upstream(there: Studio) -> Upstream:
    return make_upstream(name="production", studio_url=there.url, key_sealed=vault.seal(KEY))


@pytest.fixture
def operator(client_as: ClientAs, upstream: Upstream) -> Client:
    return client_as("operator")


def secretive(*names: str, flow_name: str = "Nightly") -> dict[str, Any]:
    definition = make_definition(*names, flow_name=flow_name)
    definition["tasks"][0]["params"]["config"]["api_key"] = SECRET
    return definition


def look(client: Client) -> HttpResponse:
    answer = client.get("/workflows/import/")
    assert isinstance(answer, HttpResponse)
    return answer


def offers(client: Client) -> list[Offer]:
    return [row.offer for row in look(client).context["rows"]]


def take(client: Client, *offered: Offer) -> str:
    """Import these; what the page says then."""
    answer = client.post("/workflows/import/", {"chosen": [offer.mark for offer in offered]}, follow=True)
    return " ".join(str(message) for message in answer.context["messages"])


def test_what_is_new_is_offered_imported_and_then_the_same(operator: Client, there: Studio) -> None:
    there.has(item(secretive("a", "b")), item(make_definition(flow_name="Other")))
    nightly, other = offers(operator)
    assert [(one.flow_name, one.state, one.tasks) for one in (nightly, other)] == [
        ("Nightly", "new", 2), ("Other", "new", 3),
    ]  # fmt: skip
    assert there.asked == [("/v3/workflows/", KEY)]
    assert "Imported Nightly." in take(operator, nightly)
    stored = Workflow.objects.get()
    assert (stored.flow_name, stored.tasks_total, stored.version) == ("Nightly", 2, 1)
    assert vault.unseal(stored.sealed) == secretive("a", "b")
    version = stored.versions.get()
    assert version.change == "from the studio"
    assert version.saved_by is not None
    assert [one.state for one in offers(operator)] == ["same", "new"]
    entry = AuditEntry.objects.get(deed="workflow-saved")
    assert (entry.about, entry.detail) == ("workflow Nightly", "new, from the studio")


def test_what_changed_is_shown_and_becomes_a_new_version(operator: Client, there: Studio) -> None:
    there.has(item(secretive("a", "b")))
    take(operator, *offers(operator))
    stored = Workflow.objects.get()
    Workflow.objects.update(description="typed here", deadline_seconds=60)
    changed = secretive("a", "c")
    there.has(item(changed))
    page = look(operator).content.decode()
    assert "Added “c”; removed “b”" in page
    assert SECRET not in page
    assert "Updated Nightly (version 2)." in take(operator, *offers(operator))
    stored.refresh_from_db()
    assert (stored.version, stored.description, stored.deadline_seconds) == (2, "typed here", 60)
    assert vault.unseal(stored.sealed) == changed
    assert stored.versions.get(number=2).change == "from the studio; added “c”; removed “b”"


def test_no_key_is_stored_or_shown_in_plain(operator: Client, there: Studio) -> None:
    there.has(item(secretive()))
    take(operator, *offers(operator))
    with connection.cursor() as cursor:
        everything = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            everything.append(str(cursor.fetchall()))
    pages = look(operator).content.decode() + operator.get("/workflows/1/").content.decode()
    for secret in (SECRET, KEY, "key-of-the-account"):
        assert secret not in "".join(everything)
        assert secret not in pages


def test_a_key_where_nobody_expects_one_is_refused(operator: Client, there: Studio) -> None:
    definition = make_definition() | {"default_inputs": {"note": "ours is key-of-the-account-0123456789, mind"}}
    there.has(item(definition))
    [offer] = offers(operator)
    assert offer.state == "refused"
    assert "key of its account" in offer.why
    assert "key-of-the-account" not in look(operator).content.decode()


def test_a_node_of_the_canvas_is_no_task(operator: Client, there: Studio) -> None:
    definition = make_definition("a")
    definition["tasks"].append({"name": "inputs", "function": "default_inputs", "params": {}})
    there.has(item(definition))
    [offer] = offers(operator)
    assert offer.tasks == 1
    take(operator, offer)
    assert Workflow.objects.get().tasks_total == 1


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ("text", "no JSON object"),
        (item("{broken", "X"), "no JSON"),
        (item([1], "X"), "no JSON object"),
        (item({"nodes": []}, "X"), "tasks are missing"),
        (item(make_definition() | {"default_inputs": [1]}, "X"), "default_inputs"),
        (item(make_definition(), "..", flow_id="x"), "an address would lose"),
        (item(make_definition() | {"input_schema": {"type": "array"}}, "X"), "First at input_schema.type."),
        (
            item(make_definition() | {"input_schema": {"items": {"$ref": "#"}}}, "X"),
            "First at input_schema.items.$ref.",
        ),
    ],
)
def test_what_cannot_be_launched_is_refused_with_the_reason_beside_the_good(
    operator: Client, there: Studio, odd: Any, why: str
) -> None:
    circle = make_definition("a", "b", flow_name="Circle")
    circle["tasks"][0]["params"]["x"] = {"depends": "b"}
    there.has(odd, item(circle), item(make_definition(flow_name="Good")))
    found = offers(operator)
    assert [one.state for one in found] == ["refused", "refused", "new"]
    assert why in found[0].why
    assert "cycle: a → b → a" in found[1].why


def test_of_two_of_one_name_the_first_is_meant(operator: Client, there: Studio) -> None:
    there.has(item(make_definition("a")), item(make_definition("b"), flow_id="second"))
    assert [one.state for one in offers(operator)] == ["new", "refused"]


@pytest.mark.parametrize("wrap", ["workflows", "items", "data"])
def test_a_wrapped_list_and_definitions_as_text_are_read_too(operator: Client, there: Studio, wrap: str) -> None:
    there.says({wrap: [item(json.dumps(make_definition()), "A"), item({"workflow_data": make_definition()}, "B")]})
    assert [(one.flow_name, one.state) for one in offers(operator)] == [("A", "new"), ("B", "new")]


def test_a_list_without_definitions_is_completed_one_by_one(operator: Client, there: Studio) -> None:
    there.has(item(None, "Bare", flow_id="a/b?c"), item(None, "Lost"))
    there.answers["/v3/workflows/a%2Fb%3Fc"] = Answer(item(make_definition(), "Bare"))
    bare, lost = offers(operator)
    assert (bare.state, bare.tasks) == ("new", 3)
    assert lost.state == "refused"
    assert "404" in lost.why


def test_what_changed_since_the_page_was_drawn_is_not_imported(operator: Client, there: Studio) -> None:
    there.has(item(make_definition("a")))
    seen = offers(operator)
    there.has(item(make_definition("a", "b")))
    assert "changed, here or at the studio, after this page was drawn" in take(operator, *seen)
    assert not Workflow.objects.exists()


def test_what_was_saved_here_since_the_page_was_drawn_is_not_overwritten(operator: Client, there: Studio) -> None:
    there.has(item(make_definition("a")))
    take(operator, *offers(operator))
    there.has(item(make_definition("b")))
    seen = offers(operator)
    stored = Workflow.objects.get()
    fields = {"upstream": stored.upstream_id, "definition": json.dumps(make_definition("mine")), "seen": "1"}
    operator.post(f"/workflows/{stored.pk}/edit/", fields)
    assert "not imported" in take(operator, *seen)
    assert Workflow.objects.get().definition["tasks"][0]["name"] == "mine"


def test_nothing_chosen_is_said(operator: Client, there: Studio) -> None:
    there.has(item(make_definition()))
    answer = operator.post("/workflows/import/", {})
    assert answer.status_code == 422
    assert "Nothing was chosen" in answer.content.decode()


HUGE = b"[" + b" " * (studio_api.MOST_BYTES + 1) + b"]"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"body": {"message": f"bad key {KEY}"}, "status": 401}, "it refused the API key (401: bad key [masked:"),
        ({"body": {}, "status": 403}, "it refused the API key (403)"),
        ({"body": {"detail": "none"}, "status": 404}, "there is nothing at /v3/workflows/ (404)"),
        ({"body": b"", "status": 302, "location": "http://127.0.0.1:9/"}, "a redirect (302), which is not followed"),
        ({"body": {}, "status": 429}, "too many requests (429)"),
        ({"body": {"error": "no disk"}, "status": 500}, "it answered 500: no disk"),
        ({"body": b"<html>sign in</html>", "content_type": "text/html"}, "a web page in place of JSON"),
        ({"body": b"  <!doctype html>"}, "a web page in place of JSON"),
        ({"body": b"\xff\xfe nonsense"}, "not JSON that can be read"),
        ({"body": b"[" * 100_000}, "not JSON that can be read"),
        ({"body": b""}, "not JSON that can be read"),
        ({"body": {"count": 0}}, "no list of workflows"),
        ({"body": 7}, "no list of workflows"),
        ({"body": b"[]", "content_encoding": "gzip"}, "packed in a way"),
        ({"body": HUGE}, "larger than 16 MiB"),
    ],
)
def test_a_studio_that_gives_nothing_is_told_of_by_its_upstreams_name(
    operator: Client, there: Studio, answer: dict[str, Any], said: str
) -> None:
    there.says(**answer)
    page = look(operator)
    assert page.status_code == 200
    refused = page.context["refused"]
    assert refused.startswith("The studio of production gave no workflows: ")
    assert said in refused
    assert KEY not in page.content.decode()


def test_a_studio_that_does_not_answer_is_given_up(
    operator: Client, there: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio_api, "SECONDS", 0.3)
    there.silent.set()
    assert "it did not answer in full within 0.3 seconds" in look(operator).context["refused"]


def test_a_studio_that_cannot_be_reached_is_said(operator: Client, upstream: Upstream) -> None:
    Upstream.objects.update(studio_url="http://127.0.0.1:1")
    assert "it cannot be reached" in look(operator).context["refused"]


def test_the_guard_stands_before_the_studio(operator: Client, there: Studio, settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    assert "requests may not go there" in look(operator).context["refused"]
    assert there.asked == []


def test_more_than_are_read_is_said(operator: Client, there: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio_api, "MOST_ITEMS", 1)
    there.has(item(make_definition(flow_name="A")), item(make_definition(flow_name="B")))
    page = look(operator)
    assert [row.offer.flow_name for row in page.context["rows"]] == ["A"]
    assert "The studio has more than 1" in page.content.decode()


def test_a_stored_secret_that_cannot_be_opened_refuses_that_one_only(
    operator: Client, there: Studio, settings: Any
) -> None:
    there.has(item(make_definition()), item(make_definition(flow_name="Other")))
    take(operator, offers(operator)[0])
    Workflow.objects.update(sealed="nonsense")
    assert [one.state for one in offers(operator)] == ["refused", "new"]


def test_the_upstream_is_chosen_and_one_without_a_studio_is_not_there(operator: Client, there: Studio) -> None:
    there.has()
    other = make_upstream(name="other", studio_url=there.url)
    bare = make_upstream(name="bare")
    assert "studio of other" in operator.get(f"/workflows/import/?upstream={other.pk}").content.decode()
    assert "Nothing is saved at this studio" in look(operator).content.decode()
    for number in (bare.pk, "x", 10**30):
        assert operator.get(f"/workflows/import/?upstream={number}").status_code == 404


def test_without_any_studio_the_page_says_what_is_missing(client_as: ClientAs) -> None:
    make_upstream()
    assert "No upstream has a studio" in client_as("operator").get("/workflows/import/").content.decode()


def test_times_that_are_none_stand_as_they_are(operator: Client, there: Studio) -> None:
    definition = make_definition()
    there.has(
        *(
            item(copy.deepcopy(definition), f"F{number}", updated_at=text)
            for number, text in enumerate(["yesterday", "0001-01-01T00:00:00+14:00", "2026-11-24T10:00:00", 7])
        )
    )
    assert look(operator).status_code == 200
    assert [str(one.updated_at) for one in offers(operator)] == [
        "yesterday", "0001-01-01T00:00:00+14:00", "2026-11-24 10:00:00+00:00", "",
    ]  # fmt: skip


def test_versions_are_bounded(operator: Client, there: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MOST_VERSIONS", 2)
    for name in ("a", "b", "c", "d"):
        there.has(item(make_definition(name)))
        take(operator, *offers(operator))
    assert list(WorkflowVersion.objects.order_by("number").values_list("number", flat=True)) == [3, 4]
