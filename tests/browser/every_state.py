"""Rows of every kind, for pages that show them all; runs states that take long to come about. Nobody follows these."""

import json
import time

from runs.models import Run, Task, Upstream
from tests.factories import make_event, make_gap, make_rejected, make_run, make_task

PAYLOAD = {"number": 3, "text": "as it is", "none": None, "yes": True, "list": [1, {}], "key": "[masked:key#3f9a2c]"}


def make() -> dict[str, int]:
    """One run in each state that others do not reach by themselves, and one in trouble: their ids by that word."""
    upstream = Upstream.objects.get(name="sandbox")
    told = {"upstream": upstream, "flow_name": "Every state", "notice": "What a person should know now."}
    made = {
        status: make_run(run_name=f"is {status}", status=status, connection="closed", **told).pk
        for status in ("queued", "launching", "succeeded", "failed", "lost", "stopped", "rejected")
    }
    return made | {"troubled": _troubled(upstream)}


def _troubled(upstream: Upstream) -> int:
    now = time.time()
    run = make_run(
        upstream=upstream,
        flow_name="Every state",
        run_name="troubled",
        attached=True,
        connection=Run.Connection.RECONNECTING,
        connection_since=now - 30,
        started_at=now - 90,
        due_at=now - 20,
        overdue=True,
        conflict=True,
        inferred=True,
        tasks_total=12,
        **{f"tasks_{status}": 2 for status in Task.Status.values},
    )
    for status in Task.Status.values:
        for inferred in (False, True):
            _task(run, status, inferred, now)
    for kind in ("flow_started", "task_started", "task_completed", "task_failed", "flow_error", "new_kind"):
        make_event(run, kind, task_name="running", task_key="running", payload={"event_type": kind, **PAYLOAD})
    make_gap(run)
    make_rejected(run, detail="It is no JSON.", count=3)
    return run.pk


def _task(run: Run, status: str, inferred: bool, now: float) -> None:
    """One that failed before, when it has begun."""
    key = f"{status}-inferred" if inferred else status
    if status in (Task.Status.PENDING, Task.Status.SKIPPED):
        make_task(run, key, status=status, inferred=inferred)
        return
    first, last = now - 80, None if status == Task.Status.RUNNING else now - 40
    make_task(
        run,
        key,
        status=status,
        inferred=inferred,
        tag="A tag",
        function="api_call",
        started_at=first,
        finished_at=last,
        usual_p50=2.0,
        usual_p90=4.0,
        error={"type": "E", "message": "It went wrong."} if status == Task.Status.FAILED else None,
        attempts=[
            {"started_at": first - 5, "finished_at": first - 1, "status": "failed", "inferred": False},
            {"started_at": first, "finished_at": last, "status": status, "inferred": inferred},
        ],
    )


def print_made() -> None:
    print(json.dumps(make()))  # noqa: T201  # for the test that had this run beside a site
