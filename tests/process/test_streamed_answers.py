"""A long run read as NDJSON: page by page out of the database, at the client's pace, in memory that does not grow."""

import asyncio
import json
import os

import httpx

from tests.process.fixtures import MakeHome
from tests.process.programs import Home

EVENTS = 40_000
PAYLOAD = 1000  # bytes of each; the answer has some 45 MB
GROWTH = 16 * 1024**2  # bytes; what one page and its copies take, and what the allocator keeps

MAKE = f"""
import json
from django.db import connection, transaction
from tests.factories import START, make_run
from runs.models import Run
run = make_run(status="succeeded", connection="closed", last_seq={EVENTS}, finished_at=START + 9)
payload = json.dumps({{"event_type": "task_started", "text": "x" * {PAYLOAD}}})
rows = ((run.pk, n, payload) for n in range(1, {EVENTS} + 1))
with transaction.atomic(), connection.cursor() as cursor:
    cursor.executemany(
        "INSERT INTO runs_event (run_id, seq, source, event_type, task_key, task_id, task_name, received_at, digest, "
        "occurrence, receipts, flags, payload) "
        "VALUES (%s, %s, 'stream', 'task_started', '', '', '', 1, '', 0, 1, '', %s)",
        rows,
    )
print(run.pk)
"""


def long_run(home: Home) -> int:
    made = home.manage("shell", "--no-imports", "-c", MAKE)
    assert made.returncode == 0, made.stderr
    return int(made.stdout)


def resident(pid: int) -> int:
    """Bytes of memory that the process has."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_neither_a_quick_nor_a_stalled_reader_makes_the_site_grow(home: MakeHome) -> None:
    here = home()
    run = long_run(here)
    program, api = await here.serve()
    headers = {"Authorization": f"Bearer {api.token}", "Accept": "application/x-ndjson"}
    address = f"http://127.0.0.1:{api.port}/api/v1/runs/{run}/events"
    async with httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as client:
        await client.get(address + "?limit=1000")
        before = most = resident(program.process.pid)
        seqs = []
        async with client.stream("GET", address) as answer:
            async for line in answer.aiter_lines():
                seqs.append(json.loads(line)["seq"])
                if len(seqs) % 1000 == 0:
                    most = max(most, resident(program.process.pid))
        assert seqs == list(range(1, EVENTS + 1))
        assert most - before < GROWTH, f"a quick reader: {(most - before) / 1024**2:.1f} MiB"

        async with client.stream("GET", address) as answer:
            parts = answer.aiter_bytes()
            await anext(parts)
            for _ in range(10):  # reads nothing, while others are served
                await asyncio.sleep(0.2)
                await api.call("GET", "/runs")
                most = max(most, resident(program.process.pid))
            assert most - before < GROWTH, f"a stalled reader: {(most - before) / 1024**2:.1f} MiB"
            rest = b"".join([part async for part in parts])
        assert json.loads(rest.splitlines()[-1])["seq"] == EVENTS

        for _ in range(3):  # who goes away in the middle leaves nothing behind
            async with client.stream("GET", address) as answer:
                await anext(answer.aiter_bytes())
        resumed = await client.get(f"{address}?after={EVENTS - 3}")
        assert [json.loads(line)["seq"] for line in resumed.text.splitlines()] == [EVENTS - 2, EVENTS - 1, EVENTS]
    assert "Traceback" not in (here.folder / "serve.log").read_text()
