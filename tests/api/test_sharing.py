"""Links made by programs."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEntry
from tests.api.conftest import Caller, problem
from tests.factories import make_run


def test_a_program_makes_lists_and_revokes_a_link(operator: Caller) -> None:
    run = make_run()
    made = operator.post(f"/runs/{run.pk}/links", {"name": "release 7", "days": 7})
    assert made.status_code == 201
    link = made.json()
    for address in ("url", "embed_url", "badge_url"):
        assert Client().get(link[address].removeprefix("http://testserver")).status_code == 200
    assert AuditEntry.objects.latest("pk").deed == "share-made"

    (listed,) = operator.get(f"/runs/{run.pk}/links").json()["items"]
    assert listed["last_used_at"] > listed["created_at"]
    told = ("id", "name", "prefix", "made_by", "created_at", "expires_at")
    assert {name: listed[name] for name in told} == {name: link[name] for name in told}
    assert listed.keys().isdisjoint({"url", "embed_url", "badge_url"})

    assert operator.send("DELETE", f"/runs/{run.pk}/links/{link['id']}").status_code == 204
    assert Client().get(link["url"].removeprefix("http://testserver")).status_code == 404
    assert operator.get(f"/runs/{run.pk}/links").json() == {"items": []}
    problem(operator.send("DELETE", f"/runs/{run.pk}/links/{link['id']}"), 404, "not-found")


def test_a_link_is_revoked_under_its_own_run_alone(operator: Caller) -> None:
    run, other = make_run(), make_run()
    link = operator.post(f"/runs/{run.pk}/links", {}).json()
    assert link["expires_at"] is None
    problem(operator.send("DELETE", f"/runs/{other.pk}/links/{link['id']}"), 404, "not-found")
    problem(operator.post("/runs/987654321/links", {}), 404, "not-found")


@pytest.mark.parametrize(
    "body", [{"days": 0}, {"days": 3651}, {"days": "many"}, {"name": "x" * 101}, {"role": "admin"}]
)
def test_nonsense_makes_no_link(operator: Caller, body: dict[str, Any]) -> None:
    run = make_run()
    problem(operator.post(f"/runs/{run.pk}/links", body), 422, "invalid")
    assert operator.get(f"/runs/{run.pk}/links").json() == {"items": []}


def test_who_only_looks_makes_and_sees_none(call_as: Callable[[str], Caller]) -> None:
    run = make_run()
    viewer = call_as("viewer")
    assert viewer.post(f"/runs/{run.pk}/links", {}).status_code == 403
    assert viewer.get(f"/runs/{run.pk}/links").status_code == 403
