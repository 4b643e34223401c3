"""Two runs side by side, for programs."""

from typing import Any

import pytest

from runs.models import Launch, Run
from tests.api.conftest import Caller, problem
from tests.factories import make_run, make_task, make_upstream

pytestmark = pytest.mark.django_db


@pytest.fixture
def both() -> tuple[Run, Run]:
    upstream = make_upstream()
    before, after = (make_run(upstream=upstream, status=status) for status in ("succeeded", "failed"))
    for run, seconds, status in ((before, 1.0, "succeeded"), (after, 3.0, "failed")):
        make_task(run, "fetch", status="succeeded", duration=2.0)
        make_task(run, "clean", status="succeeded", duration=seconds)
        make_task(run, "report", status=status, duration=1.0, attempts=[{"status": status}] * int(seconds))
    make_task(after, "notify")
    return before, after


def compared(caller: Caller, before: Run, after: Run, **query: Any) -> dict[str, Any]:
    answer = caller.get(f"/runs/{before.pk}/compare/{after.pk}", **query)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def test_tasks_are_told_side_by_side_in_the_order_of_the_plan(viewer: Caller, both: tuple[Run, Run]) -> None:
    found = compared(viewer, *both)
    assert [found["before"]["id"], found["after"]["id"]] == [run.pk for run in both]
    assert [(one["name"], one["change"], one["difference"]) for one in found["items"]] == [
        ("fetch", None, 0.0),
        ("clean", "longer", 2.0),
        ("report", "state", 0.0),
        ("notify", "after", None),
    ]
    report, notify = found["items"][2:]
    assert report["before"] == {"key": "report", "status": "succeeded", "attempts": 1, "duration": 1.0}
    assert report["after"] == {"key": "report", "status": "failed", "attempts": 3, "duration": 1.0}
    assert notify["before"] is None
    assert found["launched"] is None
    assert found["next_cursor"] is None


def test_only_differences_are_told_where_a_caller_wants_that_page_by_page(
    viewer: Caller, both: tuple[Run, Run]
) -> None:
    first = compared(viewer, *both, only_differences="true", limit=2)
    assert [one["name"] for one in first["items"]] == ["clean", "report"]
    rest = compared(viewer, *both, only_differences="true", limit=2, cursor=first["next_cursor"])
    assert ([one["name"] for one in rest["items"]], rest["next_cursor"]) == (["notify"], None)
    answer = viewer.get(f"/runs/{both[0].pk}/compare/{both[1].pk}", cursor=first["next_cursor"])
    problem(answer, 400, "bad-cursor")


def test_what_was_launched_is_told_place_by_place(viewer: Caller, both: tuple[Run, Run]) -> None:
    for run, inputs in zip(
        both, ({"day": "Mon", "old": None}, {"day": "Tue", "key": "[masked:name#1a2b3c]"}), strict=True
    ):
        Launch.objects.create(run=run, inputs=inputs, definition={"run_name": run.run_name}, sealed="")
    assert compared(viewer, *both)["launched"] == {
        "places": [
            {"place": "inputs.day", "change": "changed", "before": "Mon", "after": "Tue"},
            {"place": "inputs.old", "change": "removed", "before": None, "after": None},
            {"place": "inputs.key", "change": "added", "before": None, "after": "[masked:name#1a2b3c]"},
        ],
        "more": False,
    }


def test_a_run_that_is_not_there_is_named(viewer: Caller, both: tuple[Run, Run]) -> None:
    for path in (f"/runs/{both[0].pk}/compare/987", f"/runs/987/compare/{both[0].pk}"):
        assert "987" in problem(viewer.get(path), 404, "not-found")["detail"]
