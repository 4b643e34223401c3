"""The HTTP calls of the sandbox."""

import json
from typing import Any

import pytest
from django.test import AsyncClient

from tests.sandbox.playing import start, story, task, until, workflow

pytestmark = pytest.mark.urls("tests.sandbox.site")


@pytest.fixture
def client() -> AsyncClient:
    return AsyncClient(enforce_csrf_checks=True)


async def post(client: AsyncClient, data: Any, **extra: Any) -> Any:
    return await client.post("/sandbox/run-dag/", json.dumps(data), content_type="application/json", **extra)


async def test_a_run_starts_and_task_status_tells_its_end(client: AsyncClient) -> None:
    answer = await post(client, workflow(task("a", sandbox={"output": {"n": 1}, "seconds": 20})))
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"status", "task_id"}
    assert body["status"] == "processing"
    seen = []
    while not seen or seen[-1]["status"] == "processing":
        seen.append((await client.get(f"/sandbox/task-status/{body['task_id']}")).json())
    assert seen[0] == {"status": "processing", "results": {}}
    assert seen[-1] == {"status": "completed", "results": {"a": {"n": 1}}}


async def test_a_failed_run_has_the_status_failed(client: AsyncClient) -> None:
    run, _ = await start(workflow(task("a", sandbox={"fail": {"type": "E"}})))
    await until(lambda: run.finished_at is not None)
    answer = await client.get(f"/sandbox/task-status/{run.task_id}")
    assert answer.json() == {"status": "failed", "results": {}}


async def test_an_unknown_task_id_is_not_found(client: AsyncClient) -> None:
    answer = await client.get("/sandbox/task-status/nobody")
    assert answer.status_code == 404
    assert "nobody" in answer.json()["message"]


async def test_a_wrong_shape_is_422_with_the_place(client: AsyncClient) -> None:
    answer = await post(client, workflow(task("a", "call_lyzr_agent", "ghost")))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "tasks", 0, "params", "from_ghost"]
    assert "ghost" in answer.json()["message"]


async def test_a_workflow_without_an_agent_is_400(client: AsyncClient) -> None:
    answer = await post(client, workflow(task("a", "api_call")))
    assert answer.status_code == 400
    assert "call_lyzr_agent" in answer.json()["message"]


async def test_the_studio_api_lists_the_shipped_workflows_and_gives_each(client: AsyncClient) -> None:
    listed = (await client.get("/sandbox/v3/workflows/")).json()
    assert (await client.get("/sandbox/v3/workflows")).json() == listed
    assert len(listed) == 6
    for item in listed:
        assert (await client.get(f"/sandbox/v3/workflows/{item['flow_id']}")).json() == item
    assert (await client.get("/sandbox/v3/workflows/none")).status_code == 404


async def test_a_listed_workflow_can_be_launched_as_it_is(client: AsyncClient) -> None:
    for item in (await client.get("/sandbox/v3/workflows/")).json():
        assert (await post(client, item["flow_data"])).status_code == 200


async def test_only_the_methods_of_the_upstream_are_answered(client: AsyncClient) -> None:
    answer = await client.get("/sandbox/run-dag/")
    assert answer.status_code == 405
    assert answer["Allow"] == "POST"
    assert (await client.delete("/sandbox/v3/workflows/x")).status_code == 405


async def test_a_page_of_another_host_is_refused_and_one_of_ours_is_not(client: AsyncClient) -> None:
    data = workflow(task("a"))
    for origin, status in [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("http://127.0.0.1:3000", 200),
    ]:
        assert (await post(client, data, headers={"Origin": origin})).status_code == status, origin


async def test_a_run_is_heard_under_the_names_it_was_started_with(client: AsyncClient) -> None:
    run, events = await start(workflow(task("a"), run_name="a/b ?#%é"))
    await until(lambda: run.finished_at is not None and story(events)[-1] == "flow_completed")
    assert {event["run_name"] for event in events} == {"a/b ?#%é"}
