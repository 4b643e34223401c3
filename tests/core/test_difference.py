"""What differs between two JSON values, place by place."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.core.difference import ABSENT, Difference, differences, excerpts


def found(before: Any, after: Any) -> list[tuple[str, Any, Any]]:
    return [(one.place, one.before, one.after) for one in differences(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, [("a.b.c", 1, 2)]),
        ({"a": 1}, {"b": 1}, [("a", 1, ABSENT), ("b", ABSENT, 1)]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, [("a[1]", 2, 3), ("a[2]", ABSENT, 4)]),
        ({"a": {"b": 1}}, {"a": [1]}, [("a", {"b": 1}, [1])]),
        ({"a": True}, {"a": 1}, [("a", True, 1)]),
        ({"a": None}, {}, [("a", None, ABSENT)]),
        ([], {}, [("", [], {})]),
    ],
)
def test_each_place_that_differs_is_told(before: Any, after: Any, told: list[tuple[str, Any, Any]]) -> None:
    assert found(before, after) == told


def test_elements_with_names_of_their_own_are_compared_by_them() -> None:
    fetch, clean = {"name": "fetch", "url": "a"}, {"name": "clean"}
    assert found({"tasks": [fetch, clean]}, {"tasks": [clean, fetch | {"url": "b"}]}) == [
        ("tasks[fetch].url", "a", "b")
    ]
    assert found({"tasks": [fetch]}, {"tasks": [fetch, clean]}) == [("tasks[clean]", ABSENT, clean)]


def test_elements_whose_names_are_not_their_own_are_compared_by_number() -> None:
    assert found([{"name": "a"}, {"name": "a"}], [{"name": "a"}, {"name": "b"}]) == [("[1].name", "a", "b")]
    assert found([{"name": "a"}], [{"name": "a"}, 1]) == [("[1]", ABSENT, 1)]


_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "name"]), inner, max_size=3),
    max_leaves=8,
)


@given(_values, _values)
def test_there_is_a_difference_exactly_where_two_values_are_not_the_same(before: Any, after: Any) -> None:
    assert not found(before, before)
    told = list(differences(before, after))
    assert all(isinstance(one, Difference) for one in told)
    if repr(before) != repr(after) and not told:
        assert before == after, "only an order may differ"


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("same", "other", ("same", "other")),
        ("x" * 30 + "a" + "y" * 30, "x" * 30 + "b" + "y" * 30, ("…xxxayyyyyyyy…", "…xxxbyyyyyyyy…")),
        ("a" + "y" * 30, "b", ("ayyyyyyyyyyy…", "b")),
        ("x" * 20, "x" * 25, ("…xxx", "…xxxxxxxx")),
    ],
)
def test_long_texts_are_cut_to_where_they_part(before: str, after: str, shown: tuple[str, str]) -> None:
    assert excerpts(before, after, 12) == shown


_texts = st.text("ab…", max_size=60)


@given(_texts, _texts, st.integers(8, 40))
def test_two_texts_that_are_not_the_same_never_look_the_same(before: str, after: str, most: int) -> None:
    one, other = excerpts(before, after, most)
    assert max(len(one), len(other)) <= most + 2
    assert (one == other) == (before == after)
