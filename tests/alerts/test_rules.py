"""From happenings to messages: what a rule asks for, of which flows, how often, and exactly once."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from alerts import actions, fanning
from alerts.fanning import fan_out
from alerts.models import Alert, Delivery, Kind, Rule, Said
from runs.models import EpochNow, Happening, Run
from tests.alerts.making import ERROR, flow, happen, make_channel, make_rule, said
from tests.factories import make_run, make_task, make_user

pytestmark = pytest.mark.django_db

H = Happening.Kind


def kinds() -> list[str]:
    return [kind for kind, _ in said()]


@pytest.mark.parametrize(
    ("happening", "kind"),
    [
        (H.TASK_FAILED, Kind.TASK_FAILED),
        (H.FAILED, Kind.RUN_FAILED),
        (H.REFUSED, Kind.RUN_FAILED),
        (H.LOST, Kind.RUN_LOST),
        (H.SILENT, Kind.SILENT),
        (H.OVERDUE, Kind.OVERDUE),
    ],
)
def test_each_happening_is_said_to_who_asks_for_it_and_to_nobody_else(happening: str, kind: Kind) -> None:
    make_rule(kind)
    make_rule(*(other for other in Kind if other not in (kind, Kind.NEW_FAILURE)))
    happen(make_run(), happening)
    assert kinds() == [kind]
    assert not Happening.objects.exists()
    assert kinds() == []


def test_a_success_alone_is_no_news() -> None:
    make_rule()
    happen(make_run(), H.SUCCEEDED)
    assert kinds() == []


def test_the_first_success_after_a_failure_is_a_recovery() -> None:
    make_rule(Kind.RECOVERED)
    make = flow()
    for kind in (H.SUCCEEDED, H.FAILED, H.FAILED, H.SUCCEEDED, H.SUCCEEDED, H.LOST):
        happen(make(), kind)
    back = make(run_name="back again")
    assert len(said()) == 1
    happen(back, H.SUCCEEDED)
    happen(flow("Other")(), H.SUCCEEDED)
    assert said() == [("recovered", "back again")]


def test_flows_of_one_name_at_two_upstreams_are_two() -> None:
    make_rule(Kind.RECOVERED)
    happen(flow()(), H.FAILED)
    happen(flow()(), H.SUCCEEDED)
    assert kinds() == []


def test_a_kind_of_failure_is_new_once() -> None:
    make_rule(Kind.NEW_FAILURE)
    make = flow()
    happen(make(run_name="first"), H.TASK_FAILED, task_key="fetch")
    happen(make(), H.TASK_FAILED, task_key="fetch", error={**ERROR, "message": "no answer within 45 s"})
    happen(make(run_name="other task"), H.TASK_FAILED, task_key="load")
    assert said() == [("new-failure", "first"), ("new-failure", "other task")]
    happen(make(), H.TASK_FAILED, task_key="fetch")
    happen(flow("Other")(run_name="other flow"), H.TASK_FAILED, task_key="fetch")
    assert said() == [("new-failure", "other flow")]


def test_kinds_of_failure_are_learned_without_any_rule() -> None:
    make = flow()
    happen(make(), H.TASK_FAILED, task_key="fetch")
    assert kinds() == []
    make_rule(Kind.NEW_FAILURE)
    happen(make(), H.TASK_FAILED, task_key="fetch")
    assert kinds() == []


def test_a_run_that_fails_of_its_tasks_is_no_new_failure_of_its_own() -> None:
    make_rule(Kind.NEW_FAILURE)
    make = flow()
    run = make(tasks_failed=1)
    happen(run, H.TASK_FAILED, task_key="fetch")
    happen(run, H.FAILED, error={"type": "Halted", "message": "", "code": ""})
    happen(make(run_name="no task to blame"), H.FAILED, error={"type": "Halted", "message": "", "code": ""})
    happen(make(run_name="refused", notice="Refused: no such agent"), H.REFUSED)
    assert [name for _, name in said()][1:] == ["no task to blame", "refused"]


def test_a_rule_that_asks_for_both_gets_the_special_one_only() -> None:
    make_rule(Kind.NEW_FAILURE, Kind.TASK_FAILED)
    make = flow()
    for _ in range(2):
        happen(make(), H.TASK_FAILED, task_key="fetch")
    assert kinds() == ["new-failure", "task-failed"]


@pytest.mark.parametrize(
    ("patterns", "name", "fits"),
    [
        ([], "anything", True),
        (["Nightly"], "Nightly", True),
        (["Nightly"], "nightly", False),
        (["Nightly"], "Nightly 2", False),
        (["Night*"], "Nightly 2", True),
        (["*_prod", "Weekly"], "etl_prod", True),
        (["*_prod", "Weekly"], "Weekly", True),
        (["a?c"], "abc", False),
        (["a?c"], "a?c", True),
        (["[ab]*"], "a", False),
        (["[ab]*"], "[ab] and more", True),
        (["*"], "", True),
    ],
)
def test_only_the_star_is_special_in_names_of_flows(patterns: list[str], name: str, fits: bool) -> None:
    assert fanning.matches(Rule(flows=patterns), name) is fits


def test_a_rule_that_is_off_says_nothing() -> None:
    make_rule(enabled=False)
    happen(make_run(), H.FAILED)
    assert kinds() == []


def test_a_rule_deleted_in_between_says_nothing() -> None:
    rule = make_rule()
    happen(make_run(), H.FAILED)
    actions.delete_rule(rule, make_user("admin"))
    assert kinds() == []


def test_what_a_deleted_rule_has_said_and_nobody_got_is_dropped_and_stays_visible() -> None:
    rule, other = make_rule(Kind.RUN_FAILED), make_rule(Kind.RUN_FAILED)
    happen(make_run(), H.FAILED)
    said()
    delivered = Delivery.objects.get(alert__rule=rule)
    Delivery.objects.filter(pk=delivered.pk).update(state="delivered")
    happen(make_run(), H.FAILED)
    said()
    assert actions.delete_rule(rule, make_user("admin")) == 1
    states = dict(Delivery.objects.values_list("alert__rule_name", "state").exclude(pk=delivered.pk).order_by("pk"))
    assert states == {rule.name: "dropped", other.name: "waiting"}
    delivered.refresh_from_db()
    assert delivered.state == "delivered"


def test_one_message_goes_to_every_channel_of_its_rule_under_a_key_of_its_own() -> None:
    make_rule(Kind.RUN_FAILED, to=[make_channel(name="chat"), make_channel(name="on call")])
    happen(make_run(), H.FAILED)
    said()
    assert Alert.objects.count() == 1
    rows = Delivery.objects.order_by("channel_name").values_list("channel_name", "key", "state")
    assert [row[0] for row in rows] == ["chat", "on call"]
    assert len({row[1] for row in rows}) == 2


def test_a_batch_that_fails_in_its_midst_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    make_rule(Kind.RUN_FAILED, Kind.NEW_FAILURE, debounce_minutes=10)
    happen(make_run(), H.FAILED)
    monkeypatch.setattr(fanning.store, "forget_happenings", lambda ids: 1 / 0)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        fan_out()
    assert [model.objects.count() for model in (Alert, Delivery, Said)] == [0, 0, 0]
    monkeypatch.undo()
    assert kinds() == ["new-failure"]


# --- debounce -----------------------------------------------------------------------------------------------------


def an_hour_passes() -> None:
    Said.objects.update(said_at=EpochNow() - 3600)


def test_within_the_debounce_time_messages_are_held_back_counted_and_told_of_in_the_next() -> None:
    make_rule(Kind.RUN_FAILED, debounce_minutes=10)
    make = flow()
    for name in ("one", "two", "three"):
        happen(make(run_name=name), H.FAILED)
    assert said() == [("run-failed", "one")]
    happen(make(run_name="four"), H.FAILED)
    assert said() == []
    an_hour_passes()
    happen(make(run_name="five"), H.FAILED)
    assert said() == [("run-failed", "five")]
    body = Alert.objects.latest("pk").body
    assert body["held_back"] == 3
    assert body["held_back_since"] is not None
    an_hour_passes()
    happen(make(run_name="six"), H.FAILED)
    said()
    assert Alert.objects.latest("pk").body["held_back"] == 0


def test_the_debounce_counts_for_each_rule_flow_and_kind() -> None:
    make_rule(Kind.RUN_FAILED, Kind.TASK_FAILED, debounce_minutes=10)
    make_rule(Kind.RUN_FAILED, debounce_minutes=0)
    one, other = flow("One"), flow("Other")
    for make in (one, other):
        happen(make(), H.TASK_FAILED)
        for _ in range(2):
            happen(make(), H.FAILED)
    assert sorted(kinds()) == ["run-failed"] * 6 + ["task-failed"] * 2


# --- the message --------------------------------------------------------------------------------------------------


def test_a_message_says_what_where_and_why_and_links_to_the_failed_task(settings: Any) -> None:
    settings.SITE_URL = "https://runs.example.com"
    rule = make_rule(Kind.RUN_FAILED)
    run = make_run(run_name="run 7", status=Run.Status.FAILED, tasks_failed=1)
    make_task(run, "a", status="succeeded")
    make_task(run, "b/ü", name="Load it", status="failed", error=ERROR)
    happen(run, H.FAILED)
    said()
    body = Alert.objects.get().body
    assert body["url"] == f"https://runs.example.com/runs/{run.pk}/?task=b%2F%C3%BC"
    assert body["run"]["url"] == f"https://runs.example.com/runs/{run.pk}/"
    assert body["task"] == {"key": "b/ü", "name": "Load it"}
    assert body["error"] == ERROR
    assert (body["rule"], body["event"], body["run"]["run_name"]) == (rule.name, "run-failed", "run 7")
    assert body["at"] == "2025-10-09T08:54:20.000Z"


def test_a_task_of_which_no_row_is_left_is_named_by_its_key() -> None:
    make_rule(Kind.TASK_FAILED)
    happen(make_run(), H.TASK_FAILED, task_key="gone")
    said()
    assert Alert.objects.get().body["task"] == {"key": "gone", "name": "gone"}


def test_times_that_no_calendar_holds_are_left_out() -> None:
    make_rule(Kind.SILENT)
    happen(make_run(started_at=1e300), H.SILENT, at=-1e300)
    said()
    body = Alert.objects.get().body
    assert (body["at"], body["run"]["started_at"]) == (None, None)


# --- cost ---------------------------------------------------------------------------------------------------------


def statements(call: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as captured:
        call()
    return len([one for one in captured if "SAVEPOINT" not in one["sql"]])


def test_nothing_new_costs_one_look() -> None:
    assert statements(fan_out) == 1


def test_the_number_of_statements_does_not_grow_with_the_happenings() -> None:
    make_rule(debounce_minutes=10)

    def many(number: int) -> int:
        make = flow(f"flow of {number}")
        for place in range(number):
            run = make(tasks_failed=1)
            make_task(run, "fetch", status="failed")
            happen(run, H.TASK_FAILED, task_key="fetch", seq=place)
            happen(run, H.FAILED)
        return statements(fan_out)

    assert many(1) == many(40) == many(40)


def test_without_any_rule_a_batch_of_successes_costs_six_statements() -> None:
    for _ in range(20):
        happen(make_run(), H.SUCCEEDED)
    assert statements(fan_out) <= 6
