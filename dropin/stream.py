"""A run's events in the upstream's own protocol: what is stored, in order, then what comes. See docs/drop-in.md.

This protocol has no acknowledgement. What bounds a client that reads too slowly is the server: `send` returns when
what was sent before has left this process, and who takes nothing for a while is closed.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from dropin import frames, refusals, visits
from dropin.callers import Denied
from dropin.frames import Batch
from runs import publish
from runs.models import Run
from runs.web.live import DOORKEEPER, FEEDS, HOT_EVENTS, HOT_PAUSE, NOT_FOUND, LiveConsumer, reading

WAIT_SECONDS = 60.0  # for a run of this name to come
LOOK_SECONDS = 0.25  # at least between two looks for it
STUCK_SECONDS = 30.0  # for a client to take one batch
COME_AGAIN, FAILED = 1013, 1011
GOING_AWAY, BROKEN = 1001, 1006  # a page that was left, and a connection that broke: neither says that all has come
PONG = json.dumps({"type": "pong"})

logger = logging.getLogger(__name__)


class Stuck(Exception):
    """The client takes nothing."""


class StreamConsumer(LiveConsumer):
    async def connect(self) -> None:
        self.begin()
        self.pongs = 0
        self.has_got_all = ""  # as whom, once it has been sent all that it can wait for
        try:
            self.visit = await reading(visits.enter, cast(visits.Scope, self.scope))
        except Denied as denied:
            # Before the handshake: a client that counts its tries until one opens would otherwise come for ever.
            await self.close(4000 + denied.status, denied.message)
            return
        self.after = self.visit.after
        await self.accept()
        DOORKEEPER.admit(self, self.visit.who)
        self.pushing = asyncio.create_task(self._push())

    async def disconnect(self, code: int) -> None:
        await super().disconnect(code)
        if self.has_got_all and code not in (GOING_AWAY, BROKEN):
            await reading(refusals.note, self.has_got_all)

    def acknowledged(self, said: dict[str, Any]) -> bool:
        if said.get("type") == "ping":
            self.pongs += 1
            self.wake.set()
        return False

    async def _push(self) -> None:
        try:
            run_id = self.visit.run_id or await self._coming()
            self.feed = FEEDS.join(publish.run_group(run_id), self.wake)
            await self._follow(run_id)
        except (Run.DoesNotExist, Denied):
            self.has_got_all = visits.in_vain(self.visit.client)
            await self.close(NOT_FOUND, "there is no run of this name")
        except Stuck:
            await self.close(COME_AGAIN, f"nothing was read for {STUCK_SECONDS:g} s; ?after={self.after} resumes")
        except Exception:
            logger.exception("the stream of %s / %s failed; the client may come again", *self.visit.address[:2])
            await self.close(FAILED)

    async def _coming(self) -> int:
        """The run's id, once there is one. Raises Denied when none comes."""
        self.feed = feed = FEEDS.join(publish.RUNS_GROUP, self.wake)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS):
                    while True:
                        self.wake.clear()
                        if run := await reading(visits.find, self.visit.address):
                            return run.pk
                        await self._answer_pings()
                        await self.wake.wait()
                        await asyncio.sleep(LOOK_SECONDS)
        finally:
            FEEDS.leave(feed, self.wake)
            self.feed = None
        raise Denied(404, "none came")

    async def _follow(self, run_id: int) -> None:
        caught_up = False
        while True:
            self.wake.clear()
            await self._answer_pings()
            batch = await self._batch(run_id, shared=caught_up)
            caught_up = not batch.more
            if batch.frames:
                await DOORKEEPER.vouch(self)
                await self._within_reason(partial(self._hand_over, batch))
                self.after = batch.last
            if batch.over:
                self.has_got_all = self.visit.client
                await self.close(*batch.over)
                return
            if caught_up:
                if len(batch.frames) > HOT_EVENTS:
                    await asyncio.sleep(HOT_PAUSE)
                await self.wake.wait()

    async def _batch(self, run_id: int, *, shared: bool) -> Batch:
        after = self.after
        if shared:  # so do all who wait for the next event; of the history everybody reads their own part
            assert self.feed
            return await self.feed.shared(("frames", after), lambda: frames.read(run_id, after))
        return await reading(frames.read, run_id, after)

    async def _hand_over(self, batch: Batch) -> None:
        for place, text in enumerate(batch.frames):
            if place == batch.end:
                self.has_got_all = self.visit.client  # the sample client closes on it, whatever else there is
            await self.send(text_data=text)

    async def _answer_pings(self) -> None:
        due, self.pongs = self.pongs, 0
        for _ in range(due):
            await self._within_reason(partial(self.send, text_data=PONG))

    async def _within_reason(self, sending: Callable[[], Any]) -> None:
        limit = asyncio.timeout(STUCK_SECONDS)
        try:
            async with limit:
                await sending()
        except TimeoutError:
            if limit.expired():
                raise Stuck from None
            raise
