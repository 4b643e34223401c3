"""What a run teaches, how a sample stays small, and what it says of the next run."""

import itertools
from typing import Any

import pytest

from runs.core import plan as plans
from runs.core import times
from runs.core.events import typed
from runs.core.state import RunState, apply, fold
from runs.core.times import Lesson, Usual, lesson, spread, tasks_taught, taught, times_of, usual_of
from tests.factories import START, make_definition

_numbers = itertools.count(1)


def told(*events: tuple[str, str, float], names: tuple[str, ...] = (), gapped: bool = False, **end: Any) -> RunState:
    """The state after these events (kind, task, seconds since the start); `end`: more of a flow_completed."""
    made = []
    for kind, task, at in events:
        payload = {"event_type": kind, "task_name": task, "timestamp": START + at}
        number = next(_numbers)
        if kind == "flow_completed":
            payload |= end
        made.append(typed(payload, digest=f"{number:032x}", received_at=START + at, seq=number))
    return fold(made, plans.read(make_definition(*names)) if names else None, gapped=gapped)


def ran(task: str, start: float, end: float, how: str = "task_completed") -> list[tuple[str, str, float]]:
    return [("task_started", task, start), (how, task, end)]


STARTED = ("flow_started", "", 100.0)
DONE = ("flow_completed", "", 160.0)


def test_a_run_teaches_its_own_time_and_that_of_each_task() -> None:
    state = told(STARTED, *ran("a", 100, 110), *ran("b", 110, 140), DONE, total_execution_time=59.5)
    assert lesson(state) == Lesson(59.5, {"a": [10.0], "b": [30.0]})


def test_of_several_attempts_the_last_one_counts() -> None:
    state = told(STARTED, *ran("a", 100, 104, "task_failed"), *ran("a", 110, 112), DONE)
    assert lesson(state).tasks == {"a": [2.0]}


def test_what_failed_teaches_nothing_and_what_was_skipped_only_that() -> None:
    state = told(STARTED, *ran("a", 100, 110), *ran("b", 110, 111, "task_failed"), DONE, names=("a", "b", "c"))
    assert lesson(state).tasks == {"a": [10.0], "c": []}


def test_a_task_whose_end_is_never_reported_is_nothing_to_wait_for() -> None:
    events = [STARTED, ("task_started", "a", 101.0), ("task_started", "b", 101.0), DONE]
    state = told(*events, names=("a", "b"), output={"a": 1})
    assert [(task.status, task.inferred) for task in state.tasks.values()] == [("succeeded", True), ("unknown", True)]
    assert lesson(state).tasks == {"a": [], "b": []}


def test_where_events_may_be_missing_what_is_inferred_teaches_nothing() -> None:
    events = [STARTED, ("task_started", "a", 101.0), DONE]
    assert lesson(told(*events, names=("a", "b", "c"), gapped=True, output={"c": 1})).tasks == {}


def test_an_end_known_from_task_status_says_nothing_of_the_runs_time() -> None:
    state = told(STARTED, *ran("a", 100, 110))
    report = typed(
        {"event_type": "stepline.task_status", "status": "completed"},
        digest="f" * 32, received_at=START + 900, seq=99, from_status=True,
    )  # fmt: skip
    apply(state, report)
    assert lesson(state) == Lesson(None, {"a": [10.0]})


def test_a_run_whose_start_was_missed_teaches_the_time_that_the_upstream_tells_and_no_other() -> None:
    late = [*ran("b", 150, 155)]
    assert lesson(told(*late, DONE, total_execution_time=59.5)).seconds == 59.5
    assert lesson(told(*late, DONE)).seconds is None


def test_a_broken_clock_teaches_nothing() -> None:
    state = told(STARTED, *ran("a", 100, 2e8), ("flow_completed", "", 2e8))
    assert lesson(state) == Lesson(None, {})


def test_a_sample_keeps_the_last_entries() -> None:
    sample: times.Sample = []
    for run in range(1, 40):
        sample = taught(sample, run, [float(run)])
    assert len(sample) == times.SAMPLE
    assert sample[-1] == [39, 39.0]
    assert sample[0] == [20, 20.0]


def test_many_tasks_of_one_name_leave_room_for_other_runs() -> None:
    assert spread([float(n) for n in range(101)]) == [0, 25, 50, 75, 100]
    assert spread([2.0, 1.0]) == [1.0, 2.0]
    sample: times.Sample = []
    for run in range(4):
        sample = tasks_taught({"item": sample}, run, {"item": [float(n) for n in range(500)]})["item"]
    assert {run for run, _ in sample} == {0, 1, 2, 3}


def test_a_flow_keeps_so_many_names_and_forgets_those_not_seen_for_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "MOST_TASKS", 3)
    tasks: dict[str, times.Sample] = {}
    for run, names in enumerate(["ab", "ac", "bd", "wxyz"]):
        tasks = tasks_taught(tasks, run, {name: [1.0] for name in names})
        assert len(tasks) <= 3
        if run == 2:
            assert set(tasks) == set("cbd")
    assert set(tasks) == set("wxy")


def test_under_three_runs_nothing_is_said() -> None:
    assert usual_of([]) is None
    assert usual_of([[1, 5.0], [1, 5.0], [1, 5.0], [2, 6.0]]) is None
    assert usual_of([[1, 5.0], [2, 9.0], [3, 6.0]]) == Usual(6.0, 9.0, 6.0, 3)


def test_the_ninetieth_percentile_of_twenty_runs_leaves_out_the_slowest_two() -> None:
    assert usual_of([[n, float(n)] for n in range(1, 21)]) == Usual(11.0, 18.0, 11.0, 20)


def test_a_task_that_is_often_skipped_is_reckoned_with_less() -> None:
    sample = [[1, 8.0], [2, None], [3, 8.0], [4, 8.0]]
    assert usual_of(sample) == Usual(8.0, 8.0, 6.0, 4)
    assert usual_of([[1, None], [2, None], [3, None]]) == Usual(None, None, 0.0, 3)
    assert usual_of([[1, 9.0], [2, None], [3, None]]) == Usual(None, None, 3.0, 3)


def test_what_is_known_of_a_flow_leaves_out_what_is_not_known_well_enough() -> None:
    known = times_of([[1, 5.0], [2, None], [3, 6.0]], [("a", [[1, 1.0], [2, 1.0], [3, 1.0]]), ("b", [[3, 1.0]])])
    assert known.run is None
    assert set(known.tasks) == {"a"}
