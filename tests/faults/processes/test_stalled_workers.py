"""Workers that stand still, cannot renew their leases, or whose clock is wrong: a run has one worker, never two."""

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.ledger import FULL, Ledger, size
from tests.process.fixtures import MakeHome
from tests.process.load import Load
from tests.process.programs import Api, Home, Program, start
from tests.scripted import ScriptedUpstream, eventually
from tests.servers import followed, query

SERVERS = "PostgreSQL + Redis"
CLOCK = Path(__file__).parent / "clock"
OWNED_AGAIN = 40.0  # seconds until a lost worker's runs have another; 20 on a machine with nothing else to do

waits_for_leases = pytest.mark.skipif(not FULL, reason="waits for leases to run out: a minute, in make test-faults")
pytestmark = pytest.mark.postgres


async def the_busiest(home: Home, workers: list[Program], least: int) -> tuple[Program, set[int]]:
    """The worker with the most runs, once it has so many; and these."""

    async def one() -> tuple[Program, set[int]] | None:
        runs = followed(home.database)
        worker = max(workers, key=lambda each: len(runs.get(each.process.pid, ())))
        found = runs.get(worker.process.pid, set())
        return (worker, found) if len(found) >= least else None

    found = await eventually(one, 60, pause=0.1)
    assert found is not None
    return found


async def until_others_follow(home: Home, away: Program, runs: set[int], seconds: float = OWNED_AGAIN) -> float:
    """Wait until none of these runs that is still to be followed is without a good lease of another worker."""
    begun = time.monotonic()

    async def so() -> bool:
        rows = query(
            home.database,
            "SELECT count(*) FROM runs_stream WHERE active AND run_id = ANY(%s) AND (owner LIKE %s OR owner = '' "
            "OR lease_until IS NULL OR lease_until < EXTRACT(EPOCH FROM clock_timestamp()))",
            [*runs],
            f"%:{away.process.pid}:%",
        )
        return rows == [(0,)]

    await eventually(so, seconds, pause=0.1)
    return time.monotonic() - begun


def claims(home: Home, runs: set[int]) -> dict[int, tuple[str, int]]:
    """Owner and epoch of those that are still to be followed."""
    rows = query(
        home.database, "SELECT run_id, owner, epoch FROM runs_stream WHERE active AND run_id = ANY(%s)", [*runs]
    )
    return {run_id: (owner, epoch) for run_id, owner, epoch in rows}


def stands_still(worker: Program) -> bool:
    return Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def takes_part_again(home: Home, api: Api, load: Load, worker: Program, others: list[Program]) -> None:
    """With the others gone, this worker follows what there is."""
    for other in others:
        other.terminate()
        assert await other.ended(30) == 0
    await load.launch(api)
    await the_busiest(home, [worker], 1)


@waits_for_leases
@pytest.mark.timeout(300)
async def test_the_streams_of_a_killed_worker_are_soon_owned_again(
    deploy: MakeHome, upstream: ScriptedUpstream, ledger: Ledger
) -> None:
    ledger.where = SERVERS
    home, load = deploy(), Load(upstream, rate=100, runs=100, events=60)
    ((_, api),), workers = await start(home, webs=1, workers=3)
    await asyncio.gather(*(load.launch(api) for _ in range(100)))

    async def all_followed() -> bool:
        return sum(map(len, followed(home.database).values())) == 100

    await eventually(all_followed, 90, pause=0.1)
    victim, runs = await the_busiest(home, workers, 10)
    victim.kill()
    took = await until_others_follow(home, victim, runs)
    print(f"{len(runs)} of 100 streams were owned again after {took:.1f} s")  # noqa: T201
    found = await load.count(home, api, 150)
    killed = int(victim.process.returncode == -9 and len(runs) > 0)
    assert [worker.log.name for worker in workers if "deadlock detected" in worker.said()] == []
    ledger.enter("1 of 3 workers killed", times=1, injected=killed, lost=found.lost, doubled=found.doubled)


@pytest.mark.timeout(300)
async def test_a_worker_that_stood_still_touches_nothing_that_others_have_taken_over(
    deploy: MakeHome, upstream: ScriptedUpstream, ledger: Ledger
) -> None:
    ledger.where = SERVERS
    home, load = deploy(LAUNCH_DEADLINE_SECONDS=8), Load(upstream, rate=40, runs=8, events=62)
    ((_, api),), workers = await start(home, webs=1, workers=2)
    async with load.going(api):
        stale, runs = await the_busiest(home, workers, 3)
        stale.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(size(18, 30))
        stood_still = stands_still(stale)
        await until_others_follow(home, stale, runs)
        taken_over = claims(home, runs)
        stale.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(5)
        assert taken_over | claims(home, runs) == taken_over, "the stale worker has touched a run of another"
    await takes_part_again(home, api, load, stale, [worker for worker in workers if worker is not stale])
    found = await load.count(home, api, 150)
    assert "Traceback" not in stale.said()
    ledger.enter(
        "worker stopped, then continued", times=1, injected=stood_still, lost=found.lost, doubled=found.doubled
    )


@waits_for_leases
@pytest.mark.timeout(300)
async def test_a_worker_that_stands_still_within_a_transaction_holds_nobody_up(
    deploy: MakeHome, upstream: ScriptedUpstream, ledger: Ledger
) -> None:
    ledger.where = SERVERS
    home, load = deploy(LAUNCH_DEADLINE_SECONDS=8), Load(upstream, rate=100, runs=10, events=400)
    ((_, api),), _ = await start(home, webs=1, workers=0)
    stale = home.start("worker", log="stale.log", PGAPPNAME="stale")
    async with load.going(api):
        _, runs = await the_busiest(home, [stale], 10)
        other = home.start("worker", log="other.log")
        await other.until_it_says("starts")

        async def within_a_transaction() -> bool:
            """Stop it; let it go on when it holds no row of a stream."""
            await asyncio.sleep(random.uniform(0, 0.1))
            stale.process.send_signal(signal.SIGSTOP)
            rows = query(
                home.database,
                "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) "
                "WHERE application_name = 'stale' AND state = 'idle in transaction' "
                "AND relation = 'runs_stream'::regclass AND mode = 'RowExclusiveLock'",
            )
            if not rows:
                stale.process.send_signal(signal.SIGCONT)
            return bool(rows)

        held = await eventually(within_a_transaction, 60)
        took = await until_others_follow(home, stale, runs)
        stale.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(5)
    print(f"{len(runs)} streams were owned by another after {took:.1f} s")  # noqa: T201
    found = await load.count(home, api, 150)
    assert stale.process.poll() is None
    ledger.enter("worker stopped in a transaction", times=1, injected=held, lost=found.lost, doubled=found.doubled)


REFUSE_RENEWALS = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no lease for this worker'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE OF lease_until ON runs_stream FOR EACH ROW
    WHEN (NEW.lease_until IS NOT NULL AND NEW.owner LIKE '%:PID:%') EXECUTE FUNCTION refuse();
"""


@waits_for_leases
@pytest.mark.timeout(300)
async def test_a_worker_that_cannot_renew_gives_its_runs_up_before_others_take_them(
    deploy: MakeHome, upstream: ScriptedUpstream, ledger: Ledger
) -> None:
    """Nothing else fails: it could write its events, and must not go on."""
    ledger.where = SERVERS
    home, load = deploy(LAUNCH_DEADLINE_SECONDS=8), Load(upstream, rate=40, runs=8, events=62)
    ((_, api),), workers = await start(home, webs=1, workers=2)
    async with load.going(api):
        cut_off, runs = await the_busiest(home, workers, 3)
        query(home.database, REFUSE_RENEWALS.replace("PID", str(cut_off.process.pid)))
        took = await until_others_follow(home, cut_off, runs)
        print(f"{len(runs)} streams had another owner after {took:.1f} s")  # noqa: T201
        query(home.database, "DROP TRIGGER refuse ON runs_stream")
    assert load.most_at_once == 1, "two workers listened to one run"
    await takes_part_again(home, api, load, cut_off, [worker for worker in workers if worker is not cut_off])
    found = await load.count(home, api, 150)
    failed = int("no lease for this worker" in cut_off.said() and "could not be renewed in time" in cut_off.said())
    ledger.enter("renewals fail", times=1, injected=failed, lost=found.lost, doubled=found.doubled)


@waits_for_leases
@pytest.mark.timeout(300)
async def test_a_worker_whose_clock_jumps_goes_on_as_if_nothing_was(
    deploy: MakeHome, upstream: ScriptedUpstream, tmp_path: Path, ledger: Ledger
) -> None:
    ledger.where = SERVERS
    shift = tmp_path / "shift"
    shift.write_text("0")
    home, load = deploy(RUN_DEADLINE_SECONDS=1800), Load(upstream, rate=40, runs=8, events=42)
    sites, _ = await start(home, webs=1, workers=0)
    api = sites[0][1]
    worker = home.start("worker", PYTHONPATH=str(CLOCK), CLOCK_SHIFT_FILE=str(shift))
    await worker.until_it_says("starts")
    async with load.going(api):
        for seconds in (3600, 0, -3600):
            await the_busiest(home, [worker], 8)
            await asyncio.sleep(5)
            shift.write_text(str(seconds))
            await asyncio.sleep(8)
    found = await load.count(home, api, 150)
    assert (set(load.visits.values()), found.unlaunched) == ({1}, 0), "a lease was lost"
    assert [run for run in found.runs if run["gaps"]] == []
    ((ahead, behind),) = query(
        home.database,
        "SELECT bool_or(received_at > now + 3000)::int, bool_or(received_at < now - 3000)::int "
        "FROM runs_event, (SELECT EXTRACT(EPOCH FROM clock_timestamp()) AS now) AS clock",
    )
    # The step back to the true time is one, too: without it no event could have come from an hour ago.
    ledger.enter("wall clock +1 h, -1 h", times=2, injected=ahead + behind, lost=found.lost, doubled=found.doubled)
