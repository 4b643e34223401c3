"""The floor: a bare program that follows runs, stores their frames and tells its readers, with no framework.

A websockets client a run, msgspec, one executemany a batch into SQLite, one line of HTML an event.
"""

import asyncio
import multiprocessing
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from bench.source import FLOW

SCHEMA = (
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=4000;"
    "CREATE TABLE event (run TEXT, seq INTEGER, type TEXT, payload TEXT, PRIMARY KEY (run, seq));"
)
Waiting = list[tuple[str, int, str, str]]


class Bare:
    """`stored`: events by run. `readers`: sockets by run."""

    def __init__(self, path: Path) -> None:
        self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.database.executescript(SCHEMA)
        self.stored: dict[str, int] = {}
        self.readers: dict[str, list[ServerConnection]] = {}
        self._decoder = msgspec.json.Decoder()
        self._waiting: Waiting = []
        self._arrived = asyncio.Event()

    async def follow(self, url: str, run: str) -> None:
        async with connect(f"{url}/ws/{FLOW}/{run}", compression=None, max_size=None, proxy=None) as socket:
            seq = 0
            async for frame in socket:
                seq += 1
                self._waiting.append((run, seq, self._decoder.decode(frame)["event_type"], str(frame)))
                self._arrived.set()

    async def write(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            rows, self._waiting = self._waiting, []
            await asyncio.to_thread(self._commit, rows)
            told: dict[str, list[str]] = {}
            for run, seq, kind, _ in rows:
                self.stored[run] = seq
                if run in self.readers:
                    told.setdefault(run, []).append(f'<li id="e-{seq}"><b>{seq}</b> {kind}</li>')
            for run, lines in told.items():
                html = f'{"".join(lines)}<input type="hidden" name="since" value="{self.stored[run]}">'
                for reader in self.readers[run]:
                    await reader.send(html)

    def _commit(self, rows: Waiting) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany("INSERT INTO event VALUES (?, ?, ?, ?)", rows)
        self.database.execute("COMMIT")


@contextmanager
def bare(url: str, runs: Sequence[str], path: Path) -> Iterator[str]:
    """It runs in a process of its own and follows these; the URL of its sockets, /RUN."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_main, args=(url, runs, path, there), daemon=True)
    process.start()
    try:
        yield f"ws://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def _main(url: str, runs: Sequence[str], path: Path, pipe: Connection) -> None:
    async def main() -> None:
        program = Bare(path)

        async def visit(socket: ServerConnection) -> None:
            assert socket.request is not None
            readers = program.readers.setdefault(socket.request.path.strip("/"), [])
            readers.append(socket)
            with suppress(Exception):
                async for _ in socket:  # what a reader acknowledges
                    pass
            readers.remove(socket)

        async with serve(visit, "127.0.0.1", 0, compression=None) as server:
            pipe.send(next(iter(server.sockets)).getsockname()[1])
            await asyncio.gather(program.write(), *(program.follow(url, run) for run in runs))

    asyncio.run(main())
