"""Any past of a run is what a fold of its first events gives."""

from collections.abc import Callable
from typing import Any

import pytest

from runs import history, store
from runs.core.state import fold
from runs.history import Histories
from runs.models import Run, Task
from tests.factories import START
from tests.store.conftest import Hand, completed, flow_completed, started

pytestmark = pytest.mark.django_db


def failed(name: str, at: float, **more: Any) -> dict[str, Any]:
    error = {"type": "E", "message": f"{name} went wrong", "code": "E1"}
    return {
        "event_type": "task_failed",
        "task_id": f"id-{name}",
        "task_name": name,
        "timestamp": at,
        "error": error,
        **more,
    }


# A retry, an end before its start, a repeated start, a task whose name is told before its id, and one that only the
# end of the run settles.
ODD: list[dict[str, Any]] = [
    {"event_type": "flow_started", "timestamp": START},
    started("a", START + 1),
    failed("a", START + 2),
    completed("b", START + 6, execution_time=2.0),
    started("a", START + 3),
    started("b", START + 4),
    {"event_type": "task_started", "task_name": "extra", "timestamp": START + 5},
    {"event_type": "task_started", "task_id": "x-7", "task_name": "extra", "timestamp": START + 5.5},
    {"event_type": "task_completed", "task_id": "x-7", "timestamp": START + 5.7},
    started("a", START + 7),
    completed("a", START + 8),
    started("c", START + 8),
    flow_completed(START + 9, output={"b": 1}),
    completed("c", START + 8.5),
    {"event_type": "flow_error", "timestamp": START + 9.5, "error": {"type": "Late", "message": "no"}},
]


def expected(run: Run, seq: int, *, gapped: bool = False) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The run's row and its tasks' by a fold of the first events; the places of tasks left out."""
    loaded = store.load(run.pk)
    state = fold(store.read_events(run.pk, until=seq), loaded.plan, gapped=gapped)
    places = store.positions(state)
    rows = {key: store.task_row(task, loaded.plan, places[key]) for key, task in state.tasks.items()}
    return store.run_row(state, loaded.plan is not None), {key: row | {"position": 0} for key, row in rows.items()}


def found(run: Run, then: history.Then) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    row, tasks = expected(run, 0)
    names = [*row, "status"] if then.run.ended else list(row)
    fields = list(next(iter(tasks.values())))
    told = then.tasks(then.versions).values()
    return (
        {name: getattr(then.run, name) for name in names},
        {task.key: {name: getattr(task, name) for name in fields} | {"position": 0} for task in told},
    )


def test_every_past_is_the_fold_of_as_many_events(hand: Callable[..., Hand]) -> None:
    writing = hand("a", "b", "c", "d")
    for payload in ODD:
        writing.write(payload)
    run = Run.objects.get(pk=writing.claim.run_id)
    histories = Histories()
    for seq in (*range(len(ODD), -1, -1), *range(len(ODD) + 1)):  # back, then on
        assert found(run, histories.then(run, seq)) == expected(run, seq), seq
    assert len(Task.objects.filter(run=run)) == 5
    assert {len(rows) for rows in (histories.then(run, len(ODD)).versions, expected(run, len(ODD))[1])} == {5}


def test_a_history_goes_on_with_its_run_and_learns_of_gaps(hand: Callable[..., Hand]) -> None:
    writing, histories = hand("a", "b"), Histories()
    run_id = writing.claim.run_id
    writing.write(started("a"))
    run = Run.objects.get(pk=run_id)
    assert found(run, histories.then(run, 1)) == expected(run, 1)
    writing.write(gap=store.OpenGap("disconnected", 1, START + 1, START + 2))
    writing.write(completed("a", START + 3), flow_completed())
    run = Run.objects.get(pk=run_id)
    assert found(run, histories.then(run, 3)) == expected(run, 3, gapped=True)
    assert histories.then(run, 3).versions["b"].item.status == "unknown"
    assert [len(histories.then(run, seq).gaps) for seq in (1, 2, 3)] == [0, 1, 1]
    assert found(run, histories.then(run, 1)) == expected(run, 1)


def test_a_gap_that_is_told_late_is_folded_in(hand: Callable[..., Hand]) -> None:
    writing, histories = hand("a", "b"), Histories()
    writing.write(started("a"), completed("a"), flow_completed())
    run = Run.objects.get(pk=writing.claim.run_id)
    assert histories.then(run, 3).versions["b"].item.status == "skipped"
    writing.write(gap=store.OpenGap("late", 0, None, START))
    run.refresh_from_db()
    assert histories.then(run, 3).versions["b"].item.status == "unknown"


def test_what_was_asked_for_longest_ago_is_forgotten(
    hand: Callable[..., Hand], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_KEPT", 6)  # two of three versions each
    histories, runs = Histories(), []
    for _ in range(3):
        writing = hand("a")
        writing.write(started("a"), completed("a"))
        runs.append(Run.objects.get(pk=writing.claim.run_id))
    for run in runs:
        histories.then(run, 2)
    assert [key[0] for key in histories._kept] == [run.pk for run in runs[1:]]
    assert histories.then(runs[0], 2).run.tasks_succeeded == 1


def test_histories_without_an_event_take_room_too(hand: Callable[..., Hand], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_KEPT", 6)
    histories = Histories()
    for _ in range(4):
        histories.then(Run.objects.get(pk=hand("a", "b", "c").claim.run_id), 0)
    assert len(histories._kept) == 2
