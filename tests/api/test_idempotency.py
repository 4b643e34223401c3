"""Idempotency-Key: a launch that is sent again makes no second run, also when both come at once."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEntry, User
from api import idempotency
from api.models import LaunchKey
from runs import actions
from runs.models import Run, Upstream
from tests.api.conftest import PREFIX, Caller, problem
from tests.factories import make_definition, make_token, make_upstream

BODY = {"flow_name": "F", "definition": make_definition()}


@pytest.fixture(autouse=True)
def sandbox(db: None) -> Iterator[Upstream]:
    return make_upstream(name="sandbox")


def send(caller: Caller, key: str, body: Any = BODY, path: str = "/runs", client: Client | None = None) -> HttpResponse:
    answer = (client or caller.client).post(
        PREFIX + path,
        json.dumps(body),
        content_type="application/json",
        headers={**caller.headers, "Idempotency-Key": key},
    )
    assert isinstance(answer, HttpResponse)
    return answer


@pytest.mark.django_db
def test_the_same_request_with_the_same_key_is_answered_with_the_same_run(operator: Caller) -> None:
    first, second = send(operator, "k-1"), send(operator, "k-1")
    assert (first.status_code, second.status_code) == (201, 201)
    assert json.loads(first.content)["id"] == json.loads(second.content)["id"]
    assert "Idempotent-Replayed" not in first
    assert second["Idempotent-Replayed"] == "true"
    assert Run.objects.count() == 1
    assert AuditEntry.objects.filter(deed="run-launched").count() == 1


@pytest.mark.django_db
def test_another_key_and_no_key_make_further_runs(operator: Caller) -> None:
    for key in ("k-1", "k-2"):
        send(operator, key)
    operator.post("/runs", BODY)
    assert Run.objects.count() == 3


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "body"),
    [("/runs", {**BODY, "inputs": {"query": "other"}}), ("/runs/attach", {"flow_name": "F", "run_name": "r"})],
)
def test_the_same_key_with_another_request_is_refused(operator: Caller, path: str, body: Any) -> None:
    send(operator, "k-1")
    problem(send(operator, "k-1", body, path), 422, "key-reused")
    assert Run.objects.count() == 1


@pytest.mark.django_db
def test_everybody_has_keys_of_their_own(operator: Caller, call_as: Callable[[str], Caller]) -> None:
    send(operator, "k-1")
    send(call_as("operator"), "k-1")
    assert Run.objects.count() == 2


@pytest.mark.django_db
def test_attaching_and_retrying_take_a_key_too(operator: Caller) -> None:
    attach = {"flow_name": "F", "run_name": "elsewhere"}
    first, second = (send(operator, "a", attach, "/runs/attach") for _ in range(2))
    assert json.loads(first.content)["id"] == json.loads(second.content)["id"]
    run = json.loads(send(operator, "l").content)["id"]
    again = [json.loads(send(operator, "r", {}, f"/runs/{run}/retry").content)["id"] for _ in range(2)]
    assert again[0] == again[1] != run


@pytest.mark.django_db
def test_a_launch_that_was_refused_leaves_its_key_free(operator: Caller) -> None:
    problem(send(operator, "k-1", {"flow_name": "F", "definition": {"tasks": []}}), 422, "refused")
    assert send(operator, "k-1").status_code == 201


@pytest.mark.django_db
def test_a_taken_name_is_told_also_to_who_sends_a_key(operator: Caller) -> None:
    body = {**BODY, "run_name": "r"}
    send(operator, "k-1", body)
    problem(send(operator, "k-2", body), 409, "taken")


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ü", "a b"])
def test_a_key_that_cannot_be_used_is_told(operator: Caller, key: str) -> None:
    document = problem(send(operator, key), 422, "invalid")
    assert document["errors"][0]["place"] == "Idempotency-Key"
    assert not Run.objects.exists()


@pytest.mark.django_db
def test_keys_are_kept_for_a_day(operator: Caller) -> None:
    send(operator, "k-1")
    LaunchKey.objects.update(created_at=timezone.now() - idempotency.KEPT + timedelta(minutes=1))
    assert send(operator, "k-1")["Idempotent-Replayed"] == "true"
    LaunchKey.objects.update(created_at=timezone.now() - idempotency.KEPT - timedelta(minutes=1))
    send(operator, "k-1")
    assert Run.objects.count() == 2
    assert LaunchKey.objects.count() == 1, "the old one has gone"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("named", [True, False])
def test_of_many_at_once_one_launches_and_all_are_answered_with_its_run(
    named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All look for the key before any has made its run: that is forced here, not hoped for."""
    many = 4
    caller = Caller(make_token("operator"))
    looked = threading.Barrier(many, timeout=30)
    first_look = threading.local()
    made_before = idempotency._made_before

    def look_together(user: User, key: str, digest: str) -> Run | None:
        found = made_before(user, key, digest)
        if not hasattr(first_look, "done"):
            first_look.done = True
            looked.wait()
        return found

    monkeypatch.setattr(idempotency, "_made_before", look_together)
    monkeypatch.setattr(actions, "_poke", lambda: None)
    monkeypatch.setattr(actions, "_announce", lambda run_id: None)
    answers: list[HttpResponse] = []
    body = {**BODY, "run_name": "r"} if named else BODY

    def launch() -> None:
        try:
            answers.append(send(caller, "k-1", body, client=Client()))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=launch) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [answer.status_code for answer in answers] == [201] * many, [answer.content for answer in answers]
    assert Run.objects.count() == 1
    assert {json.loads(answer.content)["id"] for answer in answers} == {Run.objects.get().pk}
    assert sum("Idempotent-Replayed" not in answer for answer in answers) == 1
