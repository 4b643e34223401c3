"""How many calls a minute: told with 429 and when to come again, each caller for itself."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import caches
from django.test import Client

from accounts import limits
from tests.api.conftest import PREFIX, Caller, problem
from tests.factories import make_user

pytestmark = pytest.mark.django_db
NOON = 1_760_000_040.0 - 1_760_000_040 % 60


@pytest.fixture(autouse=True)
def three_a_minute(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Three calls a minute by a clock that the test sets."""
    settings.API_CALLS_PER_MINUTE = 3
    caches["shared"].clear()
    now = [NOON]
    monkeypatch.setattr(limits.time, "time", lambda: now[0])

    def at(second: float) -> None:
        now[0] = NOON + second

    return at


def test_one_call_too_many_is_told_and_when_to_come_again(
    viewer: Caller, three_a_minute: Callable[[float], None]
) -> None:
    three_a_minute(20)
    assert [viewer.get("/runs").status_code for _ in range(3)] == [200] * 3
    refused = viewer.get("/runs")
    problem(refused, 429, "too-many")
    assert int(refused["Retry-After"]) == 41
    three_a_minute(60)
    assert viewer.get("/runs").status_code == 200


def test_each_user_has_a_share_and_all_calls_and_tokens_of_one_count_together(
    viewer: Caller, call_as: Callable[[str], Caller]
) -> None:
    for path in ("/runs", "/workflows", "/upstreams"):
        viewer.get(path)
    problem(viewer.get("/runs"), 429, "too-many")
    assert call_as("viewer").get("/runs").status_code == 200


def test_a_session_is_counted_too() -> None:
    client = Client()
    client.force_login(make_user("viewer"))
    answers = [client.get(PREFIX + "/runs").status_code for _ in range(4)]
    assert answers == [200, 200, 200, 429]


def test_bad_tokens_are_counted_by_address() -> None:
    def guess(address: str) -> int:
        return (
            Client()
            .get(PREFIX + "/runs", headers={"Authorization": "Bearer stl_wrong"}, REMOTE_ADDR=address)
            .status_code
        )

    assert [guess("10.0.0.1") for _ in range(4)] == [401, 401, 401, 429]
    assert guess("10.0.0.2") == 401


def test_the_upstreams_calls_are_counted_with_the_others(operator: Caller) -> None:
    for _ in range(3):
        operator.get("/runs")
    answer = operator.client.get("/task-status/run-1", headers=operator.headers)
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0


def test_nothing_is_counted_where_any_number_is_allowed(viewer: Caller, settings: Any) -> None:
    settings.API_CALLS_PER_MINUTE = 0
    assert {viewer.get("/runs").status_code for _ in range(5)} == {200}


def test_a_cache_that_fails_stops_nobody(viewer: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise ConnectionError("no cache")

    monkeypatch.setattr(type(caches["shared"]), "incr", fail)
    assert {viewer.get("/runs").status_code for _ in range(5)} == {200}


@pytest.mark.parametrize("second", [0.0, 30.5, 59.9])
def test_waiting_never_takes_longer_than_the_window(three_a_minute: Callable[[float], None], second: float) -> None:
    three_a_minute(second)
    for _ in range(3):
        limits.spend("somebody")
    with pytest.raises(limits.TooMany) as told:
        limits.spend("somebody")
    assert 1 <= told.value.wait <= limits.WINDOW + 1
