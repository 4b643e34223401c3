"""The pages' own sockets. A page says what it has (`since`, `rev`), and gets at most one batch of what came after.

No message is owed and none is queued: a page that acknowledges slowly gets fewer and larger batches. In this process a
feed is its run's only member of the channel layer's group; it wakes its sockets in memory and renders each batch once.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import User
from runs import publish
from runs.models import Run
from runs.web import render

POLL_SECONDS = 3.0  # the layer may lose a ring; then this finds the change
REJOIN_SECONDS = 60.0  # a layer forgets its members when it restarts, after a day, or after one lost message
HOT_EVENTS = 5  # a batch of more events than this is followed by a pause, so that a hot run gets 20 pushes a second
HOT_PAUSE = 0.05
CHECK_SECONDS = 1.0  # between questions whose session has ended
MAX_INBOUND = 64 * 1024
# A page acknowledges each message, so a hot run brings 20 a second; a page that has just connected sends a few more.
INBOUND_A_SECOND, INBOUND_BURST = 50.0, 100.0
UNAUTHENTICATED, NOT_FOUND, TOO_LARGE, TOO_MANY = 4401, 4404, 4413, 4429

logger = logging.getLogger(__name__)


async def reading[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a synchronous function of the database on a thread of its own, not behind every other consumer."""

    return await database_sync_to_async(function, thread_sensitive=False)(*args, **kwargs)


class Feed:
    """One group's only member in this process: wakes the sockets that watch it, and shares what they read."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.sockets: set[asyncio.Event] = set()
        self._batches: dict[Any, asyncio.Task[Any]] = {}
        self._task: asyncio.Task[None] | None = None

    def join(self, wake: asyncio.Event) -> None:
        self.sockets.add(wake)
        if self._task is None:
            self._task = asyncio.create_task(self._listen())

    def leave(self, wake: asyncio.Event) -> bool:
        """True when nobody is left; the feed has then ended."""
        self.sockets.discard(wake)
        if not self.sockets and self._task:
            self._task.cancel()
            self._task = None
        return not self.sockets

    async def shared[R](self, place: Any, read: Callable[[], R]) -> R:
        """What `read` gives; sockets at the same place share one reading until the next ring."""
        if place not in self._batches:
            self._batches[place] = asyncio.create_task(reading(read))
        return await asyncio.shield(self._batches[place])

    def _wake(self) -> None:
        self._batches.clear()
        for wake in self.sockets:
            wake.set()

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except Exception as error:
                logger.warning("feed %s: %s: %s", self.group, type(error).__name__, error)
                self._wake()
                await asyncio.sleep(1.0)

    async def _hear(self) -> None:
        layer = publish.layer()
        channel = await layer.new_channel()
        try:
            while True:
                await layer.group_add(self.group, channel)
                rejoin = time.monotonic() + REJOIN_SECONDS
                self._wake()  # joined first, then read
                while time.monotonic() < rejoin:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(layer.receive(channel), POLL_SECONDS)
                    self._wake()
        finally:
            with contextlib.suppress(Exception):
                await layer.group_discard(self.group, channel)


class Feeds:
    """The feeds of this process by group."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}

    def join(self, group: str, wake: asyncio.Event) -> Feed:
        feed = self._feeds.setdefault(group, Feed(group))
        feed.join(wake)
        return feed

    def leave(self, feed: Feed, wake: asyncio.Event) -> None:
        if feed.leave(wake) and self._feeds.get(feed.group) is feed:
            del self._feeds[feed.group]


class Pass(NamedTuple):
    """What let a socket in. When any of it is no longer so, the socket is closed."""

    session: str
    user: int
    role: str
    password: str


class Doorkeeper:
    """Asks, for all sockets of this process at once, whose session has ended or whose user has changed."""

    def __init__(self) -> None:
        self._inside: dict[LiveConsumer, Pass] = {}
        self._task: asyncio.Task[None] | None = None

    def admit(self, socket: "LiveConsumer", what: Pass) -> None:
        self._inside[socket] = what
        if self._task is None:
            self._task = asyncio.create_task(self._watch())

    def leave(self, socket: "LiveConsumer") -> None:
        self._inside.pop(socket, None)
        if not self._inside and self._task:
            self._task.cancel()
            self._task = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                good = await reading(_still_good, frozenset(self._inside.values()))
                gone = [socket for socket, what in self._inside.items() if what not in good]
                for socket in gone:
                    await socket.close(code=UNAUTHENTICATED)
            except Exception as error:
                logger.warning("sessions could not be checked: %s: %s", type(error).__name__, error)


FEEDS = Feeds()
DOORKEEPER = Doorkeeper()


class LiveConsumer(AsyncWebsocketConsumer):
    """What both sockets share: who may listen, the acknowledgement, and the loop that answers it."""

    group = ""

    async def connect(self) -> None:
        self.wake, self.place = asyncio.Event(), asyncio.Event()
        self.feed: Feed | None = None
        self.pushing: asyncio.Task[None] | None = None
        self.allowance, self.allowed_at = INBOUND_BURST, time.monotonic()
        user, session = self.scope.get("user"), self.scope.get("session")
        await self.accept()  # first: a browser learns a close code only of a socket that was open
        if user is None or session is None or not user.is_authenticated:
            await self.close(code=UNAUTHENTICATED)
        elif not await self.prepare():
            await self.close(code=NOT_FOUND)
        else:
            DOORKEEPER.admit(self, Pass(session.session_key or "", user.pk, user.role, user.password))
            self.feed = FEEDS.join(self.group, self.wake)
            self.pushing = asyncio.create_task(self._push())

    async def disconnect(self, code: int) -> None:
        DOORKEEPER.leave(self)
        if self.pushing:
            self.pushing.cancel()
        if self.feed:
            FEEDS.leave(self.feed, self.wake)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data is None or len(text_data) > MAX_INBOUND:
            await self.close(code=TOO_LARGE)
            return
        now = time.monotonic()
        earned = (now - self.allowed_at) * INBOUND_A_SECOND
        self.allowance, self.allowed_at = min(INBOUND_BURST, self.allowance + earned) - 1, now
        if self.allowance < 0:
            await self.close(code=TOO_MANY)
            return
        try:
            said = json.loads(text_data)
        except (ValueError, RecursionError):
            return
        if isinstance(said, dict) and self.acknowledged(said):
            self.place.set()

    async def _push(self) -> None:
        try:
            while True:
                await self.place.wait()
                self.place.clear()
                events = await self._answer()
                if events > HOT_EVENTS:
                    await asyncio.sleep(HOT_PAUSE)
        except Run.DoesNotExist:
            await self.close(code=NOT_FOUND)
        except Exception:
            logger.exception("live socket of %s failed; the browser connects again", self.group)
            await self.close(code=1011)

    async def _answer(self) -> int:
        """Wait until there is something new, and send it. Returns how many events it carried."""
        while True:
            self.wake.clear()
            if found := await self.batch():
                html, events = found
                await self.send(text_data=html)
                return events
            await self.wake.wait()

    # What a kind of page adds.

    async def prepare(self) -> bool:
        """Set `group`; False when there is nothing to watch."""
        raise NotImplementedError

    def acknowledged(self, said: dict[str, Any]) -> bool:
        """Take what the page says it has; False when it makes no sense."""
        raise NotImplementedError

    async def batch(self) -> tuple[str, int] | None:
        """What came after what the page has, and how many events are in it; None when nothing did."""
        raise NotImplementedError


class RunConsumer(LiveConsumer):
    """One run's page."""

    async def prepare(self) -> bool:
        self.run_id = int(self.scope["url_route"]["kwargs"]["run_id"])
        self.group = publish.run_group(self.run_id)
        self.since = self.rev = 0
        self.drawn_on = ""
        return await reading(Run.objects.filter(pk=self.run_id).exists)

    def acknowledged(self, said: dict[str, Any]) -> bool:
        since, rev = _number(said.get("since")), _number(said.get("rev"))
        if since is None or rev is None:
            return False
        self.since, self.rev = since, rev
        self.drawn_on = str(said.get("ground") or "")[:60]
        return True

    async def batch(self) -> tuple[str, int] | None:
        assert self.feed
        run_id, since, rev, drawn_on = self.run_id, self.since, self.rev, self.drawn_on
        place = (since, rev, drawn_on)
        return await self.feed.shared(place, lambda: render.run_changes(run_id, since, rev, drawn_on))


class ListConsumer(LiveConsumer):
    """The runs list: the rows that the page shows, and how many runs are newer than its first."""

    group = publish.RUNS_GROUP

    async def prepare(self) -> bool:
        self.revs: dict[int, int] = {}
        self.newest = 0
        self.told = 0
        return True

    def acknowledged(self, said: dict[str, Any]) -> bool:
        newest = _number(said.get("newest"))
        pairs = [pair.partition(":") for pair in str(said.get("revs") or "").split(",") if pair]
        if newest is None or len(pairs) > render.LIST_MOST:
            return False
        if newest != self.newest:
            self.told = 0
        self.newest = newest
        numbers = [(_number(run_id), _number(rev)) for run_id, _, rev in pairs]
        self.revs = {run_id: rev for run_id, rev in numbers if run_id is not None and rev is not None}
        return True

    async def batch(self) -> tuple[str, int] | None:
        revs, newest, told = self.revs, self.newest, self.told
        assert self.feed
        place = (newest, told, tuple(revs.items()))
        found = await self.feed.shared(place, lambda: render.list_changes(revs, newest, told))
        if found is None:
            return None
        html, self.told = found
        return html, 0


def _number(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _still_good(passes: Iterable[Pass]) -> set[Pass]:
    """Those whose session goes on and whose user is active, with the same role and password as then."""
    asked = list(passes)
    sessions = Session.objects.filter(session_key__in={one.session for one in asked}, expire_date__gt=timezone.now())
    users = User.objects.filter(pk__in={one.user for one in asked}, is_active=True)
    going_on = set(sessions.values_list("session_key", flat=True))
    as_then = {pk: (role, password) for pk, role, password in users.values_list("pk", "role", "password")}
    return {one for one in asked if one.session in going_on and as_then.get(one.user) == (one.role, one.password)}
