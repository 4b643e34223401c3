import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.core.timeline import Bar, Span, Stretch, bars, idle, label, squeezed


def done(start: float | None, end: float | None, status: str = "succeeded") -> Span:
    return Span(start, end, status)


def ends(*spans: Span, start: float = 0) -> list[tuple[float, float | None]]:
    return [(bar.x0, bar.x1) for bar in bars(spans, start)]


def test_bars_are_seconds_from_the_start_and_a_running_one_has_no_end() -> None:
    spans = [Span(1005, 1010, "failed", True), Span(1011, None, "running")]
    assert bars(spans, 1000) == (Bar(5, 10, "failed", True), Bar(11, None, "running", False))


def test_an_attempt_of_which_no_time_is_known_has_no_bar() -> None:
    assert ends(Span(None, None, "unknown")) == []
    assert ends(done(math.nan, math.inf)) == []


def test_odd_times_are_bent_to_what_can_be_drawn() -> None:
    assert ends(done(10, 5)) == [(10, 10)], "an end before its start"
    assert ends(done(None, 12)) == [(12, 12)], "no start"
    assert ends(done(11, None)) == [(11, 11)], "an end that nobody told is no bar that grows for ever"


def ran(*times: tuple[float | None, float | None]) -> list[tuple[float | None, float | None, bool]]:
    """Starts and ends; what has no end is still running."""
    return [(begin, end, end is None) for begin, end in times]


def test_a_stretch_in_which_nothing_ran_is_idle_from_a_twentieth_on() -> None:
    assert idle(ran((0, 40), (44, 60), (30, 42), (80, 100)), 0) == (Stretch(60, 80),)
    assert idle(ran((1000, 1010), (1090, 1100)), 1000) == (Stretch(10, 90),)


def test_nothing_is_idle_while_something_runs_or_after_the_last_end() -> None:
    assert idle(ran((0, None), (90, 91)), 0) == ()
    assert idle(ran((0, 1)), 0) == ()
    assert idle([], 0) == ()


def test_odd_times_are_no_work() -> None:
    assert idle([(None, 5, False), (0, 10, False), (50, None, False), (90, 80, False), (math.nan, 1, True)], 0) == (
        Stretch(10, 50),
        Stretch(50, 90),
    )


@pytest.mark.parametrize(("x", "place"), [(0, 0), (10, 10), (15, 10), (20, 10), (25, 15), (30, 20), (39, 20), (41, 21)])
def test_what_is_hidden_takes_no_room(x: float, place: float) -> None:
    assert squeezed(x, [Stretch(10, 20), Stretch(30, 40)]) == place


times = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 2e9)
made = st.lists(st.builds(Span, times, times, st.sampled_from(["running", "failed", "odd"])), max_size=9)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(made, st.floats(0, 2e9))
def test_any_times_give_bars_that_can_be_drawn_and_idle_stretches_in_order(spans: list[Span], start: float) -> None:
    for bar in bars(spans, start):
        assert math.isfinite(bar.x0)
        assert bar.x1 is None or bar.x0 <= bar.x1 < math.inf
    stretches = idle([(span.started_at, span.finished_at, span.status == "running") for span in spans], start)
    places = [place for one in stretches for place in (one.x0, one.x1)]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0004, "0 s"),
        (0.004, "0.004 s"),
        (0.25, "0.25 s"),
        (1.5, "1.5 s"),
        (44.33, "44.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 m"),
        (60, "1 m"),
        (65, "1 m 5 s"),
        (120, "2 m"),
        (3599.6, "1 h"),
        (3900, "1 h 5 m"),
        (7200, "2 h"),
        (86_399, "1 d"),
        (97_200, "1 d 3 h"),
        (-1.5, "-1.5 s"),
        (-0.0, "0 s"),
        (-0.0001, "0 s"),
        (math.nan, "?"),
        (math.inf, "?"),
    ],
)
def test_a_duration_is_written_for_people(seconds: float, text: str) -> None:
    assert label(seconds) == text
