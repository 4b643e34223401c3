"""A run with a follower made of hand-written changes: what worker/follow.py does, without sockets."""

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

import pytest
from django.db import connection

from runs import store
from runs.core import plan as plans
from runs.core import state
from runs.core.events import Event, typed
from runs.models import Run, Upstream
from runs.store import Change, Claim
from tests.factories import START, make_definition, make_upstream

_numbers = itertools.count(1)


class Hand:
    """Writes changes to one run as its follower would."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        loaded = store.load(claim.run_id)
        self.plan, self.state = loaded.plan, loaded.state
        self.seq, self.rev = loaded.run.last_seq, loaded.run.rev

    def event(self, payload: dict[str, Any], **fields: Any) -> Event:
        """The next event of the run, folded into the state."""
        self.seq += 1
        digest = blake2b(json.dumps(payload).encode(), digest_size=16).hexdigest()
        return typed(payload, **{"digest": digest, "received_at": START + self.seq, "seq": self.seq, **fields})

    def change(self, *payloads: dict[str, Any], **fields: Any) -> Change:
        """A change with an event for each payload and the rows that follow from them."""
        events = [self.event(payload) for payload in payloads]
        keys: set[str] = set()
        for event in events:
            keys |= state.apply(self.state, event)
        if "gap" in fields:
            keys |= state.mark_gap(self.state)
        keys |= self.state.moved
        self.state.moved.clear()
        places = store.positions(self.state)
        self.rev += 1
        return Change(
            claim=self.claim,
            rev=self.rev,
            run=store.run_row(self.state, self.plan is not None) | fields.pop("run", {}),
            events=events,
            keys={event.seq: key for event in events if (key := state.key_of(self.state, event))},
            tasks=[
                store.task_row(task, self.plan, places[key]) for key, task in self.state.tasks.items() if key in keys
            ],
            gone=sorted(keys - self.state.tasks.keys()),
            **fields,
        )

    def write(self, *payloads: dict[str, Any], **fields: Any) -> None:
        assert store.commit([self.change(*payloads, **fields)]) == set()


def started(name: str, at: float = START, **more: Any) -> dict[str, Any]:
    return {"event_type": "task_started", "task_id": f"id-{name}", "task_name": name, "timestamp": at, **more}


def completed(name: str, at: float = START + 1, **more: Any) -> dict[str, Any]:
    return {"event_type": "task_completed", "task_id": f"id-{name}", "task_name": name, "timestamp": at, **more}


def flow_completed(at: float = START + 9, **more: Any) -> dict[str, Any]:
    return {"event_type": "flow_completed", "timestamp": at, **more}


@pytest.fixture
def upstream(db: None) -> Upstream:
    return make_upstream()


type Create = Callable[..., Run]


@pytest.fixture
def create(upstream: Upstream) -> Create:
    """A run that waits for a worker: `create("a", "b")` is planned with these tasks, `create()` attached."""

    def make(*names: str, **fields: Any) -> Run:
        if names:
            definition = make_definition(*names)
            fields |= {"definition": definition, "inputs": {}, "sealed": "x", "plan": plans.read(definition)}
        fields.setdefault("upstream", upstream)
        fields.setdefault("run_name", f"run {next(_numbers)}")
        return store.create_run(flow_name="Nightly", user_id=None, **fields)

    return make


@pytest.fixture
def hand(create: Create) -> Callable[..., Hand]:
    """A new run and the hand that follows it."""

    def make(*names: str) -> Hand:
        run = create(*names)
        (claim,) = (claim for claim in store.claim("first", 100) if claim.run_id == run.pk)
        return Hand(claim)

    return make


def in_threads[T](*calls: Callable[[], T]) -> list[T]:
    """What these give when all run at once, each on a thread and a database connection of its own."""

    def call(one: Callable[[], T]) -> T:
        try:
            return one()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(call, calls))
