"""LOG_FORMAT=json in earnest: whatever happens to a process, each line on standard error is one object."""

import json
from typing import Any

import httpx

from tests.process.fixtures import MakeHome

TO_PEOPLE = ("Stepline is at", "Sign in once with")  # on standard output


async def test_each_line_is_an_object_that_says_what_it_is_about(home: MakeHome) -> None:
    here = home(SANDBOX_SPEED=40, LOG_FORMAT="json", PYTHONWARNINGS="always")
    program, api = await here.serve()
    run_id = await api.launch(flow_name="Customer_Support_Pipeline", run_name="ticket_1")
    await api.ended(run_id)
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        await client.get(f"http://127.0.0.1:{api.port}/no-such-page")
        await client.get(f"http://127.0.0.1:{api.port}/", headers={"Host": "elsewhere"})
    program.terminate()
    await program.ended()
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in program.said().splitlines() if not line.startswith(TO_PEOPLE)
    ]
    for line in lines:
        assert {"time", "level", "logger", "message"} <= line.keys()
        assert line["time"].endswith("+00:00")
    assert {line["level"] for line in lines} >= {"info", "error"}
    (host,) = [line for line in lines if line["logger"] == "django.security.DisallowedHost"]
    assert "DisallowedHost" in host["traceback"]
    worker = lines[0]["worker"]
    about_the_run = [line for line in lines if line.get("run") == run_id]
    assert [line["message"] for line in about_the_run] == [
        f"run {run_id}: followed from event 0 on",
        f"run {run_id}: over, followed no longer",
    ]
    known = {"worker": worker, "flow": "Customer_Support_Pipeline", "run_name": "ticket_1"}
    assert all(known.items() <= line.items() for line in about_the_run[1:])
