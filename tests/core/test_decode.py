"""Every frame becomes an event, noise, or a rejection with its reason."""

import json

import pytest

from runs.core.decode import Address, Noise, Rejected, decode
from runs.core.events import Event, FlowCompleted, TaskStarted, UnknownEvent

ADDRESS = Address(flow_name="Flow", run_name="run 1", key=b"key of this run")


def read(frame: str | bytes) -> Event | Noise | Rejected:
    return decode(frame, ADDRESS, 1_756_806_000.0)


def event(frame: str) -> Event:
    found = read(frame)
    assert isinstance(found, Event), found
    return found


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("{", "invalid-json"),
        ("hello", "invalid-json"),
        ('{"event_type": "x"} trailing', "invalid-json"),
        ('{"event_type": "x", "n": NaN}', "not-a-number"),
        ('{"event_type": "x", "n": -Infinity}', "not-a-number"),
        ('{"event_type": "x", "n": 1e400}', "infinite-number"),
        ('{"event_type": "x", "n": ' + "9" * 4301 + "}", "huge-integer"),
        ('\ufeff{"event_type": "x"}', "bom"),
        (b'{"event_type": "x"}', "binary"),
        ("[1]", "not-an-object"),
        ('"text"', "not-an-object"),
        ("null", "not-an-object"),
        ('{"event_type": "x", "a": ' + "[" * 64 + "]" * 64 + "}", "too-deep"),
        ("[" * 100_000, "too-deep"),
        ('{"event_type": "x", "flow_name": "Other"}', "other-run"),
        ('{"event_type": "x", "run_name": "run 2"}', "other-run"),
        ('{"task_name": "a"}', "no-event-type"),
        ('{"type": []}', "no-event-type"),
        ('{"type": {"ping": 1}}', "no-event-type"),
        ('{"event_type": []}', "no-event-type"),
        ('{"event_type": 7}', "no-event-type"),
        ('{"event_type": "task_started"}', "no-task"),
        ('{"event_type": "task_started", "task_id": null, "task_name": {}}', "no-task"),
    ],
)
def test_a_frame_that_can_be_no_event_of_this_run_is_rejected_with_its_reason(frame: str | bytes, reason: str) -> None:
    found = read(frame)
    assert isinstance(found, Rejected)
    assert found.reason == reason
    assert found.detail
    assert found.size == len(frame if isinstance(frame, bytes) else frame.encode())


def test_depth_is_counted_outside_of_strings_only() -> None:
    assert event('{"event_type": "x", "a": "' + "[" * 1000 + '"}').event_type == "x"
    assert event('{"event_type": "x", "a": ' + "[" * 63 + "]" * 63 + "}").event_type == "x"


@pytest.mark.parametrize(
    "frame",
    [
        '{"type": "ping"}',
        '{"type": "pong"}',
        '{"type": "keepalive"}',
        '{"type": "system", "message": "Connected to workflow"}',
        '{"event_type": "keepalive"}',
        'Echoing: {"type":"ping"}',
        "connection established",
    ],
)
def test_noise_is_told_apart_from_events_and_from_garbage(frame: str) -> None:
    assert isinstance(read(frame), Noise)


def test_an_unknown_type_is_an_event_all_the_same() -> None:
    found = event('{"event_type": "task_paused", "task_name": "a", "why": "lunch"}')
    assert isinstance(found, UnknownEvent)
    assert found.payload["why"] == "lunch"


def test_a_frame_cannot_pass_for_our_own_report() -> None:
    assert isinstance(event('{"event_type": "stepline.task_status", "status": "completed"}'), UnknownEvent)


def test_the_last_of_equal_keys_keeps_the_name_and_the_others_stay_beside_it() -> None:
    found = event('{"event_type": "x", "a": 1, "a": 2, "a": 3}')
    assert found.flags == ("duplicate-keys",)
    assert found.payload == {"event_type": "x", "a [duplicate 1]": 1, "a [duplicate 2]": 2, "a": 3}


def test_nul_and_lone_surrogates_are_escaped_so_that_it_can_be_reversed() -> None:
    found = event(r'{"event_type": "x", "a": "n\u0000 s\ud800 b\\u0000", "b": "\\"}')
    assert found.flags == ("escaped",)
    assert found.payload["a"] == r"n\u0000 s\ud800 b\\u0000"
    assert found.payload["b"] == r"\\"
    json.dumps(found.payload, ensure_ascii=False).encode()


def test_a_surrogate_pair_is_a_character_and_needs_no_escape() -> None:
    found = event(r'{"event_type": "x", "a": "\ud83d\udea8"}')
    assert found.flags == ()
    assert found.payload["a"] == "🚨"


def test_integers_of_any_size_are_kept_exactly_and_flagged() -> None:
    found = event('{"event_type": "x", "n": 123456789012345678901234567890}')
    assert found.payload["n"] == 123456789012345678901234567890
    assert found.flags == ("big-integer",)
    assert event('{"event_type": "x", "n": 9007199254740992}').flags == ()


@pytest.mark.parametrize("raw", ['"yesterday"', "1e300", "-5", "null", "true", "12", '"1756806000"', "{}"])
def test_an_absurd_timestamp_is_kept_as_it_came_and_orders_nothing(raw: str) -> None:
    found = event(f'{{"event_type": "x", "timestamp": {raw}}}')
    assert found.timestamp is None
    assert "timestamp" in found.payload
    assert found.at == found.received_at


def test_the_digest_ignores_key_order_blanks_and_the_spelling_of_numbers() -> None:
    one = event('{"event_type": "x", "n": 5.0, "m": 1e2}')
    other = event('{"m":100,"n":5,"event_type":"x"}')
    assert one.digest == other.digest
    assert one.digest != event('{"event_type": "x", "n": 5, "m": 101}').digest


def test_the_digest_depends_on_the_key_of_the_run() -> None:
    frame = '{"event_type": "x"}'
    other = decode(frame, Address("Flow", "run 1", b"another key"), 0.0)
    assert isinstance(other, Event)
    assert other.digest != event(frame).digest


def test_names_are_read_where_they_are_missing_or_odd() -> None:
    found = event('{"event_type": "task_started", "task_id": 17}')
    assert isinstance(found, TaskStarted)
    assert (found.task_id, found.task_name) == ("17", "")
    assert event('{"event_type": "flow_completed", "output": [1]}') == event(
        '{"event_type": "flow_completed", "output": [1]}'
    )
    ended = event('{"event_type": "flow_completed", "output": "done"}')
    assert isinstance(ended, FlowCompleted)
    assert ended.outputs == frozenset()
