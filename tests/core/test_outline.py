import random

import pytest

from runs.core.outline import Fold, Item, Line, Outline, View
from runs.core.timeline import Span, Stretch


def item(n: int, name: str = "", status: str = "succeeded", **more: object) -> Item:
    return Item(n, f"k{n}", name or f"t{n}", n, status, **more)  # type: ignore[arg-type]


def outline(*items: Item) -> Outline:
    made = Outline()
    made.put(items)
    return made


def names(lines: list[Line]) -> list[str]:
    return [f"[{line.name}]" if isinstance(line, Fold) else line.key for line in lines]


def test_tasks_stand_in_their_order_whenever_they_came() -> None:
    made = outline(item(3), item(1))
    made.put([item(2)])
    assert names(made.arrange(View()).lines) == ["k1", "k2", "k3"]
    assert len(made) == 3


def test_a_task_that_has_changed_takes_the_place_of_what_it_was() -> None:
    made = outline(item(1, status="running"), item(2))
    made.put([item(1, status="failed", rev=7)])
    [first, _] = made.arrange(View()).lines
    assert (first.status, first.rev) == ("failed", 7)
    assert made.get("k1") == first
    assert made.get("nobody") is None


@pytest.mark.parametrize(
    ("view", "kept"),
    [
        (View(find="ETCH"), ["k1"]),
        (View(states=frozenset({"running", "failed"})), ["k2", "k4"]),
        (View(errors=True), ["k3", "k4", "k5"]),
        (View(errors=True, states=frozenset({"succeeded"})), ["k3"]),
        (View(find="nothing of it"), []),
    ],
)
def test_filters_narrow_what_is_shown(view: View, kept: list[str]) -> None:
    made = outline(
        item(1, "fetch"), item(2, status="running"), item(3, error_seq=4), item(4, status="failed"),
        item(5, status="unknown"),
    )  # fmt: skip
    assert names(made.arrange(view).lines) == kept


def test_five_siblings_stay_and_six_fold_where_the_first_one_stands() -> None:
    five = [item(n, "same") for n in (1, 2, 4, 5, 6)]
    others = [item(0), item(3)]
    assert len(outline(*five, *others).arrange(View()).lines) == 7
    made = outline(*five, *others, item(7, "same"))
    assert names(made.arrange(View()).lines) == ["k0", "[same]", "k3"]
    assert len(made.arrange(View(fold=False)).lines) == 8


def test_an_open_fold_shows_its_tasks_with_those_that_failed_first() -> None:
    made = outline(*(item(n, "same", "failed" if n == 4 else "succeeded") for n in range(6)), item(6))
    arranged = made.arrange(View(opened=frozenset({"same"})))
    assert names(arranged.lines) == ["[same]", "k4", "k0", "k1", "k2", "k3", "k5", "k6"]
    assert arranged.folded == {"same"}


def fold(*items: Item) -> Fold:
    [found] = outline(*items).arrange(View()).lines
    assert isinstance(found, Fold)
    return found


def test_a_fold_counts_its_tasks_errors_first_and_is_known_by_its_first() -> None:
    states = ["succeeded", "succeeded", "running", "pending", "failed", "succeeded"]
    got = fold(*(item(n + 10, "same", status, rev=n) for n, status in enumerate(states)))
    assert got.counts == [("failed", 1), ("running", 1), ("pending", 1), ("succeeded", 3)]
    assert (got.pk, got.status, got.rev) == (10, "failed", 5)


def test_the_envelope_of_a_fold_ends_with_the_last_and_not_while_one_runs() -> None:
    ended = [item(n, "same", started_at=100 + n, finished_at=110 + n) for n in range(6)]
    assert fold(*ended).envelope == Span(100, 115, "succeeded")
    running = item(6, "same", "running", started_at=103.0)
    assert fold(*ended, running).envelope == Span(100, None, "running")
    assert fold(*(item(n, "same", "pending") for n in range(6))).envelope == Span(None, None, "pending")


def test_a_filter_comes_before_folding() -> None:
    made = outline(*(item(n, "same", "failed" if n < 2 else "succeeded") for n in range(9)))
    assert names(made.arrange(View(states=frozenset({"failed"}))).lines) == ["k0", "k1"]


def test_a_task_is_found_in_its_row_or_in_the_fold_that_hides_it() -> None:
    made = outline(item(0), *(item(n, "same") for n in range(1, 8)), item(8))
    closed, opened = made.arrange(View()), made.arrange(View(opened=frozenset({"same"})))
    assert [closed.line_of(key) for key in ("k0", "k5", "k8", "none")] == [0, 1, 2, None]
    assert [opened.line_of(key) for key in ("k0", "k5", "k8")] == [0, 6, 9]


def test_the_next_failure_is_below_and_then_from_the_top_again() -> None:
    made = outline(item(0), item(1, status="failed"), item(2), item(3, status="unknown"))
    arranged = made.arrange(View())
    assert [arranged.next_trouble(after) for after in (-1, 0, 1, 2, 3)] == [1, 1, 3, 3, 1]
    assert outline(item(0)).arrange(View()).next_trouble(-1) is None
    hidden = outline(item(0), *(item(n, "same", "failed" if n == 3 else "pending") for n in range(1, 8)))
    assert hidden.arrange(View()).next_trouble(-1) == 1, "a closed fold that holds one"
    assert hidden.arrange(View(opened=frozenset({"same"}))).next_trouble(-1) == 2, "the task itself in an open one"


def test_the_front_is_where_something_began_last() -> None:
    made = outline(item(0, started_at=5.0), item(1, started_at=9.0), item(2, started_at=7.0), item(3))
    assert made.arrange(View()).front == 1
    assert outline(item(0)).arrange(View()).front is None
    many = outline(item(0, started_at=1.0), *(item(n, "same", started_at=float(n)) for n in range(1, 8)))
    assert many.arrange(View()).front == 1


VIEWS = [View(), View(fold=False), View(errors=True), View(find="a"), View(opened=frozenset("ab"))]


@pytest.mark.parametrize("seed", range(20))
def test_changes_one_by_one_come_to_the_same_as_all_at_once(seed: int) -> None:
    dice, grown = random.Random(seed), Outline()
    for number in range(50):
        n, status = dice.randrange(20), dice.choice(["pending", "running", "failed", "succeeded"])
        began = dice.choice([None, 0.0, 1.0, 2.0, 3.0])
        grown.put([Item(n, f"k{n}", dice.choice("abcde"), dice.randrange(6), status, started_at=began)])
        whole = outline(*sorted(grown.items(), key=lambda one: one.key))
        for view in VIEWS:
            arranged = grown.arrange(view)
            assert arranged == whole.arrange(view), (number, view)
            begun = [
                (one.started_at, place)
                for place, line in enumerate(arranged.lines)
                for one in ([line] if isinstance(line, Item) else [] if line.opened else line.items)
                if one.started_at is not None
            ]
            assert arranged.front == (max(begun)[1] if begun else None)


def test_it_is_idle_where_no_task_ran() -> None:
    made = outline(item(0, started_at=100.0, finished_at=110.0), item(1, started_at=150.0, finished_at=160.0))
    assert made.idle(100.0) == (Stretch(10, 50),)
