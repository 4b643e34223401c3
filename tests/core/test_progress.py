import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.core.progress import Step, TaskFact, Usual, estimate

WELL_KNOWN = {"a": Usual(10, 15, 5), "b": Usual(30, 50, 3), "c": Usual(60, 90, 9)}


def test_without_history_tasks_are_counted_and_nothing_is_promised() -> None:
    got = estimate([TaskFact("a", "succeeded", 0), TaskFact("b", "running", 5), TaskFact("c", "pending")], {}, 9)
    assert (got.completed, got.total) == (1, 3)
    assert got.fraction == pytest.approx(1 / 3)
    assert got.step == Step(2, 3, "b")
    assert (got.eta_seconds, got.eta_low, got.eta_high) == (None, None, None)


@pytest.mark.parametrize("status", ["succeeded", "failed", "skipped", "unknown"])
def test_every_way_to_end_counts_as_completed(status: str) -> None:
    got = estimate([TaskFact("a", status), TaskFact("b", "pending")], {}, 0)
    assert got.completed == 1
    assert got.fraction == 0.5


def test_with_history_the_fraction_is_weighted_by_usual_durations() -> None:
    facts = [TaskFact("a", "succeeded", 0), TaskFact("b", "pending"), TaskFact("c", "pending")]
    assert estimate(facts, WELL_KNOWN, 0).fraction == pytest.approx(0.1)


def test_one_task_without_enough_history_makes_it_a_plain_count() -> None:
    facts = [TaskFact("a", "succeeded", 0), TaskFact("b", "pending")]
    assert estimate(facts, {"a": Usual(10, 15, 5), "b": Usual(30, 50, 2)}, 0).fraction == 0.5


def test_the_time_left_is_what_tasks_usually_take_less_what_has_passed() -> None:
    facts = [TaskFact("a", "succeeded", 0), TaskFact("b", "running", 100), TaskFact("c", "pending")]
    got = estimate(facts, WELL_KNOWN, 110)
    assert (got.eta_seconds, got.eta_low, got.eta_high) == (80, 80, 130)


def test_a_task_that_overruns_counts_as_nothing_left() -> None:
    got = estimate([TaskFact("a", "running", 0)], WELL_KNOWN, 1_000)
    assert (got.eta_seconds, got.eta_high) == (0, 0)
    assert got.fraction == 0


def test_the_clock_of_the_upstream_may_be_ahead_of_ours() -> None:
    assert estimate([TaskFact("a", "running", 50)], WELL_KNOWN, 40).eta_seconds == 10


def test_finished_tasks_need_no_history_for_the_time_left() -> None:
    assert estimate([TaskFact("new", "failed", 0), TaskFact("a", "pending")], WELL_KNOWN, 0).eta_seconds == 10


def test_under_three_past_runs_no_time_is_told() -> None:
    assert estimate([TaskFact("a", "running", 0)], {"a": Usual(10, 15, 2)}, 1).eta_seconds is None


def test_tasks_of_one_layer_run_side_by_side() -> None:
    facts = [TaskFact("a", "pending", None, 0), TaskFact("b", "pending", None, 0), TaskFact("c", "pending", None, 1)]
    got = estimate(facts, WELL_KNOWN, 0)
    assert (got.eta_seconds, got.eta_high) == (90, 140)


def test_a_run_attached_to_has_no_total_and_no_fraction() -> None:
    got = estimate([TaskFact("a", "succeeded", 0), TaskFact("b", "running", 1)], WELL_KNOWN, 2, None)
    assert (got.total, got.fraction, got.eta_seconds) == (None, None, None)
    assert got.step == Step(2, None, "b")


def test_tasks_that_are_expected_but_not_listed_yet_are_counted_and_leave_the_time_open() -> None:
    got = estimate([TaskFact("a", "succeeded", 0)], WELL_KNOWN, 2, 4)
    assert (got.total, got.fraction, got.eta_seconds) == (4, 0.25, None)
    assert got.step == Step(1, 4, "a")


def test_more_tasks_than_planned_raise_the_total() -> None:
    facts = [TaskFact("a", "succeeded", 0), TaskFact("b", "succeeded", 1)]
    assert estimate(facts, {}, 2, 1).total == 2


def test_an_ended_run_is_whole_and_names_its_last_task() -> None:
    got = estimate([TaskFact("b", "succeeded", 5), TaskFact("a", "failed", 1), TaskFact("c", "skipped")], {}, 9)
    assert got.fraction == 1
    assert got.step == Step(3, 3, "b")
    assert got.eta_seconds == 0


def test_the_step_names_the_running_task_that_started_last() -> None:
    facts = [TaskFact("a", "running", 5), TaskFact("b", "running", 7), TaskFact("c", "succeeded", 8)]
    assert estimate(facts, {}, 9).step.name == "b"


def test_what_only_has_zero_weight_does_not_divide_by_zero() -> None:
    facts = [TaskFact("a", "succeeded", 0), TaskFact("b", "pending")]
    assert estimate(facts, {"a": Usual(0, 0, 3), "b": Usual(0, 0, 3)}, 0).fraction == 0.5


def test_nothing_known_at_all() -> None:
    assert estimate([], {}, 0).step == Step(0, 0, None)
    assert estimate([], {}, 0).fraction is None
    assert estimate([], {}, 0, 3).fraction == 0


statuses = st.sampled_from(["pending", "running", "succeeded", "failed", "skipped", "unknown"])
facts_made = st.lists(
    st.builds(
        TaskFact, st.sampled_from("abcd"), statuses, st.none() | st.floats(0, 1e9), st.none() | st.integers(0, 3)
    ),
    max_size=8,
)


@given(facts_made, st.floats(0, 1e9), st.none() | st.integers(0, 12))
def test_figures_stay_in_their_bounds(facts: list[TaskFact], now: float, total: int | None) -> None:
    got = estimate(facts, WELL_KNOWN, now, total)
    if got.total is not None:
        assert 0 <= got.step.current <= got.total
        assert got.completed <= got.total
    if got.fraction is not None:
        assert 0 <= got.fraction <= 1
        assert (got.fraction == 1) == (got.completed == got.total)
    if got.eta_low is not None and got.eta_seconds is not None and got.eta_high is not None:
        assert 0 <= got.eta_low <= got.eta_seconds <= got.eta_high
