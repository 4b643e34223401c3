"""A site on SQLite whose disk is full: it says so, reads no further, and goes on when there is room again."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.ledger import FULL, Ledger
from tests.process.fixtures import addresses
from tests.process.load import Load
from tests.process.programs import Api, Home
from tests.scripted import ScriptedUpstream, eventually

SIZE = 160  # MiB; the site calls itself ready only while 64 are free
CHUNK = 1024 * 1024

takes_long = pytest.mark.skipif(not FULL, reason="fills a disk amid long runs: a minute, in make test-faults")


class Disk:
    """A small file system, and a file that fills it up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, leaving: int = 0) -> None:
        """Until so many bytes are left."""
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while (left := self.free - leaving) > 0:
                if file.write(bytes(min(CHUNK, left))) == 0:
                    return

    @property
    def free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def clear(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(path)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted by this user: {mounted.stderr.strip()}")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def here(disk: Disk, prepared: tuple[Path, str], upstream: ScriptedUpstream) -> Iterator[Home]:
    one = Home(prepared[0], disk.path / "data", prepared[1], **addresses(upstream), LAUNCH_DEADLINE_SECONDS=8)
    yield one
    one.end()


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Elsewhere than on the full disk."""
    return str(tmp_path / "serve.log")


async def get(api: Api, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=30) as client:
        return await client.get(f"http://127.0.0.1:{api.port}{path}")


async def says_that_it_is_full(api: Api) -> None:
    """Alive, not ready, and why; what is stored can be read."""
    assert (await get(api, "/healthz")).status_code == 200
    answer = await get(api, "/readyz")
    report: dict[str, Any] = answer.json()
    assert (answer.status_code, report["ready"], report["checks"]["disk"]["ok"]) == (503, False, False), report
    assert "data folder" in report["checks"]["disk"]["detail"]
    await api.call("GET", "/runs")


async def is_ready_again(api: Api) -> None:
    async def so() -> bool:
        return (await get(api, "/readyz")).status_code == 200

    await eventually(so, 60, pause=0.3)


async def stands_still(api: Api, load: Load, seconds: float = 4.0) -> None:
    """Wait until nothing more is stored, and nothing more is taken from the upstream."""

    async def so() -> bool:
        def place(runs: list[dict[str, Any]]) -> tuple[int, int]:
            return sum(run["last_seq"] for run in runs), load.sent

        before = place(await api.runs())
        await asyncio.sleep(seconds)
        return place(await api.runs()) == before

    await eventually(so, 60)


def whole(home: Home) -> bool:
    with contextlib.closing(sqlite3.connect(home.folder / "stepline.sqlite3")) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@takes_long
@pytest.mark.timeout(400)
async def test_a_disk_that_is_full_in_the_middle_of_runs_stops_the_reading_until_there_is_room(
    here: Home, disk: Disk, upstream: ScriptedUpstream, log: str, ledger: Ledger
) -> None:
    load = Load(upstream, rate=40, runs=8, events=240)
    program, api = await here.serve(log=log)
    await asyncio.gather(*(load.launch(api) for _ in range(8)))
    await eventually(lambda: asyncio.sleep(0, load.sent > 50))
    await is_ready_again(api)
    disk.fill()
    await stands_still(api, load)
    await says_that_it_is_full(api)
    disk.clear()
    await is_ready_again(api)
    found = await load.count(here, api)
    refused = int("database or disk is full" in program.said())
    assert whole(here)
    ledger.enter("disk full amid runs", times=1, injected=refused, lost=found.lost, doubled=found.doubled)


@pytest.mark.timeout(400)
async def test_a_launch_on_a_full_disk_is_refused_in_words_or_kept(
    here: Home, disk: Disk, upstream: ScriptedUpstream, log: str, ledger: Ledger
) -> None:
    load = Load(upstream, rate=40, runs=1, events=10)
    program, api = await here.serve(log=log)
    await load.launch(api)
    await eventually(lambda: asyncio.sleep(0, load.sent == 10))
    refused, accepted = 0, []
    disk.fill()
    for number in range(50):  # a log that was written before takes some more
        answer = await api.ask("POST", "/runs", json=load.body(f"on-a-full-disk-{number}"))
        if answer.status_code == 201:
            accepted.append(f"on-a-full-disk-{number}")
            continue
        refused += 1
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json"), answer.text
        assert "disk is full" in answer.json()["detail"]
        if refused == 3:
            break
    await says_that_it_is_full(api)
    assert "Traceback" not in program.said()
    disk.clear()
    await is_ready_again(api)
    load.names += [*accepted, await load.launch(api)][:-1]
    found = await load.count(here, api)
    assert whole(here)
    ledger.enter("disk full at a launch", times=3, injected=refused, lost=found.lost, doubled=found.doubled)


@takes_long
@pytest.mark.timeout(400)
async def test_a_site_that_is_killed_on_a_full_disk_starts_again_or_says_why_not(
    here: Home, disk: Disk, upstream: ScriptedUpstream, log: str, ledger: Ledger
) -> None:
    load = Load(upstream, rate=120, runs=12, events=300)
    program, api = await here.serve(log=log)
    await asyncio.gather(*(load.launch(api) for _ in range(12)))
    # Room for the log, and none for what a checkpoint of it brings into the database.
    disk.fill(leaving=17 * 1024 * 1024 - (here.folder / "stepline.sqlite3-wal").stat().st_size)
    await stands_still(api, load)
    await says_that_it_is_full(api)
    program.kill()
    refused = int("database or disk is full" in program.said())
    again = here.start("serve", "--port", str(api.port), log=log)

    async def decided() -> bool:
        return again.process.poll() is not None or "Stepline is at" in again.said()

    await eventually(decided, 60, pause=0.2)
    if again.process.poll() is None:
        await says_that_it_is_full(api)
        disk.clear()
    else:
        assert "disk is full" in again.said().strip().splitlines()[-1]
        assert "Traceback" not in again.said()
        disk.clear()
        await here.serve(port=api.port, log=log)
    await is_ready_again(api)
    found = await load.count(here, api)
    assert whole(here)
    ledger.enter(
        "disk full at a checkpoint and a start", times=1, injected=refused, lost=found.lost, doubled=found.doubled
    )
