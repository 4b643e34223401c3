"""`ndjson`: a run of a million events read over HTTP as NDJSON, and what the site's memory grows by meanwhile.

The floor reads the same rows out of the same file and writes them to a loopback socket, with no site in between.
"""

import socket
import sqlite3
import threading
import time
import urllib.request
from pathlib import Path

from bench.row import Row
from bench.site import resident, served

PAYLOAD = 600  # bytes


def _make(events: int) -> tuple[int, str]:
    """A run of so many events, and a token to read it with."""
    from django.db import connection, transaction

    from accounts.models import Token, User
    from runs.models import Run, Upstream

    upstream = Upstream.objects.create(name="ndjson", api_url="http://127.0.0.1:9", socket_url="ws://127.0.0.1:9")
    run = Run.objects.create(
        upstream=upstream, flow_name="bench", run_name="ndjson", status="succeeded", last_seq=events
    )
    payload = '{"event_type":"task_started","text":"' + "x" * (PAYLOAD - 40) + '"}'
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO runs_event (run_id, seq, source, event_type, task_key, task_id, task_name, timestamp, "
            "received_at, digest, occurrence, receipts, flags, payload) "
            "VALUES (%s, %s, 'stream', 'task_started', '', '', '', 1, 1, '', 0, 1, '', %s)",
            [(run.pk, seq, payload) for seq in range(1, events + 1)],
        )
    user = User.objects.create_user(username="ndjson", role="viewer")
    return run.pk, Token.issue(user, "viewer")


def _floor(path: Path, run: int) -> float:
    """Seconds that reading and sending the rows take without the site."""
    here, there = socket.socketpair()

    def drain() -> None:
        while there.recv(1 << 16):
            pass

    reading = threading.Thread(target=drain)
    reading.start()
    began = time.perf_counter()
    database, out = sqlite3.connect(path), here.makefile("wb", 1 << 16)
    for seq, payload in database.execute("SELECT seq, payload FROM runs_event WHERE run_id = ? ORDER BY seq", [run]):
        out.write(b'{"seq":%d,"payload":%s}\n' % (seq, payload.encode()))
    out.close()
    here.close()
    reading.join()
    database.close()
    return time.perf_counter() - began


def _read(port: int, run: int, token: str, pid: int, after: int) -> tuple[int, float]:
    """How many events came after this one, and the most memory that was seen, in megabytes."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/runs/{run}/events?after={after}",
        headers={"Authorization": f"Bearer {token}", "Accept": "application/x-ndjson"},
    )
    lines, most = 0, resident(pid)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        while part := answer.read(1 << 20):
            lines += part.count(b"\n")
            most = max(most, resident(pid))
    return lines, most


def measure(folder: Path, *, full: bool) -> list[Row]:
    """Events a second, and by how many megabytes the site grew over the whole stream, after a first tenth of it."""
    events = 1_000_000 if full else 200_000
    run, token = _make(events)
    floor = _floor(folder / "stepline.sqlite3", run)
    with served(folder) as site:
        port, pid = site.client.base_url.port or 0, site.process.pid
        _read(port, run, token, pid, events - events // 10)
        before = site.megabytes()
        began = time.perf_counter()
        lines, most = _read(port, run, token, pid, 0)
        took = time.perf_counter() - began
        assert lines == events, f"{lines} of {events} came"
    work = f"one run of {events:,} events read as NDJSON"
    return [
        Row("ndjson", "events/s, read", round(events / took), round(events / floor), None, work, more=True),
        Row("ndjson", "MB that the site grew by meanwhile", round(most - before, 1), None, None, work),
    ]
