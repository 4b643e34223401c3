"""The fast reader of frames and the careful one: where the fast one has an answer, it is the other's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.core.decode import _careful, _ordinary
from tests import seed

_spaces = st.sampled_from(["", "", " ", "\n", "\t ", "  "])
_numbers = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        [
            "5.0",
            "5e0",
            "1E2",
            "-0",
            "-0.0",
            "1e400",
            "9007199254740993",
            "-1234567890123456",
            "1.50",
            "0.1e1",
            "01",
            "1.",
        ]
    ),
)
_letters = st.sampled_from(
    ["a", "b", ":", ",", " ", '\\"', "\\\\", "\\/", "\\n", "\\u0022", "\\u0041", "\\u0000", "\\ud800", "\\ud83d\\ude00",
     "é", "{", "]", "1234567890123456", ".0", "\x7f", "\n"]
)  # fmt: skip
_strings = st.lists(_letters, max_size=5).map(lambda letters: '"' + "".join(letters) + '"')
_scalars = st.one_of(_numbers, _strings, st.sampled_from(["true", "false", "null", "NaN"]))


@st.composite
def _written(draw: st.DrawFn, depth: int = 3) -> str:
    """A JSON value as somebody might write it, now and then a wrong one."""
    if depth == 0 or draw(st.integers(0, 2)) == 0:
        return draw(_scalars)
    space = draw(_spaces)
    inner = [draw(_written(depth - 1)) for _ in range(draw(st.integers(0, 3)))]
    if draw(st.booleans()):
        return "[" + f"{space},".join(inner) + "]"
    keys = [draw(st.sampled_from(['"a"', '"b"', '"\\u0061"', '"a\\":"', '"a\\u0022:"'])) for _ in inner]
    return "{" + ",".join(f"{space}{key}{space}:{value}" for key, value in zip(keys, inner, strict=True)) + space + "}"


@settings(max_examples=1500)
@given(_written())
def test_the_fast_reader_gives_what_the_careful_one_gives_or_leaves_it_to_it(frame: str) -> None:
    found = _ordinary(frame)
    assert found is None or found == _careful(frame)
    assert found is None or repr(found) == repr(_careful(frame)), "5 and 5.0 are equal, and not the same"


@pytest.mark.parametrize("workflow", ["customer_support", "financial_data"])
def test_what_an_upstream_really_sends_takes_the_fast_reader(workflow: str) -> None:
    assert all(_ordinary(frame) for frame in seed.frames(workflow))


@pytest.mark.parametrize(
    "frame",
    ['{"a": 1, "a": 2}', '{"a" : 1, "a": 2}', '{"a": {"b": 1}, "a": {"b\\u0022:": 1}}',
     '{"n": 5.0}', '{"n": 1e2}', '{"n": [9e15]}',
     '{"n": 12345678901234567}', '{"n": [9007199254740993]}', '{"t": "\\u0000"}', '{"t": "\\ud800"}'],
)  # fmt: skip
def test_what_the_fast_reader_would_lose_or_change_it_leaves_to_the_careful_one(frame: str) -> None:
    assert _ordinary(frame) is None
    _careful(frame)
