"""Group commit: while one transaction is being written, whatever arrives waits and goes with the next.

Nothing is dropped and nothing overtakes: a follower waits until its change is durable, so a slow database slows the
reading of sockets. A change that the database refuses fails its own follower only.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from django.db import Error, InterfaceError, OperationalError, connection

from runs import publish, store
from runs.core.figures import Figures
from runs.store import Change, Fenced
from runs.threads import database_threads

RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)  # between tries while the database does not answer; the last one repeats

logger = logging.getLogger(__name__)

Commit = Callable[..., set[int]]
Ring = Callable[[set[int]], Awaitable[None]]


class Writer:
    """One loop and one thread that write the changes of all followers of this worker."""

    def __init__(self, commit: Commit = store.commit, ring: Ring = publish.ring) -> None:
        self._commit = commit
        self._ring = ring
        self._waiting: list[tuple[Change, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()
        self._changed: set[int] = set()  # written, and not yet rung for
        self._to_ring = asyncio.Event()
        self._thread = database_threads(1, "writer")
        self.failing = False  # the database has not answered the last try
        self.figures = Figures()

    async def submit(self, change: Change) -> None:
        """Returns when the change is durable. Raises Fenced, or what the database said of this change."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        self._arrived.set()
        await done

    async def run(self) -> None:
        """Write until cancelled."""
        ringing = asyncio.create_task(self._ringing())
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                batch, self._waiting = self._waiting, []
                await self._write(batch)
        finally:
            ringing.cancel()
            self._thread.shutdown(wait=False)

    async def _ringing(self) -> None:
        """Ring beside the writing: a channel layer that hangs must not keep the next events from the database."""
        while True:
            await self._to_ring.wait()
            self._to_ring.clear()
            changed, self._changed = self._changed, set()
            try:
                await self._ring(changed)
            except Exception:
                logger.exception("doorbell not rung")

    async def _write(self, batch: list[tuple[Change, "asyncio.Future[None]"]]) -> None:
        try:
            fenced = await self._durably([change for change, _ in batch])
        except Exception as error:  # not only the database's: a text that cannot be encoded fails before it gets there
            if len(batch) == 1:
                run_id = batch[0][0].claim.run_id
                words = (run_id, type(error).__name__, error)
                logger.error("run %s: not written: %s: %s", *words, extra={"run": run_id})
                _settle(batch[0][1], error)
                return
            for one in batch:  # find the change that the database refuses; the others are innocent
                await self._write([one])
            return
        self._count([change for change, _ in batch if change.claim.run_id not in fenced])
        self._changed |= {change.claim.run_id for change, _ in batch} - fenced
        self._to_ring.set()
        for change, done in batch:
            _settle(done, Fenced() if change.claim.run_id in fenced else None)

    def _count(self, written: list[Change]) -> None:
        now = time.time()
        self.figures.commits += 1
        for change in written:
            lag = now - change.events[0].received_at if change.events else None
            self.figures.wrote(len(change.events), len(change.rejected), lag)

    async def _durably(self, changes: list[Change]) -> set[int]:
        """Try until the database has an answer. A try whose outcome is unknown is not repeated where it succeeded."""
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            try:
                fenced = await loop.run_in_executor(self._thread, self._attempt, changes, tries > 0)
            except (OperationalError, InterfaceError) as error:
                self.failing = True
                pause = RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)]
                tries += 1
                logger.warning("database does not take writes, next try in %s s: %s", pause, error)
                await asyncio.sleep(pause)
            except Exception:  # an answer, too
                self.failing = False
                raise
            else:
                self.failing = False
                return fenced

    def _attempt(self, changes: list[Change], again: bool) -> set[int]:
        try:
            return self._commit(changes, again=again)
        except Error:
            connection.close()
            raise
        finally:
            connection.close_if_unusable_or_obsolete()


def _settle(done: "asyncio.Future[None]", error: Exception | None) -> None:
    if done.done():  # its follower was cancelled meanwhile
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
