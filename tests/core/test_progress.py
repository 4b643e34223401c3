"""How far, how long still, and beyond what is usual: forecasts kept up to date as tasks change."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from runs.core import plan as plans
from runs.core.events import typed
from runs.core.progress import LEAST_PATIENCE, OVERRUN_GRACE, Forecast, Tracker, left_words, patience
from runs.core.state import RunState, apply, begin, fold
from runs.core.times import Times, Usual
from tests.factories import START, make_definition


def usual(p50: float | None, p90: float | None, expected: float | None = None) -> Usual:
    return Usual(p50, p90, (p50 or 0.0) if expected is None else expected, 5)


WHOLE = usual(100, 150)
KNOWN = Times(WHOLE, {"a": usual(10, 15), "b": usual(30, 50), "c": usual(60, 90)})


class Playing:
    """A run of these tasks one after the other (or side by side), its tracker beside it."""

    def __init__(self, *names: str, times: Times = KNOWN, side_by_side: bool = False, planned: bool = True) -> None:
        self.events: list[Any] = []
        plan = plans.read(make_definition(*names))
        if side_by_side:
            tasks = tuple(plans.PlannedTask(one.name, "", "", one.position, 0, ()) for one in plan.tasks)
            plan = plans.Plan(tasks)
        self.plan = plan if planned else None
        self.times = times
        self.state = begin(self.plan)
        self.tracker = Tracker(times, self.plan, self.state)

    def tell(self, kind: str, task: str, at: float) -> "Playing":
        seq = len(self.events) + 1
        event = {"event_type": kind, "task_name": task, "timestamp": START + at}
        self.events.append(typed(event, digest=f"{seq:032x}", received_at=START + seq, seq=seq))
        self.tracker.change(self.state, apply(self.state, self.events[-1]))
        return self

    def start(self, task: str, at: float) -> "Playing":
        return self.tell("task_started", task, at)

    def run(self, task: str, start: float, end: float) -> "Playing":
        return self.start(task, start).tell("task_completed", task, end)

    def at(self, now: float) -> Forecast:
        """The forecast at this second, its moments counted from START too."""
        found = self.tracker.forecast(self.state, START + now)
        assert found is not None
        return since_start(found)


def since_start(found: Forecast) -> Forecast:
    moments = {name: getattr(found, name) for name in ("at", "low_at", "high_at", "overruns_at")}
    shifted = {name: None if moment is None else round(moment - START, 3) for name, moment in moments.items()}
    return structs.replace(found, **shifted)


def left(forecast: Forecast, now: float) -> tuple[float, float]:
    found = forecast.left_at(now)
    assert found is not None
    return found


# --- how far ------------------------------------------------------------------------------------------------------


def test_finished_tasks_count_by_what_they_usually_take() -> None:
    playing = Playing("a", "b", "c").run("a", 0, 10)
    assert playing.at(10).fraction == pytest.approx(0.1)


def test_a_running_task_counts_by_the_time_it_has_run_up_to_a_cap() -> None:
    playing = Playing("a", "b", "c").run("a", 0, 10).start("b", 10)
    assert playing.at(10).fraction == pytest.approx(0.1)
    assert playing.at(25).fraction == pytest.approx(0.25)
    assert playing.at(500).fraction == pytest.approx(0.1 + 0.95 * 0.3)


def test_a_forecast_goes_on_by_itself_as_a_new_one_would() -> None:
    playing = Playing("a", "b", "c").run("a", 0, 10).start("b", 10)
    made = playing.at(10)
    for now in (10, 20, 30, 60, 200):
        assert made.fraction_at(now) == pytest.approx(playing.at(now).fraction)
    assert made.fraction_at(-50) == made.fraction, "a clock that was set back takes nothing away"


def test_what_still_runs_is_never_whole() -> None:
    playing = Playing("a", times=Times(WHOLE, {"a": usual(10, 15)})).start("a", 0)
    assert playing.at(9_000).fraction == 0.95


def test_a_task_of_which_nothing_is_known_makes_it_a_plain_count() -> None:
    playing = Playing("a", "new").run("new", 0, 5)
    assert playing.at(5).fraction is None


def test_without_a_plan_there_is_no_fraction_and_the_whole_runs_time_tells() -> None:
    playing = Playing(planned=False).tell("flow_started", "", 0).start("a", 1)
    made = playing.at(20)
    assert made.fraction is None
    assert left(made, 20) == (80, 130)


# --- how long still ---------------------------------------------------------------------------------------------


def test_the_time_left_is_what_is_to_come_less_what_has_passed() -> None:
    playing = Playing("a", "b", "c").run("a", 0, 10).start("b", 10)
    low, high = left(playing.at(20), 20)
    assert low == 20 + 60
    assert high == pytest.approx(80 + (20**2 + 30**2) ** 0.5, abs=0.001), "both slow at once is rarer than one in ten"


def test_between_two_changes_the_time_left_shrinks_but_not_below_what_has_not_begun() -> None:
    playing = Playing("a", "b", "c").run("a", 0, 10).start("b", 10)
    made = playing.at(10)
    assert left(made, 25)[0] == 75
    assert left(made, 1_000) == pytest.approx((60, 90))
    assert left(playing.at(1_000), 1_000) == (60, 90)


def test_tasks_of_one_layer_run_side_by_side() -> None:
    playing = Playing("a", "b", "c", times=Times(usual(60, 90), KNOWN.tasks), side_by_side=True)
    assert left(playing.at(0), 0) == (60, 90)
    playing.start("c", 0).start("a", 0)
    assert left(playing.at(20), 20) == (40, 70)
    assert left(playing.at(50), 50)[0] == 30, "b has not begun and takes longer than what c has left"


def test_where_few_of_a_layer_run_at_a_time_what_is_left_is_its_share_of_a_whole_run() -> None:
    names = [f"part-{n}" for n in range(10)]
    times = Times(usual(50, 60), {name: usual(10, 15) for name in names})  # two at a time
    playing = Playing(*names, times=times, side_by_side=True)
    assert left(playing.at(0), 0) == (50, 60)
    for n, name in enumerate(names[:4]):
        playing.run(name, n // 2 * 10, n // 2 * 10 + 10)
    assert left(playing.at(20), 20) == pytest.approx((30, 36))
    for name in names[4:]:
        playing.run(name, 20, 49)
    assert left(playing.at(49), 49) == pytest.approx((0, 0), abs=0.7)


def test_a_branch_that_is_mostly_skipped_hardly_counts() -> None:
    times = Times(usual(13, 13), {"a": usual(10, 10), "rare": usual(None, None, 3.0), "never": usual(None, None, 0.0)})
    playing = Playing("a", "rare", "never", times=times)
    assert left(playing.at(0), 0) == (13, 13)
    playing.start("a", 0)
    assert playing.at(5).fraction == pytest.approx(5 / 13)


def test_a_task_whose_end_is_never_reported_is_not_waited_for() -> None:
    times = Times(usual(10, 15), {"a": usual(10, 10), "notify": usual(None, None, 0.0)})
    playing = Playing("a", "notify", times=times).start("a", 0).start("notify", 0)
    made = playing.at(4)
    assert left(made, 4) == (6, 6)
    assert made.fraction == pytest.approx(0.4)
    playing.tell("task_completed", "a", 9)
    assert playing.at(99).overruns_at is None or playing.at(99).overruns_at == 15 + OVERRUN_GRACE


def test_a_task_that_is_not_known_leaves_it_to_the_whole_runs_time() -> None:
    playing = Playing("a", "new").tell("flow_started", "", 0).start("a", 0)
    assert left(playing.at(30), 30) == (70, 120)
    playing.run("new", 2, 3)
    assert left(playing.at(4), 4)[0] == 6, "it has finished: how long it takes does not matter now"


def test_a_clock_of_the_upstream_that_is_ahead_takes_no_time_away() -> None:
    playing = Playing("a", "b", "c").start("a", 50)
    assert left(playing.at(40), 40)[0] == 100


@pytest.mark.parametrize("whole", [None, usual(None, None)])
def test_under_three_past_runs_nothing_is_foreseen(whole: Usual | None) -> None:
    playing = Playing("a", "b", times=Times(whole, KNOWN.tasks)).start("a", 0)
    assert playing.tracker.forecast(playing.state, 5) is None


def test_of_a_run_that_has_ended_nothing_is_foreseen() -> None:
    playing = Playing("a").run("a", 0, 5).tell("flow_completed", "", 6)
    assert playing.tracker.forecast(playing.state, 7) is None


# --- beyond what is usual -----------------------------------------------------------------------------------------


def test_a_task_beyond_its_ninetieth_percentile_overruns() -> None:
    playing = Playing("a", "b", "c").tell("flow_started", "", 0).start("a", 0)
    made = playing.at(1)
    assert made.overruns_at == 15 + OVERRUN_GRACE
    assert [made.overruns(now) for now in (15, 16)] == [False, True]
    playing.tell("task_completed", "a", 20)
    assert not playing.at(21).overruns(21), "it has finished"


def test_a_run_beyond_its_own_overruns_whatever_its_tasks_do() -> None:
    playing = Playing("a", "b", "c").tell("flow_started", "", 0).start("c", 140)
    assert playing.at(141).overruns_at == 150 + OVERRUN_GRACE


# --- kept up to date ----------------------------------------------------------------------------------------------

kinds = st.sampled_from(["task_started", "task_completed", "task_failed"])
tellings = st.lists(st.tuples(kinds, st.sampled_from(["a", "b", "c", "x", "new"]), st.integers(0, 60)), max_size=25)


@given(tellings, st.booleans(), st.booleans())
def test_step_by_step_it_comes_to_what_the_finished_state_gives(
    told: list[tuple[str, str, int]], side_by_side: bool, planned: bool
) -> None:
    times = Times(WHOLE, {**KNOWN.tasks, "x": usual(None, None, 2.0)})
    playing = Playing("a", "b", "c", "x", times=times, side_by_side=side_by_side, planned=planned)
    for kind, task, at in told:
        playing.tell(kind, task, at)
    state: RunState = fold(playing.events, playing.plan)
    found = Tracker(times, playing.plan, state).forecast(state, START + 61)
    assert found is not None
    afresh = since_start(found)
    made = playing.at(61)
    for name in Forecast.__struct_fields__:
        assert getattr(made, name) == pytest.approx(getattr(afresh, name), abs=1e-6), name
    if made.fraction is not None:
        assert 0 <= made.fraction <= made.most < 1
    for now in (0, 61, 90, 1e6):
        low, high = made.left_at(now) or (0, 0)
        assert 0 <= low <= high


# --- words --------------------------------------------------------------------------------------------------------

WORDS = [
    (100, 115, "about 1 m 40 s left"),
    (70, 115, "about 1–2 m left"),
    (0, 4, "a few seconds left"),
    (3, 9.9, "a few seconds left"),
    (12, 14, "about 10 s left"),
    (20, 41, "about 20–45 s left"),
    (2, 31, "under 35 s left"),
    (57.6, 58, "about 1 m left"),
    (594, 600, "about 9 m 50 s left"),
    (596, 600, "about 10 m left"),
    (45, 130, "under 3 m left"),
    (3_599, 3_700, "about 1 h 00 m left"),
    (5_400, 12_000, "about 1–4 h left"),
    (90_000, 91_000, "about 1 d 1 h left"),
    (90_000, 300_000, "about 1–4 d left"),
]


@pytest.mark.parametrize(("low", "high", "words"), WORDS)
def test_the_time_left_in_words(low: float, high: float, words: str) -> None:
    assert left_words(low, high) == words


# --- patience -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        (["slow"], 300.0),
        (["slow", "slower"], 500.0),
        (["quick"], LEAST_PATIENCE),
        (["rare"], 600.0),
        (["slow", "never seen"], 600.0),
        ([], 600.0),
    ],
)
def test_a_run_is_given_as_long_as_the_slowest_of_its_running_tasks_usually_takes(
    running: list[str], expected: float
) -> None:
    known = {"slow": usual(200, 300), "slower": usual(1, 500), "quick": usual(1, 2), "rare": usual(None, None, 1.0)}
    assert patience(running, Times(None, known), 600.0) == expected
