"""SQLite with several writers and many readers at once: nobody is told that the database is locked, and all counts are
right at the end.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.models import User
from runs import store
from runs.core import plan as plans
from runs.models import Event, Run, Task, Upstream
from runs.web import render
from runs.web.view import Asked
from tests.factories import make_definition, make_upstream, make_user
from tests.faults.ledger import Ledger, size
from tests.store.conftest import Hand, completed, in_threads, started

WRITERS, READERS = 4, 20
SECONDS = size(6.0, 60.0)
AT_ONCE = 3  # runs that a writer follows; with each new one it lets go of the oldest
NAMES = ("a", "b", "c")

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="it is about SQLite's one lock for all writers"),
]


@dataclass
class Crowd:
    """What all threads share. Counters are only added to, each by its own thread or under the interpreter's lock."""

    upstream: Upstream
    user: User
    ends: float  # monotonic
    written: dict[int, int] = field(default_factory=dict)  # run -> its last seq
    done: Counter[str] = field(default_factory=Counter)
    writing: list[str] = field(default_factory=list)  # who is in a write now

    def going_on(self) -> bool:
        return time.monotonic() < self.ends

    @contextmanager
    def write(self, what: str) -> Iterator[None]:
        self.done["write beside another"] += bool(self.writing)
        self.writing.append(what)
        try:
            yield
        finally:
            self.writing.remove(what)
        self.done[what] += 1


def writer(crowd: Crowd, name: str) -> None:
    """What workers and people write: runs, claims, renewals, changes of several runs at once, sign-ins, wishes."""
    hands: list[Hand] = []
    definition = make_definition(*NAMES)
    while crowd.going_on():
        with crowd.write(f"{name} creates"):
            store.create_run(
                upstream=crowd.upstream,
                flow_name="Nightly",
                run_name=f"{name} {len(crowd.written)} {random.random()}",
                user_id=crowd.user.pk,
                definition=definition,
                inputs={},
                sealed="x",
                plan=plans.read(definition),
            )
        with crowd.write(f"{name} claims"):
            claims = store.claim(name, AT_ONCE)
        hands += [Hand(claim) for claim in claims]
        for number in range(20):
            if number % 4 == 0:  # as a worker does every 5 s: on a busy machine twenty commits outlast a lease
                with crowd.write(f"{name} renews"):
                    following = [hand.claim.run_id for hand in hands]
                    assert store.renew(name, following, following).held == set(following)
            task = NAMES[number % len(NAMES)]
            at = time.time()
            changes = [hand.change(started(task, at), completed(task, at + 1)) for hand in hands]
            with crowd.write(f"{name} commits"):
                assert store.commit(changes) == set()
            crowd.written.update({hand.claim.run_id: hand.seq for hand in hands})
        with crowd.write(f"{name} signs in"):
            client = Client()
            client.force_login(crowd.user)
        with crowd.write(f"{name} asks to stop"):
            store.request_stop(random.choice([hand.claim.run_id for hand in hands] or [0]))
        while len(hands) > AT_ONCE:
            with crowd.write(f"{name} lets go"):
                assert store.commit([hands.pop(0).change(done=True)]) == set()


def reader(crowd: Crowd) -> None:
    """What pages, their sockets and the API read."""
    client = Client()
    client.force_login(crowd.user)
    while crowd.going_on():
        if not crowd.written:
            time.sleep(0.01)
            continue
        run_id = random.choice(list(crowd.written))
        for address in (
            reverse("runs"),
            reverse("run", args=[run_id]),
            reverse("run-events", args=[run_id]) + "?first=30",
            "/api/v1/runs",
            f"/api/v1/runs/{run_id}/events?after=10",
        ):
            assert client.get(address).status_code == 200
            crowd.done["page"] += 1
        assert render.body(render.read_run(run_id), Asked())
        render.run_changes(run_id, 0, 1, "")
        crowd.done["region"] += 1


def failing[T](crowd: Crowd, work: Callable[[], T], failures: list[str]) -> Callable[[], None]:
    """`work`, whose failure ends everybody's."""

    def call() -> None:
        try:
            work()
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")
            crowd.ends = 0.0

    return call


def test_four_writers_and_twenty_readers_never_find_the_database_locked(ledger: Ledger) -> None:
    crowd = Crowd(make_upstream(), make_user("operator"), time.monotonic() + SECONDS)
    failures: list[str] = []
    in_threads(
        *(failing(crowd, lambda n=n: writer(crowd, f"writer {n}"), failures) for n in range(WRITERS)),
        *(failing(crowd, lambda: reader(crowd), failures) for _ in range(READERS)),
    )
    assert failures == []
    stored = dict(Run.objects.filter(last_seq__gt=0).values_list("pk", "last_seq"))
    lost = sum(max(0, seq - stored.get(run_id, 0)) for run_id, seq in crowd.written.items())
    assert stored == crowd.written
    assert Event.objects.count() == sum(crowd.written.values())
    assert Task.objects.count() == len(NAMES) * Run.objects.count()
    assert [found for run_id in crowd.written for found in store.rebuild(run_id)] == []
    assert min(crowd.done["page"], crowd.done["region"]) >= READERS
    ledger.enter(
        "writes beside other writes, and readers",
        times=size(50, 500),
        injected=crowd.done["write beside another"],
        lost=lost,
    )
