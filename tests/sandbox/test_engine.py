"""How a run goes: order, branches, attempts, failure, and what its events say."""

import asyncio
import json
from typing import Any

import pytest

from sandbox import definition, engine
from sandbox.engine import orchestrator
from tests.sandbox.playing import named, play, start, story, task, until, workflow

SECRET = "sk-live-123"


async def test_a_task_starts_only_when_all_it_depends_on_has_ended() -> None:
    events = await play(workflow(task("c", "a2a", "a", "b"), task("b"), task("a")))
    told = story(events)
    assert told[0] == "flow_started"
    assert told[-1] == "flow_completed"
    assert told.index("task_started c") > max(told.index("task_completed a"), told.index("task_completed b"))


async def test_tasks_that_do_not_depend_on_each_other_run_at_the_same_time() -> None:
    told = story(await play(workflow(*(task(name, sandbox={"seconds": 5}) for name in "abc"))))
    assert told[1:4] == ["task_started a", "task_started b", "task_started c"]


async def test_a_concurrency_limit_holds() -> None:
    told = story(await play(workflow(*(task(name) for name in "abcdef"), sandbox={"concurrency": 2})))
    running, most = 0, 0
    for event in told:
        running += event.startswith("task_started") - event.startswith("task_completed")
        most = max(most, running)
    assert most == 2


async def test_the_input_holds_the_resolved_params_with_secrets_and_without_the_script() -> None:
    events = await play(
        workflow(
            task("a", config={"api_key": {"input": "key"}}, message="hi", sandbox={"output": {"n": 1}}),
            task("b", "a2a", "a"),
            default_inputs={"key": SECRET},
        )
    )
    assert named(events, "task_started", "a")[0]["input"] == {"config": {"api_key": SECRET}, "message": "hi"}
    assert named(events, "task_started", "b")[0]["input"] == {"from_a": {"n": 1}}
    assert "sandbox" not in json.dumps(events)


async def test_a_task_keeps_one_id_and_a_null_id_means_none() -> None:
    events = await play(workflow(task("a"), task("b", sandbox={"task_id": None}), task("c", sandbox={"task_id": "C"})))
    assert len({event["task_id"] for event in events if event.get("task_name") == "a"}) == 1
    assert all("task_id" not in event for event in events if event.get("task_name") == "b")
    assert {event["task_id"] for event in events if event.get("task_name") == "c"} == {"C"}


async def test_a_retry_is_a_second_start_after_a_failure() -> None:
    script = {"failures": 1, "retries": 1, "fail": {"type": "E"}, "partial_results": {"half": 1}}
    events = await play(workflow(task("a", sandbox=script)))
    assert story(events) == [
        "flow_started",
        "task_started a",
        "task_failed a",
        "task_started a",
        "task_completed a",
        "flow_completed",
    ]
    failed = named(events, "task_failed")[0]
    assert failed["error"] == {"type": "E"}
    assert failed["partial_results"] == {"half": 1}


async def test_a_failure_for_good_stops_the_flow_and_what_ran_beside_it_without_a_word() -> None:
    run, events = await start(
        workflow(
            task("early", sandbox={"seconds": 0, "output": "kept"}),
            task("bad", sandbox={"seconds": 20, "fail": {"code": 1}, "retries": 1}),
            task("slow", sandbox={"seconds": 80_000}),
            task("never", "a2a", "bad"),
        )
    )
    await until(lambda: run.finished_at is not None)
    told = story(events)
    assert told[-1] == "flow_error"
    assert told.count("task_failed bad") == 2
    assert "task_started slow" in told
    assert "task_completed slow" not in told
    assert "task_started never" not in told
    assert events[-1]["partial_results"] == {"early": "kept"}
    assert "bad" in events[-1]["error"]["message"]
    assert run.status == "failed"
    assert run.results == {"early": "kept"}


async def test_a_silent_task_shows_only_in_the_flow_output() -> None:
    events = await play(workflow(task("a", sandbox={"silent_end": True, "output": 5}), task("b", "a2a", "a")))
    assert not named(events, "task_completed", "a")
    assert events[-1]["output"]["a"] == 5
    assert named(events, "task_started", "b")[0]["input"] == {"from_a": 5}


async def test_a_silent_flow_ends_for_task_status_alone() -> None:
    run, events = await start(workflow(task("a"), sandbox={"silent_end": True}))
    await until(lambda: run.finished_at is not None)
    assert run.status == "completed"
    assert story(events)[-1] == "task_completed a"


ROUTES = [
    {"name": "billing", "description": "An invoice or a payment", "examples": [{"text": "charged twice"}]},
    {"name": "technical", "description": "Something broken", "examples": [{"text": "error at sign in"}]},
]


def routed(message: str) -> dict[str, Any]:
    return workflow(
        task("r", "gpt_router", message=message, routes=ROUTES, fallback_route="technical"),
        task("pay", "call_lyzr_agent", "r"),
        task("fix", "call_lyzr_agent", "r"),
        task("after_fix", "a2a", "fix"),
        task("free", "a2a", "r"),
        task("meet", "a2a", "pay", "after_fix"),
        edges=[
            {"source": "r", "target": "pay", "condition": "route == 'billing'"},
            {"source": "r", "target": "fix", "condition": 'route == "technical"'},
        ],
    )


@pytest.mark.parametrize(
    ("message", "ran"),
    [
        ("You charged my card twice for one invoice", {"r", "pay", "free", "meet"}),
        ("I see an error when I sign in", {"r", "fix", "after_fix", "free", "meet"}),
        ("Zzz", {"r", "fix", "after_fix", "free", "meet"}),
    ],
)
async def test_one_branch_of_a_router_runs_and_the_other_is_silent(message: str, ran: set[str]) -> None:
    events = await play(routed(message))
    assert {event["task_name"] for event in named(events, "task_started")} == ran
    assert set(events[-1]["output"]) == ran
    answer = events[-1]["output"]["r"]
    assert set(answer) == {"route", "confidence", "reasoning", "all_scores", "user_message"}


@pytest.mark.parametrize(("result", "ran"), [(True, "yes"), (False, "no"), ("FALSE", "no"), ("true", "yes")])
async def test_a_conditional_takes_the_side_of_its_result(result: Any, ran: str) -> None:
    script = {"output": {"result": result}}
    events = await play(
        workflow(
            task("c", "gpt_conditional_block", true="yes", false="no", sandbox=script),
            task("yes", "call_lyzr_agent", "c"),
            task("no", "call_lyzr_agent", "c"),
        )
    )
    assert [event["task_name"] for event in named(events, "task_started")] == ["c", ran]


def drawn(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((e["event_type"], e.get("task_name", ""), e.get("task_id", "")) for e in events)


async def test_a_seed_repeats_failures_and_ids() -> None:
    script = {"failure_chance": 0.5, "retries": 20, "seconds": [0, 1], "retry_delay": 0}

    def seeded(seed: int) -> dict[str, Any]:
        return workflow(*(task(name, sandbox=script) for name in "abcdef"), sandbox={"seed": seed})

    first, again, other = [await play(seeded(seed)) for seed in (1, 1, 2)]
    assert drawn(first) == drawn(again)
    assert drawn(first) != drawn(other)
    assert named(first, "task_failed")


async def test_times_are_epoch_seconds_and_do_not_go_back() -> None:
    events = await play(workflow(task("a"), task("b", "a2a", "a")))
    times = [event["timestamp"] for event in events]
    assert all(isinstance(time, float) and time > 1_700_000_000 for time in times)
    assert times == sorted(times)
    assert events[-1]["total_execution_time"] >= named(events, "task_completed", "a")[0]["execution_time"] >= 0


async def test_the_speed_of_a_definition_multiplies_the_setting(settings: Any) -> None:
    settings.SANDBOX_SPEED = 100.0
    checked = definition.parse(workflow(task("a"), sandbox={"speed": 4}))
    assert orchestrator().start(checked).speed == 400.0


async def test_shutdown_ends_every_run_without_another_event() -> None:
    run, events = await start(workflow(task("a", sandbox={"seconds": 80_000})))
    await until(lambda: "task_started a" in story(events))
    await engine.shutdown()
    await asyncio.sleep(0)
    assert story(events)[-1] == "task_started a"
    assert run.status == "processing"


async def test_finished_runs_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "KEPT_FINISHED_RUNS", 2)
    runs = []
    for number in range(4):
        run, _ = await start(workflow(task("a", sandbox={"seconds": 0}), run_name=f"run {number}"))
        await until(lambda run=run: run.finished_at is not None)
        runs.append(run)
    latest, _ = await start(workflow(task("a")))
    found = [orchestrator().find(run.task_id) is not None for run in [*runs, latest]]
    assert found == [False, False, True, True, True]


async def test_too_many_runs_at_a_time_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_ACTIVE_RUNS", 1)
    await start(workflow(task("a", sandbox={"seconds": 80_000})))
    with pytest.raises(engine.TooBusy):
        await start(workflow(task("b")))
