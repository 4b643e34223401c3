"""The pages' own sockets. A page says what it has (`since`, `rev`), and gets at most one batch of what came after.

No message is owed and none is queued: a page that acknowledges slowly gets fewer and larger batches. In this process a
feed is its run's only member of the channel layer's group; it wakes its sockets in memory and renders each batch once.
"""

import asyncio
import contextlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from channels.consumer import get_handler_name
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import Token, User
from runs import publish, sharing
from runs.models import Run, ShareLink
from runs.web import render
from runs.web.forms import MOST_QUERY, filters_in
from runs.web.kept import Kept
from runs.web.view import Asked, number

POLL_SECONDS = 3.0  # the layer may lose a ring; then this finds the change
LAYER_SECONDS = 5.0  # for the layer to take a member in or out; one that hangs does not keep pages waiting for longer
REJOIN_SECONDS = 60.0  # a layer forgets its members when it restarts, after a day, or after one lost message
# A run with more events a second than this, or more in one batch, is hot: each push is followed by a pause, so that a
# page gets at most 20 a second, however quickly it acknowledges.
HOT_RATE, HOT_EVENTS, HOT_PAUSE = 100.0, 5, 0.05
HEAT_SECONDS = 0.5  # over which the rate is taken
CHECK_SECONDS = 1.0  # between questions whose session has ended
TRUST_SECONDS = 2.0  # after a good answer; older ones let nothing out, so a check that fails leaks nothing
COUNT_SECONDS = 1.0  # between two counts of a list's new runs, which may search; rows that changed go out at once
MOST_BY_A_LINK = 200  # sockets in this process
MAX_INBOUND = 64 * 1024
# A page acknowledges each message, so a hot run brings 20 a second; a page that has just connected sends a few more.
INBOUND_A_SECOND, INBOUND_BURST = 50.0, 100.0
UNAUTHENTICATED, NOT_FOUND, TOO_LARGE, TOO_MANY = 4401, 4404, 4413, 4429
# Not 1011, which says it better: daphne's protocol lets an application send 1000 and 3000 to 4999 only, and raises.
COME_BACK = 1000

logger = logging.getLogger(__name__)


# Whose session goes on is asked beside all readings, since nothing is pushed without an answer. Pasts, each of which
# may fold a whole run, never take all threads.
_door = ThreadPoolExecutor(1, thread_name_prefix="door")
_pasts = ThreadPoolExecutor(2, thread_name_prefix="pasts")


async def reading[**P, R](function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a synchronous function of the database on a thread of its own, not behind every other consumer."""
    return await _reading_on(None, partial(function, *args, **kwargs))


async def _reading_on[R](threads: ThreadPoolExecutor | None, function: Callable[[], R]) -> R:
    return await database_sync_to_async(function, thread_sensitive=False, executor=threads)()


class Feed:
    """One group's only member in this process: wakes the sockets that watch it, and shares what they read."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.sockets: set[asyncio.Event] = set()
        self.rings = 0  # heard so far, polls included
        self.kept: Kept | None = None  # what the pages of a run share beyond one batch
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

    async def shared[R](self, place: Any, read: Callable[[], R], threads: ThreadPoolExecutor | None = None) -> R:
        """What `read` gives; sockets at the same place share one reading until the next ring."""
        if place not in self._batches:
            self._batches[place] = asyncio.create_task(_reading_on(threads, read))
        return await asyncio.shield(self._batches[place])

    def _wake(self) -> None:
        self.rings += 1
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
                await asyncio.wait_for(layer.group_add(self.group, channel), LAYER_SECONDS)
                rejoin = time.monotonic() + REJOIN_SECONDS
                self._wake()  # joined first, then read
                while time.monotonic() < rejoin:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(layer.receive(channel), POLL_SECONDS)
                    self._wake()
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(layer.group_discard(self.group, channel), LAYER_SECONDS)


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
    """What let a socket in: a session, a token of the API, or a link to one run. When any of it is no longer so, the
    socket is closed.
    """

    session: str
    user: int
    role: str
    password: str
    token: int = 0  # its number; 0: by the session
    link: int = 0  # likewise


class Doorkeeper:
    """Asks, for all sockets of this process at once, whose session has ended or whose user has changed."""

    def __init__(self) -> None:
        self._inside: dict[LiveConsumer, Pass] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def inside(self) -> int:
        """How many sockets this process serves."""
        return len(self._inside)

    def by_link(self, link: int) -> int:
        """How many of them this link has let in."""
        return sum(what.link == link for what in self._inside.values())

    def admit(self, socket: "LiveConsumer", what: Pass) -> None:
        self._inside[socket] = what
        socket.trusted_until = time.monotonic() + TRUST_SECONDS
        if self._task is None:
            self._task = asyncio.create_task(self._watch())

    def leave(self, socket: "LiveConsumer") -> None:
        self._inside.pop(socket, None)
        if not self._inside and self._task:
            self._task.cancel()
            self._task = None

    async def vouch(self, socket: "LiveConsumer") -> None:
        """Wait until the last good answer about this socket is fresh: asked before each push."""
        while time.monotonic() > socket.trusted_until:
            socket.trusted.clear()
            await socket.trusted.wait()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            asked = dict(self._inside)  # who comes in meanwhile is asked about next time
            try:
                good = await _reading_on(_door, partial(_still_good, frozenset(asked.values())))
                for socket, what in asked.items():
                    if what in good:
                        # From the answer on: where each takes longer than this, pages are slow and not dead.
                        socket.trusted_until = time.monotonic() + TRUST_SECONDS
                        socket.trusted.set()
                    else:
                        await socket.expel()
            except Exception as error:
                logger.warning("sessions could not be checked: %s: %s", type(error).__name__, error)


FEEDS = Feeds()
DOORKEEPER = Doorkeeper()


class LiveConsumer(AsyncWebsocketConsumer):
    """What both sockets share: who may listen, the acknowledgement, and the loop that answers it."""

    group = ""
    gone = NOT_FOUND  # how a socket is closed when there is nothing to watch, or nothing any more

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As channels has it, without a channel of its own, since feeds listen for all sockets, and without its look at
        database connections before each message, which `reading` does where they are used.
        """
        self.scope, self.base_send = scope, send
        with contextlib.suppress(StopConsumer):
            while True:
                message = await receive()
                await getattr(self, get_handler_name(message))(message)

    def begin(self) -> None:
        self.wake, self.place, self.trusted = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.feed: Feed | None = None
        self.pushing: asyncio.Task[None] | None = None
        self.trusted_until = 0.0
        self.allowance, self.allowed_at = INBOUND_BURST, time.monotonic()
        self.heat, self.heated_at = 0.0, time.monotonic()

    async def connect(self) -> None:
        self.begin()
        await self.accept()  # first: a browser learns a close code only of a socket that was open
        let_in = await self.let_in()
        if let_in is None:
            await self.close(code=UNAUTHENTICATED)
        elif not await self.prepare():
            await self.close(code=self.gone)
        elif let_in.link and DOORKEEPER.by_link(let_in.link) >= MOST_BY_A_LINK:
            await self.close(code=TOO_MANY)
        else:
            DOORKEEPER.admit(self, let_in)
            self.feed = FEEDS.join(self.group, self.wake)
            self.pushing = asyncio.create_task(self._push())

    async def disconnect(self, code: int) -> None:
        DOORKEEPER.leave(self)
        if self.pushing:
            self.pushing.cancel()
        if self.feed:
            FEEDS.leave(self.feed, self.wake)

    async def expel(self) -> None:
        """Whoever listens here may no longer; nothing more goes out."""
        if self.pushing:
            self.pushing.cancel()
        with contextlib.suppress(Exception):  # it may be gone already
            await self.close(code=UNAUTHENTICATED)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data is None or len(text_data.encode()) > MAX_INBOUND:
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
            self.wake.set()  # what it wants to see may have changed, and nothing else

    async def _push(self) -> None:
        try:
            while True:
                await self.place.wait()
                events = await self._answer()
                if self._hot(events) or events > HOT_EVENTS:
                    await asyncio.sleep(HOT_PAUSE)
        except Run.DoesNotExist:
            await self.close(code=self.gone)
        except Exception:
            logger.exception("live socket of %s failed; the browser connects again", self.group)
            await self.close(code=COME_BACK)

    def _hot(self, events: int) -> bool:
        """Whether more than HOT_RATE events a second have come of late, these included."""
        now = time.monotonic()
        self.heat = self.heat * math.exp((self.heated_at - now) / HEAT_SECONDS) + events
        self.heated_at = now
        return self.heat > HOT_RATE * HEAT_SECONDS

    async def _answer(self) -> int:
        """Wait until there is something new, and send it. Returns how many events it carried."""
        while True:
            self.wake.clear()
            self.place.clear()  # the batch answers the last word of the page; what it says later wants another
            if found := await self.batch():
                html, events = found
                await DOORKEEPER.vouch(self)
                await self.send(text_data=html)
                return events
            await self.wake.wait()

    # What a kind of page adds.

    async def let_in(self) -> Pass | None:
        """By what this socket may listen; None when it may not."""
        user, session = self.scope.get("user"), self.scope.get("session")
        if user is None or session is None or not user.is_authenticated:
            return None
        return Pass(session.session_key or "", user.pk, user.role, user.password)

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

    guest = False  # let in by a link: shown this run and nothing else

    async def let_in(self) -> Pass | None:
        self.run_id = int(self.scope["url_route"]["kwargs"]["run_id"])
        return await super().let_in()

    async def prepare(self) -> bool:
        self.group = publish.run_group(self.run_id)
        self.since = self.rev = 0
        self.drawn_on, self.turn, self.asked = "", 0, Asked()
        return await reading(Run.objects.filter(pk=self.run_id).exists)

    def acknowledged(self, said: dict[str, Any]) -> bool:
        since, rev = number(said.get("since")), number(said.get("rev"))
        if since is None or rev is None:
            return False
        self.since, self.rev = since, rev
        self.drawn_on = str(said.get("ground") or "")[:600]
        self.turn, self.asked = number(said.get("turn")) or 0, Asked.of_socket(said, self.guest)
        return True

    async def batch(self) -> tuple[str, int] | None:
        assert self.feed
        kept = self.feed.kept = self.feed.kept or Kept(self.run_id)
        place, turn, rings = (self.since, self.rev, self.drawn_on, self.asked), self.turn, self.feed.rings
        if self.asked.only_follows and kept.is_whole(self.since, self.rev, rings):
            return None  # it acknowledges what was read last, and nobody has rung since

        def read() -> tuple[str, int] | None:
            return render.run_changes(kept.run_id, *place, kept, rings)

        found = await self.feed.shared(place, read, None if self.asked.at is None else _pasts)
        # A page that has asked for something else since then knows an old answer by its turn.
        return found and (f"<!--{turn}-->{found[0]}", found[1])


class SharedConsumer(RunConsumer):
    """The same page, for whoever has a link to the run."""

    guest = True
    gone = UNAUTHENTICATED  # as when the link is revoked: the page loads again, and says that it leads nowhere

    async def let_in(self) -> Pass | None:
        link = await reading(sharing.use, self.scope["url_route"]["kwargs"]["token"])
        if link is None or link.run_id is None:
            return None
        self.run_id = link.run_id
        return Pass("", 0, "", "", link=link.pk)


class EmbedConsumer(SharedConsumer):
    """What a link's run looks like within a page of another site."""

    def acknowledged(self, said: dict[str, Any]) -> bool:
        rev = number(said.get("rev"))
        if rev is None:
            return False
        self.rev = rev
        return True

    async def batch(self) -> tuple[str, int] | None:
        assert self.feed
        run_id, rev = self.run_id, self.rev
        html = await self.feed.shared(("card", rev), lambda: render.card_changes(run_id, rev))
        return (html, render.BATCH) if html else None  # paced as if it were hot: it is looked at, not read


class ListConsumer(LiveConsumer):
    """The runs list: the rows that the page shows, and how many runs fit its filters that it does not show."""

    group = publish.RUNS_GROUP

    async def prepare(self) -> bool:
        self.page = render.Listed(())
        self.count_at = 0.0
        return True

    def acknowledged(self, said: dict[str, Any]) -> bool:
        pairs = [pair.partition(":") for pair in str(said.get("revs") or "").split(",") if pair]
        if len(pairs) > render.LIST_MOST:
            return False
        numbers = [(number(run_id), number(rev)) for run_id, _, rev in pairs]
        self.page = render.Listed(
            revs=tuple((run_id, rev) for run_id, rev in numbers if run_id is not None and rev is not None),
            query=str(said.get("query") or "")[:MOST_QUERY],
            floor=str(said.get("floor") or "")[:60],
            fresh=str(said.get("fresh") or "0")[:10],
            counts=said.get("counts") != "no",
        )
        return True

    async def batch(self) -> tuple[str, int] | None:
        assert self.feed
        page, now = self.page, time.monotonic()
        counting = page.counts and now >= self.count_at
        if counting:
            self.count_at = now + COUNT_SECONDS

        def read() -> str | None:
            return render.list_changes(page, filters_in(page.query) if counting else None)

        html = await self.feed.shared((page, counting), read)
        return (html, 0) if html else None


def _still_good(passes: Iterable[Pass]) -> set[Pass]:
    """Those whose token or link is still good; those whose session goes on and whose user is active, with the same
    role and password as then.
    """
    asked = list(passes)
    sessions = Session.objects.filter(session_key__in={one.session for one in asked}, expire_date__gt=timezone.now())
    users = User.objects.filter(pk__in={one.user for one in asked}, is_active=True)
    tokens = Token.objects.good().filter(pk__in={one.token for one in asked if one.token})
    links = ShareLink.objects.good().filter(pk__in={one.link for one in asked if one.link})
    going_on = set(sessions.values_list("session_key", flat=True))
    as_then = {pk: (role, password) for pk, role, password in users.values_list("pk", "role", "password")}
    good = set(tokens.values_list("pk", flat=True))
    shared = set(links.values_list("pk", flat=True))
    return {
        one
        for one in asked
        if one.token in good
        or one.link in shared
        or (one.session in going_on and as_then.get(one.user) == (one.role, one.password))
    }
