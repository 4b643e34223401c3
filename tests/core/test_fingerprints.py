"""Failures of one kind have one fingerprint, whatever differs from time to time."""

import pytest

from runs.core.fingerprints import _VARIES, fingerprint
from tests.growth import grows_in_proportion, repeated


def of(message: str, *, task: str = "fetch", kind: str = "TimeoutError", code: str = "") -> str:
    return fingerprint(task, {"type": kind, "message": message, "code": code})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no answer within 30 s", "no answer within 31.5 s"),
        ("order 'A-17' is unknown", "order 'B-9' is unknown"),
        ('column "a" is missing', 'column "b" is missing'),
        ("GET https://a.example/1?x=2 failed", "GET https://b.example/2 failed"),
        ("job 0b5c1a2e-9d1f-4c55-8f5c-0123456789ab is gone", "job 11111111-2222-3333-4444-555555555555 is gone"),
        ("trace 4f9d2ab81c is lost", "trace 77aa01bcde is lost"),
        ("key [masked:bearer#3f9a1c] was refused", "key [masked:bearer#ffffff] was refused"),
        ("Refused  by peer", "refused by peer"),
    ],
)
def test_what_varies_makes_no_new_kind(one: str, other: str) -> None:
    assert of(one) == of(other)


def test_another_task_type_code_or_sentence_is_another_kind() -> None:
    marks = {
        of("no answer"),
        of("no answer", task="load"),
        of("no answer", kind="OSError"),
        of("no answer", code="E7"),
        of("no such host"),
    }
    assert len(marks) == 5


def test_no_error_at_all_is_a_kind_too() -> None:
    assert fingerprint("", None) == fingerprint("", {})
    assert len(fingerprint("", None)) == 32


@pytest.mark.parametrize("text", ["'" * 500, "a1" * 300, "[masked:" * 90, "1.1." * 200, '"' + "x" * 499, "\ud800" * 9])
def test_a_hostile_message_takes_time_in_proportion_to_its_length(text: str) -> None:
    assert grows_in_proportion(lambda message: _VARIES.sub("…", message), repeated(text))
