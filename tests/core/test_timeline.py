import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.core.timeline import Bar, Fold, Line, Row, Span, Stretch, label, layout, nice_ticks


def row(key: str, *spans: Span, name: str = "") -> Row:
    return Row(key, name or key, spans)


def done(start: float | None, end: float | None, status: str = "succeeded") -> Span:
    return Span(start, end, status)


def line(item: Line | Fold) -> Line:
    assert isinstance(item, Line)
    return item


def test_bars_are_seconds_from_the_first_start_and_rows_keep_their_order() -> None:
    got = layout(
        [row("b", done(1005, 1010), Span(1011, None, "running")), row("a", Span(1000, 1004, "failed", True))],
        [],
        1020,
    )
    assert (got.start, got.end) == (1000, 1020)
    assert [line(one).key for one in got.rows] == ["b", "a"]
    assert line(got.rows[0]).bars == (Bar(5, 10, "succeeded", False), Bar(11, None, "running", False))
    assert line(got.rows[0]).status == "running"
    assert line(got.rows[1]).bars == (Bar(0, 4, "failed", True),)


def test_an_ended_run_does_not_grow_with_now() -> None:
    assert layout([row("a", done(1000, 1004))], [], 99_999).end == 1004


def test_a_task_that_never_began_has_no_bar() -> None:
    got = layout([row("a", done(0, 1)), row("b"), row("c", Span(None, None, "unknown"))], [], 5)
    assert [(line(one).status, line(one).bars) for one in got.rows[1:]] == [("pending", ()), ("unknown", ())]


def test_nothing_with_a_time_is_a_timeline_without_ends() -> None:
    got = layout([row("a")], [(1, 2), (3, None)], 5)
    assert (got.start, got.end, got.idle, got.gaps) == (None, None, (), ())
    assert line(got.rows[0]).name == "a"
    assert layout([], [], 0).rows == ()


def test_odd_times_are_bent_to_what_can_be_drawn() -> None:
    got = layout(
        [
            row("backwards", done(10, 5)),
            row("no start", done(None, 12)),
            row("no end", done(11, None)),
            row("point", done(10, 10)),
            row("not a number", done(math.nan, math.inf)),
            row("ahead of now", Span(20, None, "running")),
        ],
        [],
        15,
    )
    assert (got.start, got.end) == (10, 20)
    bars = [[(bar.x0, bar.x1) for bar in line(one).bars] for one in got.rows]
    assert bars == [[(0, 0)], [(2, 2)], [(1, 1)], [(0, 0)], [], [(10, None)]]


def test_a_stretch_in_which_nothing_ran_is_idle_from_a_twentieth_on() -> None:
    got = layout(
        [row("a", done(0, 40)), row("b", done(44, 60)), row("c", done(30, 42)), row("d", done(80, 100))], [], 0
    )
    assert got.idle == (Stretch(60, 80),)
    assert layout([row("a", Span(0, None, "running")), row("b", done(90, 91))], [], 100).idle == ()


def test_gaps_are_clipped_to_the_timeline_and_joined() -> None:
    task = row("a", done(100, 200))
    gaps: list[tuple[float, float | None]] = [(50, 110), (105, 120), (150, 160), (190, None), (210, 220), (10, 20)]
    assert layout([task], gaps, 300).gaps == (Stretch(0, 20), Stretch(50, 60), Stretch(90, 100))
    assert layout([task], [(130, 120)], 300).gaps == ()


def test_five_siblings_stay_and_six_fold_where_the_first_one_stands_with_errors_first() -> None:
    five = [row(f"k{i}", done(i, i + 1), name="same") for i in range(5)]
    assert len(layout(five, [], 9).rows) == 5
    six = [*five, row("k5", done(7, 9, "failed"), name="same")]
    got = layout([row("first", done(0, 1)), *six[:3], row("other", done(2, 3)), *six[3:]], [], 9)
    assert [one.name for one in got.rows] == ["first", "same", "other"]
    fold = got.rows[1]
    assert fold == Fold("same", ("k5", "k0", "k1", "k2", "k3", "k4"), (("failed", 1), ("succeeded", 5)), 0, 9)
    assert len(layout(six, [], 9, fold=False).rows) == 6


def test_a_fold_is_open_while_one_of_it_runs_and_empty_when_none_has_begun() -> None:
    many = [row(f"k{i}", done(1, 2), name="same") for i in range(6)]
    fold = layout([*many, row("k6", Span(3, None, "running"), name="same")], [], 9).rows[0]
    assert isinstance(fold, Fold)
    assert (fold.x0, fold.x1, fold.counts) == (0, None, (("running", 1), ("succeeded", 6)))
    fold = layout([row(f"k{i}", name="same") for i in range(6)], [], 9).rows[0]
    assert isinstance(fold, Fold)
    assert (fold.x0, fold.x1, fold.counts) == (None, None, (("pending", 6),))


times = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 2e9)
made = st.lists(
    st.builds(
        Row,
        st.text(max_size=3),
        st.sampled_from("ab"),
        st.lists(st.builds(Span, times, times, st.sampled_from(["running", "failed", "odd"])), max_size=3).map(tuple),
    ),
    max_size=14,
)
real = st.floats(0, 2e9)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(made, st.lists(st.tuples(real, st.none() | real), max_size=4), real)
def test_any_times_give_bars_inside_the_timeline(
    rows: list[Row], gaps: list[tuple[float, float | None]], now: float
) -> None:
    got = layout(rows, gaps, now, fold=False)
    whole = 0.0 if got.start is None or got.end is None else got.end - got.start
    for one in got.rows:
        for bar in line(one).bars:
            assert 0 <= bar.x0 <= whole
            assert bar.x1 is None or bar.x0 <= bar.x1 <= whole
    for stretch in (*got.idle, *got.gaps):
        assert 0 <= stretch.x0 < stretch.x1 <= whole
    keys = [key for one in layout(rows, gaps, now).rows for key in ([one.key] if isinstance(one, Line) else one.keys)]
    assert sorted(keys) == sorted(one.key for one in rows)


@pytest.mark.parametrize(
    ("seconds", "ticks"),
    [
        (0, [0]),
        (-3, [0]),
        (math.nan, [0]),
        (math.inf, [0]),
        (0.004, [0, 0.001, 0.002, 0.003, 0.004]),
        (7, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, [0, 2, 4, 6, 8]),
        (100, [0, 15, 30, 45, 60, 75, 90]),
        (600, [0, 120, 240, 360, 480, 600]),
        (86_400 * 3, [0, 43_200, 86_400, 129_600, 172_800, 216_000, 259_200]),
        (86_400 * 30, [0, 432_000, 864_000, 1_296_000, 1_728_000, 2_160_000, 2_592_000]),
    ],
)
def test_ticks_fall_on_round_places(seconds: float, ticks: list[float]) -> None:
    assert nice_ticks(seconds) == ticks


@given(st.floats(0.001, 1e10), st.integers(2, 20))
def test_ticks_are_few_rising_and_inside(seconds: float, most: int) -> None:
    ticks = nice_ticks(seconds, most)
    assert 1 <= len(ticks) <= most
    assert ticks[0] == 0
    assert ticks == sorted(set(ticks))
    assert ticks[-1] <= seconds + 0.001


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
