"""Polling: what has not changed is a 304, and whatever changes in an answer changes its ETag."""

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from tests.api.conftest import PREFIX, Caller
from tests.factories import make_event, make_run, make_task, make_token

pytestmark = pytest.mark.django_db


def again(caller: Caller, path: str, known: str, **query: Any) -> HttpResponse:
    answer = caller.client.get(PREFIX + path, query, headers={**caller.headers, "If-None-Match": known})
    assert isinstance(answer, HttpResponse)
    return answer


@pytest.mark.parametrize("path", ["/runs", "/runs/{run}", "/runs/{run}/tasks"])
def test_what_has_not_changed_is_a_304_without_a_body(viewer: Caller, path: str) -> None:
    run = make_run()
    make_task(run)
    path = path.format(run=run.pk)
    first = viewer.get(path)
    assert first["Cache-Control"] == "private, no-cache"
    for known in (first["ETag"], f'"other", {first["ETag"]}', "*", first["ETag"].removeprefix("W/")):
        answer = again(viewer, path, known)
        assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", first["ETag"]), known
    for other in ('"other"', "nonsense", "", 'W/"0"'):
        assert again(viewer, path, other).status_code == 200, other


@pytest.mark.parametrize("path", ["/runs", "/runs/{run}", "/runs/{run}/tasks"])
def test_an_event_changes_the_etag(viewer: Caller, path: str) -> None:
    run = make_run()
    path = path.format(run=run.pk)
    before = viewer.get(path)["ETag"]
    make_event(run)
    answer = again(viewer, path, before)
    assert answer.status_code == 200
    assert answer["ETag"] != before


def test_pages_and_filters_have_etags_of_their_own(viewer: Caller) -> None:
    run = make_run()
    tasks = [make_task(run), make_task(run)]
    path = f"/runs/{run.pk}/tasks"
    whole = viewer.get(path)["ETag"]
    assert again(viewer, path, whole, limit=1).status_code == 200
    tasks[0].delete()
    assert viewer.get("/runs", flow_name="none")["ETag"] != viewer.get("/runs")["ETag"]


def test_the_address_of_the_site_is_part_of_the_answer(viewer: Caller) -> None:
    make_run()
    known = viewer.get("/runs")["ETag"]
    answer = Client().get(PREFIX + "/runs", headers={**viewer.headers, "If-None-Match": known}, SERVER_NAME="localhost")
    assert answer.status_code == 200


def test_a_304_still_takes_a_token(viewer: Caller) -> None:
    known = viewer.get("/runs")["ETag"]
    assert Client().get(PREFIX + "/runs", headers={"If-None-Match": known}).status_code == 401


def test_another_callers_etag_is_good_for_the_same_answer(viewer: Caller) -> None:
    make_run()
    known = viewer.get("/runs")["ETag"]
    assert again(Caller(make_token("admin")), "/runs", known).status_code == 304
