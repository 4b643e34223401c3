"""The part of a worker that delivers: takes up what happened, claims what is due, tries it, notes what came of it.

It runs beside the supervisor, on the same loop, with a database thread of its own: no follower waits for it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial

from alerts import fanning, outbox
from alerts.outbox import Claimed
from alerts.sending import Answer, send
from runs import about
from runs.threads import database_threads, on

TURN_SECONDS = 1.0
BUSY_SECONDS = 0.1  # while there is something to deliver
MOST_AT_ONCE = 8  # attempts of one worker at the same time
DRAIN_SECONDS = 8.0  # a worker that ends waits so long for answers
PRUNE_SECONDS = 3600.0
PAUSE_AFTER_ERROR = 5.0

logger = logging.getLogger(__name__)

_database = database_threads(1, "alerts-db")


async def _call[T](function: Callable[[], T]) -> T:
    return await on(_database, function)


class Deliverer:
    """One worker's deliveries. `run` until `stop` was called."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._trying: dict[asyncio.Task[None], Claimed] = {}
        self._stopping = asyncio.Event()
        self._prune_at = time.monotonic() + PRUNE_SECONDS

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        about.say(worker=self.name)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                pause = await self._safe_turn()
                if pause:
                    await asyncio.wait({stopping}, timeout=pause)
        finally:
            stopping.cancel()
            await self._drain()

    async def _safe_turn(self) -> float:
        try:
            return await self.turn()
        except Exception as error:  # the database is away, as a rule
            logger.warning("alerts: %s: %s", type(error).__name__, error)
            return PAUSE_AFTER_ERROR

    async def turn(self) -> float:
        """One look at the happenings and the outbox. Returns the seconds until the next one; 0: there is more."""
        more = await _call(fanning.fan_out) == fanning.BATCH
        claimed: list[Claimed] = []
        if room := MOST_AT_ONCE - len(self._trying):
            claimed = await _call(partial(outbox.claim, self.name, room))
            for one in claimed:
                task = asyncio.create_task(self._try(one))
                self._trying[task] = one
                task.add_done_callback(self._trying.pop)
        if time.monotonic() > self._prune_at:
            self._prune_at = time.monotonic() + PRUNE_SECONDS
            await _call(outbox.prune)
        return 0.0 if more else BUSY_SECONDS if claimed else TURN_SECONDS

    async def _try(self, claimed: Claimed) -> None:
        try:
            if claimed.channel is None:  # deleted since
                answer = Answer(False, "Its channel was deleted.")
            else:
                answer = await send(claimed.channel, claimed.key, claimed.body)
            if not answer.delivered:
                logger.warning("delivery %s, attempt %s: %s", claimed.delivery_id, claimed.attempt, answer.words)
            await _call(partial(outbox.note, claimed, answer))
        except Exception as error:  # not noted: it is tried again when the lease has run out, under the same key
            logger.warning("delivery %s not noted: %s: %s", claimed.delivery_id, type(error).__name__, error)

    async def _drain(self) -> None:
        """Answers that are on their way are heard; what does not come in time is given back."""
        trying = dict(self._trying)
        if not trying:
            return
        _, late = await asyncio.wait(trying, timeout=DRAIN_SECONDS)
        for task in late:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            with contextlib.suppress(Exception):  # the lease runs out by itself
                await _call(partial(outbox.give_back, trying[task]))
