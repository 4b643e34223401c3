"""Workers killed between a run's commit and the delivery of its alerts, and between a delivery and its note: every
alert arrives, and whatever arrives twice has one key.
"""

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from tests.factories import START, make_definition
from tests.faults.ledger import Ledger, size
from tests.process.fixtures import MakeHome, addresses
from tests.process.programs import Api, Home, start
from tests.receiver import Receiver, receiver
from tests.scripted import ScriptedUpstream, eventually
from tests.servers import query

RUNS = 12  # a round; two messages each are more than all workers try at the same time
FLOW = "Nightly"
ERROR = {"type": "TimeoutError", "message": "no answer", "code": ""}

# The receiver hangs until the kill: an attempt must last until the runs of the round have ended.
ENVIRONMENT = {"ALERT_TIMEOUT_SECONDS": 20, "SITE_URL": "https://runs.example.com"}

SET_UP = """
from alerts import channels
from alerts.models import Channel, Rule
channel = Channel.objects.create(name="r", means="webhook", hint="r", sealed=channels.sealed(
    channels.Opened({url!r}, "whsec_of-the-tests")))
Rule.objects.create(name="all", kinds=["task-failed", "run-failed"], debounce_minutes=0).channels.add(channel)
"""

type Ask = Callable[[str], Awaitable[list[Any]]]


def failing(upstream: ScriptedUpstream) -> None:
    """Every run that is launched fails of its task; told from its beginning to whoever connects."""

    async def visit(socket: ServerConnection, number: int) -> None:
        assert socket.request is not None
        name = socket.request.path.rsplit("/", 1)[1]
        while not any(launch["run_name"] == name for launch in upstream.launches):
            if socket.close_code is not None:
                return
            await asyncio.sleep(0.05)
        task = {"task_id": "1", "task_name": "load"}
        events: list[dict[str, Any]] = [
            {"event_type": "flow_started"},
            {"event_type": "task_started", **task},
            {"event_type": "task_failed", **task, "error": ERROR},
            {"event_type": "flow_error", "error": ERROR},
        ]
        for place, event in enumerate(events):
            frame = {**event, "flow_name": FLOW, "run_name": name, "timestamp": START + place}
            await socket.send(json.dumps(frame))
        await socket.wait_closed()

    upstream.visit = visit


def set_up(home: Home, heard: Receiver) -> None:
    done = home.manage("shell", "-c", SET_UP.format(url=heard.url))
    assert done.returncode == 0, done.stderr


async def one_round(api: Api, ask: Ask, heard: Receiver, number: int) -> list[str]:
    """Runs that have failed, while the receiver takes messages and answers none of them; their names."""
    heard.status = 0
    before = len(heard.heard)
    names = [f"run-{number}-{place}" for place in range(RUNS)]
    for name in names:
        await api.launch(flow_name=FLOW, run_name=name, definition=make_definition("load", flow_name=FLOW))

    async def so() -> bool:
        ended = await ask("SELECT run_id FROM runs_stream WHERE NOT active")
        return len(ended) == RUNS * (number + 1) and len(heard.heard) > before

    await eventually(so, 60, pause=0.1)
    return names


async def struck(ask: Ask, heard: Receiver, keys_before: set[str]) -> tuple[int, int]:
    """After a kill: how much was committed and never tried, and how much was received and not noted."""
    untried = await ask("SELECT id FROM alerts_delivery WHERE attempts = 0")
    untaken = await ask("SELECT id FROM runs_happening")
    open_keys = {row[0] for row in await ask("SELECT key FROM alerts_delivery WHERE state = 'waiting'")}
    return len(untried) + len(untaken), len(open_keys & set(heard.keys()) - keys_before)


async def all_told(ask: Ask, heard: Receiver, names: list[str]) -> tuple[int, int]:
    """Wait until nothing waits any more. Returns (alerts that never came, alerts that came under several keys)."""

    async def nothing_waits() -> bool:
        waiting = await ask("SELECT id FROM alerts_delivery WHERE state = 'waiting'")
        return not waiting and not await ask("SELECT id FROM runs_happening")

    await eventually(nothing_waits, 150, pause=0.5)
    failed = await ask("SELECT answer FROM alerts_delivery WHERE state <> 'delivered'")
    assert failed == []
    keys: dict[tuple[str, str], set[str]] = {}
    contents: dict[str, set[bytes]] = {}
    for one in heard.heard:
        keys.setdefault((one.body["run"]["run_name"], one.body["event"]), set()).add(one.key)
        contents.setdefault(one.key, set()).add(one.content)
    assert all(len(same) == 1 for same in contents.values()), "a repeat had other bytes"
    expected = {(name, event) for name in names for event in ("task-failed", "run-failed")}
    assert set(keys) <= expected
    return len(expected - set(keys)), sum(len(several) > 1 for several in keys.values())


@pytest.mark.timeout(size(400, 3000))
async def test_a_site_on_sqlite_that_is_killed_owes_no_alert(
    home: MakeHome, upstream: ScriptedUpstream, ledger: Ledger
) -> None:
    failing(upstream)
    here = home(**addresses(upstream), **ENVIRONMENT)

    async def ask(statement: str) -> list[Any]:
        def read() -> list[Any]:
            connection = sqlite3.connect(here.folder / "stepline.sqlite3", timeout=20)
            try:
                return connection.execute(statement).fetchall()
            finally:
                connection.close()

        return await asyncio.to_thread(read)

    times, injected, lost, doubled, names = size(1, 5), 0, 0, 0, list[str]()
    async with receiver() as heard:
        set_up(here, heard)
        program, api = await here.serve()
        for number in range(times):
            keys_before = set(heard.keys())
            names += await one_round(api, ask, heard, number)
            program.kill()
            untold, unnoted = await struck(ask, heard, keys_before)
            injected += bool(untold and unnoted)
            heard.status = 200
            program, api = await here.serve(port=api.port)
            lost, doubled = await all_told(ask, heard, names)
        assert max(heard.keys().values()) > 1, "nothing that had been received was sent again"
    ledger.enter("site killed before and while it delivers", times=times, injected=injected, lost=lost, doubled=doubled)


@pytest.mark.postgres
@pytest.mark.timeout(size(400, 3000))
async def test_a_worker_that_is_killed_leaves_its_alerts_to_the_other(
    deploy: MakeHome, upstream: ScriptedUpstream, ledger: Ledger
) -> None:
    ledger.where, times = "PostgreSQL + Redis", size(1, 5)
    failing(upstream)
    here = deploy(**ENVIRONMENT)

    async def ask(statement: str) -> list[Any]:
        return await asyncio.to_thread(query, here.database, statement)

    injected, lost, doubled, names = 0, 0, 0, list[str]()
    async with receiver() as heard:
        set_up(here, heard)
        ((_, api),), workers = await start(here, webs=1, workers=2)
        for number in range(times):
            keys_before = set(heard.keys())
            names += await one_round(api, ask, heard, number)
            owners = {row[0] for row in await ask("SELECT owner FROM alerts_delivery WHERE owner <> ''")}
            trying = [one for one in workers if any(f":{one.process.pid}:" in owner for owner in owners)]
            assert trying, "no worker tries to deliver"
            trying[0].kill()
            untold, unnoted = await struck(ask, heard, keys_before)
            injected += bool(untold and unnoted)
            heard.status = 200
            workers.remove(trying[0])
            workers.append(here.start("worker", log=f"worker-again-{number}.log"))
            lost, doubled = await all_told(ask, heard, names)
        assert max(heard.keys().values()) > 1, "nothing that had been received was sent again"
    ledger.enter(
        "worker killed before and while it delivers", times=times, injected=injected, lost=lost, doubled=doubled
    )
