"""The fold: attempts, settling and conflict come from the events' times, not from their order or repetition."""

import random
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.core import plan as plans
from runs.core.events import Event, typed
from runs.core.state import Mark, Reading, RunState, apply, begin, fold

T0 = 1_756_806_000.0


def made(seq: int, event_type: str, at: float | None, *, from_status: bool = False, **fields: Any) -> Event:
    payload = {"event_type": event_type, **fields}
    if at is not None:
        payload["timestamp"] = T0 + at
    return typed(payload, digest=f"{seq:032x}", received_at=T0 + 1000 + seq, seq=seq, from_status=from_status)


def definition(*names: str) -> dict[str, Any]:
    return {"tasks": [{"name": name, "tag": "", "function": "call_lyzr_agent", "params": {}} for name in names]}


def plan(*names: str) -> plans.Plan:
    return plans.read(definition(*names))


def facts(state: RunState) -> dict[str, Any]:
    """All that a person can see of a state, independent of the order in which dictionaries were filled."""
    return {
        "tasks": {key: asdict(task) for key, task in state.tasks.items()},
        "counts": {status: count for status, count in state.counts.items() if count},
        "ends": (state.started_at, state.finished_at, state.execution_time, state.conflict, state.terminal),
        "current": state.current_task,
    }


def statuses(state: RunState) -> dict[str, tuple[str, bool]]:
    return {task.name: (task.status, task.inferred) for task in state.tasks.values()}


def test_a_task_without_an_id_is_addressed_by_its_name() -> None:
    state = fold([made(1, "task_started", 0, task_name="a"), made(2, "task_completed", 2, task_name="a")])
    assert list(state.tasks) == ["a"]
    assert statuses(state) == {"a": ("succeeded", False)}


def test_a_second_start_after_an_end_is_a_second_attempt() -> None:
    events = [
        made(1, "task_started", 0, task_name="a"),
        made(2, "task_failed", 1, task_name="a", error={"type": "E", "message": "no"}),
        made(3, "task_started", 2, task_name="a"),
        made(4, "task_completed", 5, task_name="a"),
    ]
    task = fold(events).tasks["a"]
    assert [(attempt.status, attempt.started_at, attempt.finished_at) for attempt in task.attempts] == [
        ("failed", T0, T0 + 1),
        ("succeeded", T0 + 2, T0 + 5),
    ]
    assert (task.status, task.error, task.error_seq, task.input_seq, task.output_seq) == ("succeeded", None, 2, 3, 4)


def test_a_start_without_an_end_before_the_next_start_leaves_an_unknown_attempt() -> None:
    task = fold([made(1, "task_started", 0, task_name="a"), made(2, "task_started", 5, task_name="a")]).tasks["a"]
    assert [(attempt.status, attempt.inferred) for attempt in task.attempts] == [("unknown", True), ("running", False)]


def test_an_end_without_a_start_is_an_attempt_whose_start_follows_from_its_execution_time() -> None:
    task = fold([made(1, "task_completed", 10, task_name="a", execution_time=4)]).tasks["a"]
    assert (task.attempts[0].started_at, task.attempts[0].finished_at) == (T0 + 6, T0 + 10)
    bare = fold([made(1, "task_completed", 10, task_name="a")]).tasks["a"]
    assert bare.attempts[0].started_at is None


def test_the_events_of_the_flow_are_no_tasks() -> None:
    state = fold(
        [
            made(1, "flow_started", 0, task_id="cust-support-001"),
            made(2, "flow_completed", 1, task_id="pipeline-complete", task_name="flow", output={}),
        ]
    )
    assert state.tasks == {}


def test_a_task_that_never_completed_is_settled_from_the_output_of_the_flow() -> None:
    state = fold(
        [made(1, "task_started", 0, task_name="n"), made(2, "flow_completed", 5, output={"n": {"sent": True}})]
    )
    task = state.tasks["n"]
    assert (task.status, task.inferred, task.output_seq) == ("succeeded", True, 2)
    assert task.attempts[0].finished_at == T0 + 5


def test_open_and_unseen_tasks_are_settled_when_the_run_ends() -> None:
    events = [
        made(1, "task_started", 0, task_name="open"),
        made(2, "task_started", 0, task_name="bad"),
        made(3, "task_failed", 1, task_name="bad", error="boom"),
        made(4, "flow_error", 2, error={"type": "Halted", "message": "stopped"}),
    ]
    state = fold(events, plan("open", "bad", "never"))
    assert statuses(state) == {"open": ("unknown", True), "bad": ("failed", False), "never": ("skipped", True)}
    assert state.terminal is not None
    assert state.terminal.error == {"type": "Halted", "message": "stopped", "code": ""}
    assert state.counts["running"] == 0


def test_a_task_never_seen_is_unknown_where_events_may_be_missing() -> None:
    state = fold([made(1, "flow_completed", 2, output={"b": 1})], plan("a", "b"), gapped=True)
    assert statuses(state) == {"a": ("unknown", True), "b": ("succeeded", True)}


def test_a_start_that_comes_after_the_end_of_the_run_is_settled_too() -> None:
    state = fold([made(1, "flow_completed", 5, output={}), made(2, "task_started", 1, task_name="a")])
    assert statuses(state) == {"a": ("unknown", True)}


def test_the_earliest_terminal_event_decides_and_a_contradiction_is_flagged() -> None:
    state = fold([made(1, "flow_error", 9, error="late"), made(2, "flow_completed", 5, output={})])
    assert state.terminal is not None
    assert (state.terminal.outcome, state.conflict) == ("succeeded", True)


def test_a_report_of_task_status_gives_way_to_the_stream() -> None:
    report = made(1, "stepline.task_status", None, from_status=True, status="completed", results={"a": 1})
    state = fold([report], plan("a"))
    assert state.terminal is not None
    assert (state.terminal.outcome, state.terminal.inferred) == ("succeeded", True)
    assert statuses(state) == {"a": ("succeeded", True)}
    late = fold([report, made(2, "flow_error", 3, error="no")], plan("a"))
    assert late.terminal is not None
    assert (late.terminal.outcome, late.terminal.inferred, late.conflict) == ("failed", False, True)


def test_a_report_that_the_run_goes_on_changes_nothing() -> None:
    report = made(1, "stepline.task_status", None, from_status=True, status="processing", results={})
    assert fold([report]).terminal is None


def test_a_planned_task_keeps_its_key_whatever_ids_its_events_carry() -> None:
    events = [made(1, "task_started", 0, task_id="x-1", task_name="a"), made(2, "task_completed", 1, task_id="x-1")]
    state = fold(events, plan("a", "b"))
    assert list(state.tasks) == ["a", "b"]
    assert state.tasks["a"].status == "succeeded"


def test_marks_move_when_a_later_event_tells_that_two_labels_name_one_task() -> None:
    events = [
        made(1, "task_started", 0, task_name="a"),
        made(2, "task_completed", 3, task_id="x-1", task_name="a"),
    ]
    state = fold(events)
    assert list(state.tasks) == ["x-1"]
    assert (state.tasks["x-1"].name, state.tasks["x-1"].status) == ("a", "succeeded")
    assert state.counts["pending"] == 0


def test_an_id_that_is_another_tasks_name_takes_nothing_from_it() -> None:
    labels = [("", "X"), ("X", "Y"), ("id9", "X"), ("X", "Y")]
    events = [
        made(n, "task_started", n, task_id=task_id, task_name=name) for n, (task_id, name) in enumerate(labels, 1)
    ]
    state = fold(events)
    assert {key: len(task.marks) for key, task in state.tasks.items()} == {"X": 2, "id9": 2}


def test_a_retry_at_the_very_moment_of_the_failure_is_a_second_attempt() -> None:
    events = [
        made(1, "task_started", 0, task_name="a"),
        made(2, "task_failed", 5, task_name="a"),
        made(3, "task_started", 5, task_name="a"),
    ]
    assert [one.status for one in fold(events).tasks["a"].attempts] == ["failed", "running"]
    done = fold([*events, made(4, "task_completed", 8, task_name="a")]).tasks["a"]
    assert [(one.status, one.started_at) for one in done.attempts] == [("failed", T0), ("succeeded", T0 + 5)]


def test_a_task_that_began_and_ended_in_one_moment_has_one_attempt() -> None:
    task = fold([made(1, "task_completed", 3, task_name="a"), made(2, "task_started", 3, task_name="a")]).tasks["a"]
    assert [(one.status, one.started_at) for one in task.attempts] == [("succeeded", T0 + 3)]


def test_siblings_of_one_name_are_tasks_of_their_own() -> None:
    events = [made(n, "task_started", n, task_id=f"id-{n}", task_name="page") for n in range(1, 4)]
    assert sorted(fold(events).tasks) == ["id-1", "id-2", "id-3"]


def test_the_current_task_is_the_one_that_began_last_and_still_runs() -> None:
    state = begin(plan("a", "b"))
    assert state.current_task == ""
    running = [made(1, "task_started", 0, task_name="a"), made(2, "task_started", 1, task_name="b")]
    assert fold(running, plan("a", "b")).current_task == "b"
    assert fold([*running, made(3, "task_completed", 2, task_name="b")], plan("a", "b")).current_task == "a"


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans(), st.integers(0, 6)), max_size=25))
def test_the_current_task_is_right_after_each_event_in_any_order(told: list[tuple[str, bool, int]]) -> None:
    state = begin()
    for seq, (name, starts, at) in enumerate(told, 1):
        apply(state, made(seq, "task_started" if starts else "task_completed", at, task_name=name))
        running = [task for task in state.tasks.values() if task.status == "running"]
        if running:
            assert state.current_task == max(running, key=lambda task: (task.marks[-1].at, task.key)).name
        assert sorted(state.running) == sorted(task.name for task in running)


def test_the_duration_comes_from_the_upstream_or_from_the_ends() -> None:
    told = [made(1, "flow_started", 0), made(2, "flow_completed", 13.4, total_execution_time=13.41, output={})]
    assert fold(told).execution_time == 13.41
    untold = [made(1, "flow_started", 0), made(2, "flow_error", 46)]
    assert fold(untold).execution_time == 46.0


NAMES = st.sampled_from(["a", "b", "c", ""])
IDS = st.sampled_from(["", "", "x", "y"])


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Events of a run as no sane upstream would send them."""
    events = []
    for seq in range(1, draw(st.integers(1, 14)) + 1):
        kind = draw(
            st.sampled_from(
                ["task_started"] * 3
                + ["task_completed"] * 2
                + ["task_failed", "flow_started", "flow_completed", "flow_error", "odd", "stepline.task_status"]
            )
        )
        at = draw(st.none() | st.integers(0, 6).map(float))
        fields: dict[str, Any] = {}
        if kind.startswith("task_"):
            fields = {"task_id": draw(IDS), "task_name": draw(NAMES)}
            if not any(fields.values()):
                fields["task_name"] = "a"
            if kind == "task_failed":
                fields["error"] = draw(st.sampled_from([None, "text", {"type": "E", "message": "m"}]))
        if kind == "flow_completed":
            fields = {"output": draw(st.sampled_from([{}, {"a": 1}, {"b": 1, "c": 2}, "text"]))}
        if kind == "stepline.task_status":
            fields = {"status": draw(st.sampled_from(["completed", "failed", "running"])), "results": {"c": 1}}
        events.append(made(seq, kind, at, from_status=kind == "stepline.task_status", **fields))
    return events


@given(histories(), st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_any_order_and_any_repetition_come_to_the_same_state(
    events: list[Event], chance: random.Random, planned: bool, gapped: bool
) -> None:
    known = plan("a", "b") if planned else None
    expected = facts(fold(events, known, gapped=gapped))
    shuffled = [*events, *chance.choices(events, k=len(events))]
    chance.shuffle(shuffled)
    assert facts(fold(shuffled, known, gapped=gapped)) == expected


@given(histories(), st.booleans())
def test_one_event_after_the_other_comes_to_what_the_fold_says(events: list[Event], planned: bool) -> None:
    known = plan("a", "b") if planned else None
    state = begin(known)
    for event in events:
        apply(state, event)
    assert facts(state) == facts(fold(events, known))


@given(histories())
def test_the_counters_agree_with_the_tasks(events: list[Event]) -> None:
    state = fold(events, plan("a", "b"))
    counted: dict[str, int] = {}
    for task in state.tasks.values():
        counted[task.status] = counted.get(task.status, 0) + 1
    assert {status: count for status, count in state.counts.items() if count} == counted


@given(histories())
def test_a_run_that_has_ended_has_no_running_or_pending_task(events: list[Event]) -> None:
    state = fold(events, plan("a", "b"))
    if state.terminal:
        assert not {task.status for task in state.tasks.values()} & {"running", "pending"}


def test_a_task_with_thousands_of_attempts_is_read_once_and_not_for_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def counting(self: Reading, marks: list[Mark]) -> None:
        nonlocal read
        read += len(marks)
        plain(self, marks)

    plain = Reading.read
    monkeypatch.setattr(Reading, "read", counting)
    state = begin()
    number = 2000
    for n in range(number):
        apply(state, made(2 * n + 1, "task_started", 2 * n, task_name="poll"))
        apply(state, made(2 * n + 2, "task_failed", 2 * n + 1, task_name="poll", error={"type": "E"}))
    assert len(state.tasks["poll"].attempts) == number
    assert read <= 2 * 2 * number, "each mark twice: when it is the last one, and when it no longer is"
