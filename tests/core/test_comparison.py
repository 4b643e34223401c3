"""Two runs side by side: which tasks belong together, what differs, and what is told first."""

from collections.abc import Sequence

import pytest

from runs.core.comparison import Pair, Side, by_difference, counts, noticed, pairs


def side(name: str, position: int = 0, *, key: str = "", status: str = "succeeded", tries: int = 1,
         seconds: float | None = 1.0) -> Side:  # fmt: skip
    return Side(key or name, name, position, status, False, tries, seconds)


def run(*names: str) -> list[Side]:
    return [side(name, position) for position, name in enumerate(names)]


def keys(found: Sequence[Pair]) -> list[tuple[str, str]]:
    return [(pair.before.key if pair.before else "", pair.after.key if pair.after else "") for pair in found]


def pair(before: Side | None, after: Side | None) -> Pair:
    return Pair(before, after)


def test_tasks_of_one_key_belong_together_in_the_order_of_the_plan() -> None:
    assert keys(pairs(run("fetch", "clean", "report"), run("fetch", "check", "clean", "report"))) == [
        ("fetch", "fetch"),
        ("", "check"),
        ("clean", "clean"),
        ("report", "report"),
    ]


def test_a_task_that_is_gone_stands_where_it_stood() -> None:
    assert keys(pairs(run("fetch", "clean", "report"), run("fetch", "report"))) == [
        ("fetch", "fetch"),
        ("clean", ""),
        ("report", "report"),
    ]


def test_tasks_whose_keys_are_ids_of_one_run_go_by_their_names_in_order() -> None:
    before = [side("part", 1, key="id-2"), side("part", 0, key="id-1"), side("end", 2, key="id-3")]
    after = [side("part", n, key=f"id-{n + 7}") for n in range(3)]
    assert keys(pairs(before, after)) == [("id-1", "id-7"), ("id-2", "id-8"), ("id-3", ""), ("", "id-9")]


def test_one_key_under_two_names_is_two_tasks() -> None:
    assert keys(pairs([side("fetch", key="1")], [side("report", key="1")])) == [("1", ""), ("", "1")]


def test_a_planned_task_is_found_in_a_run_that_was_started_elsewhere() -> None:
    assert keys(pairs([side("fetch")], [side("fetch", key="id-9")])) == [("fetch", "id-9")]


@pytest.mark.parametrize(
    ("found", "change"),
    [
        (pair(side("a"), None), "before"),
        (pair(None, side("a")), "after"),
        (pair(side("a"), side("a", status="failed", seconds=9)), "state"),
        (pair(side("a"), side("a", tries=2, seconds=9)), "attempts"),
        (pair(side("a"), side("a", seconds=1.5)), "longer"),
        (pair(side("a"), side("a", seconds=0.5)), "shorter"),
        (pair(side("a"), side("a", seconds=1.05)), ""),
        (pair(side("a"), side("a", seconds=None)), ""),
        (pair(side("a", seconds=None), side("a", seconds=None)), ""),
    ],
)
def test_what_differs_is_told_by_its_first_word(found: Pair, change: str) -> None:
    assert found.change == change


@pytest.mark.parametrize(
    ("before", "after", "worth"),
    [(1, 1.2, True), (0.001, 0.05, False), (100, 105, False), (100, 112, True), (0, 0.1, True), (None, 1, False)],
)
def test_durations_differ_by_a_tenth_and_a_tenth_of_a_second(
    before: float | None, after: float | None, worth: bool
) -> None:
    assert noticed(before, after) is worth
    assert noticed(after, before) is worth


def test_what_differs_most_comes_first_and_equals_keep_the_order_of_the_plan() -> None:
    before = [side(name, n) for n, name in enumerate(["same", "slow", "retried", "skipped", "gone", "fast", "broken"])]
    after = [
        side("same", 0),
        side("slow", 1, seconds=2),
        side("retried", 2, tries=3),
        side("skipped", 3, status="skipped", seconds=None),
        side("new", 4),
        side("fast", 5, seconds=0.1),
        side("broken", 6, status="failed"),
    ]
    found = pairs(before, after)
    assert [one.side.name for one in by_difference(found)] == [
        "broken", "skipped", "gone", "new", "retried", "slow", "fast", "same",
    ]  # fmt: skip
    assert counts(found) == {
        "": 1, "longer": 1, "shorter": 1, "attempts": 1, "state": 2, "before": 1, "after": 1,
    }  # fmt: skip


def test_nothing_beside_nothing_is_nothing() -> None:
    assert pairs([], []) == []
    assert keys(pairs([], run("a"))) == [("", "a")]
