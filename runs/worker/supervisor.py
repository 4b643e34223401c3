"""A worker: claims runs by lease, keeps one follower for each, renews the leases, hands over when it ends.

Hints from the channel layer only make it look sooner; whatever they miss, the sweep finds.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from channels.consumer import AsyncConsumer
from channels.routing import ChannelNameRouter
from channels.worker import Worker as ChannelsWorker
from django.db import InterfaceError, OperationalError

from runs import about, publish, store
from runs.store import Claim, Fenced
from runs.worker.db import on_lease_thread
from runs.worker.follow import Follower
from runs.worker.writer import Writer

CAPACITY = 2000  # runs that one worker follows at most
CLAIM_BATCH = 100
SWEEP_SECONDS = 2.0
RENEW_SECONDS = 5.0
ACT_SECONDS = store.LEASE_SECONDS - 5.0  # after its last good renewal a worker acts no longer than this
DRAIN_SECONDS = 20.0
AWAY_SECONDS = 60.0  # beyond that, a worker listens on while its database does not answer
YIELD_SECONDS = 6.0  # after its database was away a worker claims nothing: the owners come first with their renewals
PAUSE_AFTER_ERROR = 5.0  # before a run whose follower failed is claimed again

UNANSWERED = (OperationalError, InterfaceError)  # the database is away, or does not answer in time

logger = logging.getLogger(__name__)


def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


class HintConsumer(AsyncConsumer):
    """Hears publish.poke_workers."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    async def run_queued(self, message: dict[str, Any]) -> None:
        self.wake()


class Supervisor:
    """One worker of this process. `run` until `stop` was called.

    When its leases cannot be renewed it stops acting before they end. Where the database says so, it lets its runs go
    at once. Where the database does not answer, it listens on for AWAY_SECONDS: most likely nobody else can follow the
    runs either, and what has arrived would be lost. If somebody can, the fence keeps this worker from writing.

    `alone`: there can be no other worker. Then nothing is let go, however long the database is away.
    """

    def __init__(self, name: str = "", *, alone: bool = False) -> None:
        self.name = name or worker_name()
        self._alone = alone
        self._writer = Writer()
        self._followers: dict[int, tuple[Follower, asyncio.Task[None]]] = {}
        self._pausing: dict[int, float] = {}  # run -> monotonic time at which it may be claimed again
        self._wake = asyncio.Event()
        self._wake.set()
        self._stopping = asyncio.Event()
        self._good_until = 0.0  # monotonic: until then the leases are surely ours
        self._refused = False  # the database has answered the last renewal, and not with a lease
        self._claim_from = 0.0  # monotonic

    async def run(self) -> None:
        """Work until stopped; then hand every run over, for at most DRAIN_SECONDS."""
        about.say(worker=self.name)
        logger.info("worker %s starts", self.name)
        writing = asyncio.create_task(self._writer.run())
        loops = [
            asyncio.create_task(self._for_ever(loop))
            for loop in (self._sweep, self._renew, self._listen, self._give_up)
        ]
        try:
            await self._stopping.wait()
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._hand_over()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            logger.info("worker %s has ended", self.name)

    def stop(self) -> None:
        self._stopping.set()

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    # --- the loops --------------------------------------------------------------------------------------------

    async def _for_ever(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Run one turn after the other, and survive what a turn dies of: the layer's and the database's failures."""
        while True:
            try:
                await loop()
            except Exception as error:
                logger.warning("%s: %s: %s", loop.__name__.strip("_"), type(error).__name__, error)
                await asyncio.sleep(1.0)

    async def _sweep(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), SWEEP_SECONDS)
            self._wake.clear()
            await self._see_stops()
        now = time.monotonic()
        self._pausing = {run_id: until for run_id, until in self._pausing.items() if until > now}
        room = min(CLAIM_BATCH, CAPACITY - len(self._followers))
        if room <= 0 or self._writer.failing or now < self._claim_from:
            return
        try:
            claims = await on_lease_thread(store.claim, self.name, room, {*self._pausing, *self._followers})
        except UNANSWERED:
            self._claim_from = time.monotonic() + YIELD_SECONDS
            raise
        if claims and not self._followers:
            self._good_until = max(self._good_until, now + ACT_SECONDS)
        for claim in claims:
            follower = Follower(claim, self._writer, self._may_act)
            self._followers[claim.run_id] = (follower, asyncio.create_task(self._follow(follower)))
        if len(claims) == CLAIM_BATCH:
            self._wake.set()

    async def _renew(self) -> None:
        before = time.monotonic()
        try:
            await self._see_stops()
        except Exception as error:
            self._refused = not isinstance(error, UNANSWERED)
            raise
        self._refused, self._good_until = False, before + ACT_SECONDS
        await asyncio.sleep(RENEW_SECONDS)

    async def _see_stops(self) -> None:
        """Renew the leases; let go of what is no longer ours; pass on what people want stopped."""
        claimed = {run_id: follower.claim for run_id, (follower, _) in self._followers.items()}
        connected = [run_id for run_id, (follower, _) in self._followers.items() if follower.connected]
        figures = msgspec.structs.asdict(self._writer.figures)
        renewal = await on_lease_thread(store.renew, self.name, list(claimed), connected, figures)
        for run_id, claim in claimed.items():
            follower, task = self._followers.get(run_id, (None, None))
            if follower is None or task is None or follower.claim is not claim:
                continue
            if run_id in renewal.stop:
                follower.stop.set()
            if run_id not in renewal.held:
                # It has just ended, or the lease ran out: in the second case the fence has kept us from writing.
                follower.drain.set()

    async def _give_up(self) -> None:
        """Renewals fail: let go of the runs, by our own monotonic clock."""
        await asyncio.sleep(0.5)
        patience = 0.0 if self._refused else AWAY_SECONDS
        if self._followers and not self._alone and time.monotonic() > self._good_until + patience:
            logger.error("leases could not be renewed in time: giving %d runs up", len(self._followers))
            for _, task in list(self._followers.values()):
                task.cancel()
            await asyncio.gather(*(task for _, task in self._followers.values()), return_exceptions=True)

    def _may_act(self) -> bool:
        return self._alone or time.monotonic() <= self._good_until

    async def _listen(self) -> None:
        """The Channels worker. It ends on the layer's failures; `_for_ever` starts it again.

        Its listener is called, not its `arun`: on a failure that one leaves its other tasks running.
        """
        application = ChannelNameRouter({publish.WORKER_CHANNEL: HintConsumer.as_asgi(wake=self.wake)})
        worker = ChannelsWorker(application, [publish.WORKER_CHANNEL], publish.layer())
        try:
            await worker.listener(publish.WORKER_CHANNEL)
        finally:  # its consumers listen to the layer, too, and have failed with it
            consumers = [instance["future"] for instance in worker.application_instances.values()]
            for consumer in consumers:
                consumer.cancel()
            await asyncio.gather(*consumers, return_exceptions=True)

    # --- followers ----------------------------------------------------------------------------------------------

    async def _follow(self, follower: Follower) -> None:
        claim = follower.claim
        about.say(run=claim.run_id)
        try:
            if await follower.run():
                logger.info("run %s: over, followed no longer", claim.run_id)
            else:
                await on_lease_thread(store.release, claim)
                logger.info("run %s: handed over", claim.run_id)
        except Fenced:
            logger.warning("run %s: another worker follows it now", claim.run_id)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("run %s: its follower failed; the run is taken up again", claim.run_id)
            self._pausing[claim.run_id] = time.monotonic() + PAUSE_AFTER_ERROR
            await self._release(claim)
        finally:
            self._followers.pop(claim.run_id, None)

    async def _release(self, claim: Claim) -> None:
        with contextlib.suppress(Exception):  # the lease runs out by itself
            await on_lease_thread(store.release, claim)

    async def _hand_over(self) -> None:
        tasks = []
        for follower, task in self._followers.values():
            follower.drain.set()
            tasks.append(task)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(on_lease_thread(store.sign_off, self.name), 2.0)
