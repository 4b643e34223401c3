"""Each workflow that comes with the sandbox runs to the outcome it is there to show."""

import json
from typing import Any

import pytest

from sandbox import catalogue, definition
from tests.sandbox.playing import named, play, story
from tests.seed import frames

MEASURED = {"timestamp", "execution_time", "total_execution_time"}
ITEM_KEYS = {"flow_id", "flow_name", "flow_data", "api_key", "created_at", "updated_at"}


def shipped(name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each["flow_data"] for each in catalogue.items() if each["flow_name"] == name)
    return found


def test_six_are_shipped_and_each_is_complete() -> None:
    assert len({each["flow_id"] for each in catalogue.items()}) == 6
    for item in catalogue.items():
        assert set(item) == ITEM_KEYS
        data = item["flow_data"]
        checked = definition.parse(data)
        assert item["flow_name"] == checked.flow_name == data["flow_name"]
        assert data["description"]
        assert checked.default_inputs
        assert set(data["flow_data"]["node_positions"]) == set(checked.tasks)
        assert all(each["tag"] for each in data["tasks"])


@pytest.mark.parametrize(
    ("flow_name", "seed"),
    [("Customer_Support_Pipeline", "customer_support"), ("Financial_Data_Pipeline", "financial_data")],
)
async def test_the_documented_examples_come_out_as_documented(flow_name: str, seed: str) -> None:
    expected = [json.loads(frame) for frame in frames(seed)]
    events = await play(shipped(flow_name))
    assert [list(event) for event in events] == [list(event) for event in expected]
    for event, documented in zip(events, expected, strict=True):
        for key in MEASURED & set(documented):
            assert isinstance(event[key], float)
        assert {k: v for k, v in event.items() if k not in MEASURED} == {
            k: v for k, v in documented.items() if k not in MEASURED
        }


def test_the_documented_frames_are_seven_and_four() -> None:
    assert [json.loads(frame)["event_type"] for frame in frames("customer_support")] == [
        "flow_started",
        "task_started",
        "task_completed",
        "task_started",
        "task_completed",
        "task_started",
        "flow_completed",
    ]
    assert [json.loads(frame)["event_type"] for frame in frames("financial_data")] == [
        "flow_started",
        "task_started",
        "task_failed",
        "flow_error",
    ]


async def test_refund_triage_skips_two_routes_and_one_side() -> None:
    events = await play(shipped("Refund_Triage"))
    assert events[-1]["event_type"] == "flow_completed"
    ran = {event["task_name"] for event in named(events, "task_started")}
    assert set(definition.parse(shipped("Refund_Triage")).tasks) - ran == {
        "arrange_exchange",
        "apply_return_policy",
        "ask_supervisor",
    }


@pytest.mark.parametrize(
    ("message", "route"),
    [
        ("I ordered the blue kettle and received a green one.", "arrange_exchange"),
        ("I changed my mind, sorry.", "apply_return_policy"),
        ("Hm.", "apply_return_policy"),
    ],
)
async def test_refund_triage_follows_what_the_customer_writes(message: str, route: str) -> None:
    data = shipped("Refund_Triage")
    inputs = {**data["default_inputs"], "customer_message": message}
    assert f"task_started {route}" in story(await play({**data, "default_inputs": inputs}))


async def test_flaky_enrichment_fails_often_and_ends_well() -> None:
    events = await play(shipped("Flaky_Enrichment"))
    assert events[-1]["event_type"] == "flow_completed"
    failed = [event["task_name"] for event in named(events, "task_failed")]
    assert failed.count("fetch_leads") == 1
    assert failed.count("enrich_companies") == 2
    assert failed.count("enrich_contacts") >= 1
    assert failed.count("push_to_crm") == 1


async def test_catalogue_fan_out_runs_three_hundred_tasks_and_merges_all() -> None:
    events = await play(shipped("Catalogue_Fan_Out"))
    assert len(events) == 602
    merged = named(events, "task_started", "merge_catalogue")[0]["input"]
    products = [value["sku"] for key, value in merged.items() if key.startswith("product_")]
    assert len(set(products)) == 298


async def test_nightly_reconciliation_takes_ten_minutes_on_its_longest_way() -> None:
    checked = definition.parse(shipped("Nightly_Reconciliation"))
    ends: dict[str, float] = {}
    while len(ends) < len(checked.tasks):
        for name, task in checked.tasks.items():
            if name not in ends and ends.keys() >= set(task.depends):
                seconds = task.script.seconds
                assert isinstance(seconds, float)
                ends[name] = max((ends[other] for other in task.depends), default=0) + seconds
    assert round(max(ends.values())) == 600
    assert (await play(shipped("Nightly_Reconciliation")))[-1]["event_type"] == "flow_completed"
