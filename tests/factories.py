"""Rows for tests, each with what a plain one would have; name only what the test is about."""

import itertools
import json
import time
from typing import Any

from accounts.models import Token, User
from runs import store
from runs.models import Event, Gap, Rejected, Run, Stream, Task, Upstream, Worker, Workflow, WorkflowVersion

START = 1_760_000_000.0  # epoch seconds at which made runs begin
_numbers = itertools.count(1)


def make_user(role: str = "viewer", **fields: Any) -> User:
    """An active user of this role, named after it, with no password unless `password` is given."""
    password = fields.pop("password", None)
    fields.setdefault("username", f"{role}-{next(_numbers)}")
    return User.objects.create_user(password=password, role=role, **fields)


def make_token(role: str = "viewer", **fields: Any) -> str:
    """The text of a good token of a user with the same role."""
    return Token.issue(make_user(role, **fields), role)


def make_upstream(**fields: Any) -> Upstream:
    """An upstream whose addresses answer nothing."""
    fields.setdefault("name", f"upstream-{next(_numbers)}")
    fields.setdefault("api_url", "http://127.0.0.1:9")
    fields.setdefault("socket_url", "ws://127.0.0.1:9")
    return Upstream.objects.create(**fields)


def make_definition(*names: str, flow_name: str = "Nightly") -> dict[str, Any]:
    """A definition with these tasks, each depending on the one before it."""
    chosen = names or ("fetch", "clean", "report")
    tasks = []
    for before, name in zip((None, *chosen), chosen, strict=False):
        params: dict[str, Any] = {"config": {"url": "http://127.0.0.1:9/", "method": "GET", "headers": {}}}
        if before is not None:
            params["body"] = {"depends": before}
        tasks.append({"name": name, "tag": name, "function": "api_call", "params": params})
    return {
        "flow_name": flow_name,
        "run_name": "",
        "tasks": tasks,
        "default_inputs": {"query": "x"},
        "edges": [],
    }


def make_workflow(**fields: Any) -> Workflow:
    """A stored workflow of three tasks, of one version; its sealed original holds the same definition."""
    from runs import vault

    if "upstream" not in fields:
        fields["upstream"] = make_upstream()
    fields.setdefault("flow_name", f"Nightly {next(_numbers)}")
    fields.setdefault("definition", make_definition(flow_name=fields["flow_name"]))
    fields.setdefault("sealed", vault.seal(fields["definition"]))
    fields.setdefault("tasks_total", len(fields["definition"]["tasks"]))
    workflow = Workflow.objects.create(**fields)
    WorkflowVersion.objects.create(
        workflow=workflow, number=workflow.version, definition=workflow.definition, sealed=workflow.sealed
    )
    return workflow


def make_run(**fields: Any) -> Run:
    """A run that is going on; for an ended one pass status, finished_at and the like."""
    if "upstream" not in fields:
        fields["upstream"] = make_upstream()
    fields.setdefault("flow_name", "Nightly")
    fields.setdefault("run_name", f"run-{next(_numbers)}")
    fields.setdefault("status", Run.Status.RUNNING)
    fields.setdefault("connection", Run.Connection.LIVE)
    fields.setdefault("started_at", START)
    run = Run.objects.create(**fields)
    store.write_text(run)
    return run


def make_task(run: Run, key: str = "", **fields: Any) -> Task:
    """A pending task at the end of the run's page."""
    key = key or f"task-{next(_numbers)}"
    fields.setdefault("name", key)
    fields.setdefault("position", run.tasks.count())
    return Task.objects.create(run=run, key=key, **fields)


def make_event(run: Run, event_type: str = "task_started", payload: Any = None, **fields: Any) -> Event:
    """The next event of the run; `payload` is a value, or JSON text as it stands. Raises `run.last_seq`."""
    fields.setdefault("seq", run.last_seq + 1)
    fields.setdefault("timestamp", START + fields["seq"])
    fields.setdefault("received_at", START + fields["seq"] + 0.25)
    fields.setdefault("digest", f"{next(_numbers):032x}")
    if payload is None:
        payload = {
            "event_type": event_type,
            "timestamp": fields["timestamp"],
            "flow_name": run.flow_name,
            "run_name": run.run_name,
        }
    text = payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"))
    event = Event.objects.create(run=run, event_type=event_type, payload=text, **fields)
    run.last_seq = max(run.last_seq, event.seq)
    run.rev += 1
    run.save(update_fields=["last_seq", "rev"])
    return event


def make_gap(run: Run, **fields: Any) -> Gap:
    """A closed gap of five seconds; keeps `run.gap_count` right."""
    fields.setdefault("reason", Gap.Reason.DISCONNECTED)
    fields.setdefault("after_seq", run.last_seq)
    fields.setdefault("started_at", START + 10)
    fields.setdefault("ended_at", START + 15)
    gap = Gap.objects.create(run=run, **fields)
    run.gap_count += 1
    run.save(update_fields=["gap_count"])
    return gap


def make_rejected(run: Run, **fields: Any) -> Rejected:
    """A frame in quarantine; keeps `run.rejected_count` right."""
    fields.setdefault("digest", f"{next(_numbers):032x}")
    fields.setdefault("reason", "invalid-json")
    fields.setdefault("preview", "{nonsense")
    fields.setdefault("size", len(fields["preview"]))
    fields.setdefault("first_at", START + 1)
    fields.setdefault("last_at", fields["first_at"])
    rejected = Rejected.objects.create(run=run, **fields)
    run.rejected_count += rejected.count
    run.save(update_fields=["rejected_count"])
    return rejected


def make_stream(run: Run, *, lease: float | None = 10.0, wait: float | None = None, **fields: Any) -> Stream:
    """An active stream. `lease`: for how many seconds it is good (negative: expired). `wait`: of a retry, seconds."""
    now = time.time()
    fields.setdefault("owner", "" if lease is None else "worker-1")
    fields.setdefault("epoch", 0 if lease is None else 1)
    fields.setdefault("lease_until", None if lease is None else now + lease)
    fields.setdefault("claim_after", None if wait is None else now + wait)
    return Stream.objects.create(run=run, **fields)


def make_worker(name: str = "worker-1", *, age: float = 1.0) -> Worker:
    """A worker whose last beat is `age` seconds old."""
    now = time.time()
    return Worker.objects.create(name=name, started_at=now - 3600, beat_at=now - age)
