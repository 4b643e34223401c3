"""The whole path of an event, top to bottom: frame, decoded, masked, folded, durable. One follower owns one run.

A follower connects first, then launches, then folds what comes until the run has ended or somebody stops it. All it
decides goes through `_write`; nothing else changes the run. It ends by returning `True` when nobody needs to follow
the run any more.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from contextlib import aclosing
from typing import Any

import msgspec
from django.conf import settings

from runs import store, vault
from runs.core import cut, decode, events, state
from runs.core.decode import Address, Noise, Rejected
from runs.core.events import Event, StatusReport
from runs.fields import dumps
from runs.models import Gap, Run
from runs.store import Change, Claim, OpenGap, RejectedFrame
from runs.upstream import api, stream
from runs.upstream.stream import Away, Connected, Frames
from runs.worker.db import on_thread
from runs.worker.writer import Writer

PREVIEW = 64 * 1024  # characters of a rejected frame that are kept
SILENT_SECONDS = 60.0  # without an event, and the backstop is asked
POLL_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0)  # between questions to task-status; the last one repeats
LAUNCH_RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)  # between tries to reach the upstream; the last one repeats
WORDS = 500  # characters of the upstream's own words that a notice or a gap repeats
LARGE = 64 * 1024  # characters of a frame after which the loop gets a turn, so that leases are renewed meanwhile
LAUNCH_GRACE_SECONDS = 8.0  # a worker that goes away waits so long for the answer to a launch

logger = logging.getLogger(__name__)


def _nth(pauses: tuple[float, ...], n: int) -> float:
    return pauses[min(n, len(pauses) - 1)]


class Follower:
    """Follows one claimed run. `stop` and `drain` may be set from outside at any time."""

    def __init__(self, claim: Claim, writer: Writer) -> None:
        self.claim = claim
        self.stop = asyncio.Event()  # a person wants no more of it
        self.drain = asyncio.Event()  # this worker is going away
        self.connected = False
        self._writer = writer

    # --- the loop ---------------------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Follow until the end (True) or until drained (False). Raises Fenced when another worker took over."""
        await self._begin(await on_thread(store.load, self.claim.run_id))
        url = stream.address(self._run.upstream.socket_url, self._run.flow_name, self._run.run_name)
        signals = [asyncio.create_task(event.wait()) for event in (self.stop, self.drain)]
        happening: asyncio.Task[stream.Happening] | None = None
        async with aclosing(stream.follow(url, compression=settings.UPSTREAM_COMPRESSION)) as happenings:
            try:
                while not self._done and not self.drain.is_set():
                    happening = happening or asyncio.create_task(anext(happenings))
                    waiting = {happening, *signals, *filter(None, (self._launching, self._asking))}
                    pause = max(0.0, min(self._due()) - time.time())
                    await asyncio.wait(waiting, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                    if happening.done():
                        what, happening = happening.result(), None
                        await self._happened(what)
                    await self._on_time()
                if self.drain.is_set():
                    await self._hear_launch()
            finally:
                for task in filter(None, (happening, self._launching, self._asking, *signals)):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError, Exception):
                        await task
        return self._done

    async def _begin(self, loaded: store.Loaded) -> None:
        now = time.time()
        self._run, self._launch, self._plan = loaded.run, loaded.launch, loaded.plan
        self._state, self._rev, self._seq = loaded.state, loaded.run.rev, loaded.run.last_seq
        self._places = store.positions(self._state)
        self._status = loaded.run.status
        self._connection = loaded.run.connection
        self._address = Address(self._run.flow_name, self._run.run_name, vault.digest_key(self._run.pk))
        self._ordinals: Counter[str] = Counter()
        self._received_at = 0.0
        self._done = False
        self._gap_open = loaded.open_gap
        self._began = now
        self._linger_until: float | None = now if self._state.terminal else None
        self._launching: asyncio.Task[str] | None = None
        self._launch_at = now + stream.CONNECT_SECONDS
        self._launch_tries = 0
        self._asking: asyncio.Task[api.Status | None] | None = None
        self._ask_at = now + SILENT_SECONDS
        self._asked = 0
        self._report: api.Status | None = None
        self._launch_deadline: float | None = None  # of an unconfirmed launch of which nothing has come
        sent = self._launch is not None and self._launch.sent_at is not None
        self._to_launch = self._launch is not None and not sent
        if run_stop_asked := self._run.stop_requested:
            self.stop.set()
        try:
            self._key = await on_thread(vault.upstream_key, loaded.run.upstream)
            self._masker = await on_thread(vault.masker, loaded.run.upstream)
        except vault.Unreadable as error:
            await self._unreadable(error)
            return
        taken_over = loaded.alive_at is not None and (sent or self._run.attached) and not self._state.terminal
        change: dict[str, Any] = {}
        if taken_over and not self._gap_open and not run_stop_asked:
            change["gap"] = OpenGap(Gap.Reason.TAKEOVER, self._seq, loaded.alive_at, detail="the worker went away")
        if sent and self._launch and not self._launch.task_id and not self._seq and self._status == "launching":
            change["run"] = {"notice": self._unconfirmed("the worker went away before the answer came")}
        await self._write(connection=Run.Connection.CONNECTING, **change)

    def _due(self) -> list[float]:
        """When something is to be done even if nothing happens. Epoch seconds, never empty."""
        times = [time.time() + 60.0]
        if self._state.terminal is None:
            times += filter(None, (self._run.deadline_at, None if self._seq else self._launch_deadline))
        if self._linger_until is not None:
            times.append(self._linger_until)
        if self._to_launch and self._launching is None:
            times.append(self._launch_at)
        if self._may_ask():
            times.append(self._ask_at)
        return times

    async def _on_time(self) -> None:
        now = time.time()
        if self._launching and self._launching.done():
            task, self._launching = self._launching, None
            await self._launched(task)
        if self._asking and self._asking.done():
            asked, self._asking = self._asking, None
            await self._answered(asked.result())
        if self._done:
            return
        if self.stop.is_set():
            await self._stopped()
        elif self._linger_until is not None and now >= self._linger_until:
            await self._finish()
        elif self._state.terminal is None and self._run.deadline_at is not None and now >= self._run.deadline_at:
            await self._lost("It had not ended by its deadline, and nobody follows it any more.")
        elif not self._seq and self._launch_deadline is not None and now >= self._launch_deadline:
            await self._lost("Nothing came.")
        elif self._to_launch and self._launching is None and now >= self._launch_at:
            await self._send_launch()
        elif self._may_ask() and now >= self._ask_at:
            self._asking = asyncio.create_task(
                api.task_status(self._run.upstream.api_url, self._key, self._launch.task_id if self._launch else "")
            )

    async def _happened(self, what: stream.Happening) -> None:
        match what:
            case Connected():
                await self._on_connected(what.at)
            case Frames():
                await self._on_frames(what.frames)
            case Away():
                await self._on_away(what)

    # --- the connection ----------------------------------------------------------------------------------------

    async def _on_connected(self, at: float) -> None:
        self.connected = True
        self._ordinals.clear()
        self._launch_at = min(self._launch_at, at)
        gap = None
        if self._launch and self._launch.sent_at and not self._seq and not self._gap_open and not self._to_launch:
            gap = OpenGap(Gap.Reason.LATE, 0, self._launch.sent_at, at, "launched before the socket was connected")
        await self._write(connection=Run.Connection.LIVE, gap=gap, close_gaps_at=at)
        if self._state.gapped:
            self._ask_soon()

    async def _on_away(self, away: Away) -> None:
        self.connected = False
        self._launch_at = min(self._launch_at, away.at)
        if self._state.terminal:
            self._linger_until = away.at
            return
        change: dict[str, Any] = {}
        reason = self._said(away.reason)
        if away.was_connected and not self._gap_open and not self._to_launch:
            change["gap"] = OpenGap(Gap.Reason.DISCONNECTED, self._seq, away.at, detail=reason[:300])
        if away.oversized:
            change["rejected"] = [self._oversized(away)]
        if away.was_connected or self._connection == Run.Connection.CONNECTING or change:
            logger.info("run %s: away from the upstream: %s", self.claim.run_id, reason)
            await self._write(connection=Run.Connection.RECONNECTING, **change)
        self._ask_soon()

    def _oversized(self, away: Away) -> RejectedFrame:
        return RejectedFrame(
            digest=decode.digest("frame-too-large", self._address.key),
            reason="frame-too-large",
            detail="a frame over 16 MiB; the connection was closed for it",
            preview="",
            size=stream.MAX_FRAME,
            at=away.at,
        )

    # --- the events ---------------------------------------------------------------------------------------------

    async def _on_frames(self, frames: list[tuple[str | bytes, float]]) -> None:
        new: list[Event] = []
        keys: set[str] = set()
        receipts: Counter[int] = Counter()
        rejected: list[RejectedFrame] = []
        first = not self._seq
        for text, at in frames:
            if len(text) > LARGE:
                await asyncio.sleep(0)
            found = decode.decode(text, self._address, at)
            if isinstance(found, Rejected):
                rejected.append(self._quarantined(found, at))
            elif not isinstance(found, Noise):
                event = self._placed(found)
                if event.seq:
                    receipts[event.seq] += 1
                else:
                    new.append(self._masked(event))
                    keys |= state.apply(self._state, new[-1])
        if not (new or receipts or rejected):
            return
        gap = None
        if new and first and self._run.attached and not self._state.started_marks:
            gap = OpenGap(Gap.Reason.LATE, 0, None, self._received_at, "attached after the run had begun")
        await self._write(new, keys, gap=gap, rejected=rejected, receipts=receipts)
        self._ask_at, self._asked = time.time() + SILENT_SECONDS, 0
        if self._state.terminal and self._linger_until is None:
            self._linger_until = time.time() + settings.LINGER_SECONDS

    def _placed(self, event: Event) -> Event:
        """The event with its occurrence; with its seq, too, where it is a repeat of one that is known.

        With a timestamp the same content is the same event. Without one its ordinal within the connection tells a
        genuine repeat from what a new connection sends again.
        """
        occurrence = 0
        if "timestamp" not in event.payload:
            occurrence = self._ordinals[event.digest]
            self._ordinals[event.digest] += 1
        seq = self._state.seen.get((event.digest, occurrence), 0)
        return msgspec.structs.replace(event, occurrence=occurrence, seq=seq)

    def _masked(self, event: Event) -> Event:
        """The event as it is kept: masked, cut to size, with the next seq. Nothing unmasked goes further than here."""
        payload, was_cut = cut.fit(self._masker.value(event.payload))
        self._seq += 1
        self._received_at = max(event.received_at, self._received_at + 1e-6)  # receipt orders what has no timestamp
        return events.typed(
            payload,
            digest=event.digest,
            received_at=self._received_at,
            flags=(*event.flags, "cut") if was_cut else event.flags,
            occurrence=event.occurrence,
            seq=self._seq,
            from_status=isinstance(event, StatusReport),
        )

    def _quarantined(self, frame: Rejected, at: float) -> RejectedFrame:
        preview = self._masker.text(frame.text[: 2 * PREVIEW])[:PREVIEW].replace("\x00", "\\u0000")
        return RejectedFrame(frame.digest, frame.reason, self._masker.text(frame.detail), preview, frame.size, at)

    # --- the launch ---------------------------------------------------------------------------------------------

    async def _send_launch(self) -> None:
        """Note that the request goes out, durably, and only then send it: it must never go out twice."""
        assert self._launch is not None
        try:
            body = await on_thread(vault.unseal, self._launch.sealed)
        except vault.Unreadable as error:
            await self._unreadable(error)
            return
        sent_at = time.time()
        await self._write(run={"status": Run.Status.LAUNCHING}, launch={"sent_at": sent_at})
        self._launch.sent_at, self._to_launch = sent_at, False
        self._launch_tries += 1
        self._launching = asyncio.create_task(api.run_dag(self._run.upstream.api_url, self._key, body))

    async def _hear_launch(self) -> None:
        """Going away while a launch is on its way: whoever follows the run next could not hear the answer."""
        if self._launching and not self._done:
            await asyncio.wait({self._launching}, timeout=LAUNCH_GRACE_SECONDS)
            if self._launching.done():
                await self._launched(self._launching)

    async def _launched(self, task: asyncio.Task[str]) -> None:
        assert self._launch is not None
        try:
            task_id = task.result()
        except api.Refused as refused:
            words = self._said(str(refused))
            if self._seq:  # its events say otherwise
                notice = (
                    f"The upstream answered the launch with {refused.status} ({words}), and events came all the same."
                )
                await self._write(run={"notice": notice})
                return
            await self._end(
                Run.Status.REJECTED,
                f"The upstream refused the launch ({refused.status}): {words}. Nothing was started",
            )
        except api.Unreachable as error:
            await self._unreachable(error)
        except api.Unconfirmed as error:
            if not self._seq:
                await self._write(run={"notice": self._unconfirmed(str(error))})
        else:
            self._launch.task_id = task_id
            status = {} if self._state.terminal else {"status": Run.Status.RUNNING}
            await self._write(run={**status, "notice": ""}, launch={"task_id": task_id})
            self._ask_at = time.time() + SILENT_SECONDS

    async def _unreachable(self, error: api.Unreachable) -> None:
        where, why = self._run.upstream.api_url, self._said(str(error))
        if time.time() - self._began >= settings.LAUNCH_DEADLINE_SECONDS:
            await self._end(
                Run.Status.REJECTED,
                f"The upstream at {where} could not be reached ({why}). Nothing was launched. Check that it is up and "
                "that its address is right, then launch again.",
            )
            return
        pause = _nth(LAUNCH_RETRY_SECONDS, self._launch_tries - 1)
        await self._write(
            run={
                "notice": f"The upstream at {where} cannot be reached ({why}). Nothing was launched yet; trying again."
            },
            launch={"sent_at": None},
        )
        assert self._launch is not None
        self._launch.sent_at, self._to_launch, self._launch_at = None, True, time.time() + pause

    def _unconfirmed(self, why: str) -> str:
        self._launch_deadline = time.time() + settings.LAUNCH_DEADLINE_SECONDS
        return (
            f"Launch unconfirmed: {self._said(why)}. The run may have begun, so it is followed and the request "
            "is not sent again. If nothing comes, launch it anew under another run name."
        )

    def _said(self, words: str) -> str:
        """The upstream's own words as a notice, a gap or the log may repeat them: masked first, then shortened."""
        return self._masker.text(words)[:WORDS].replace("\x00", "")

    async def _unreadable(self, error: vault.Unreadable) -> None:
        """A key is missing. What was not launched ends; what runs is tried again until the key is back."""
        if self._to_launch:
            await self._end(Run.Status.REJECTED, f"{error} Nothing was launched.")
        elif self.stop.is_set():
            await self._stopped()
        elif self._run.deadline_at is not None and time.time() >= self._run.deadline_at:
            await self._lost(str(error))
        else:
            if self._run.notice != str(error):
                await self._write(run={"notice": str(error)})
            raise error

    # --- the backstop -------------------------------------------------------------------------------------------

    def _may_ask(self) -> bool:
        known = self._launch is not None and bool(self._launch.task_id)
        return known and self._state.terminal is None and self._asking is None

    def _ask_soon(self) -> None:
        self._ask_at = min(self._ask_at, time.time() + POLL_SECONDS[0])

    async def _answered(self, answer: api.Status | None) -> None:
        """Believe that a run is over when two answers in a row say so: the stream's own word may be on its way."""
        over = answer is not None and answer.status in state.STATUS_REPORT_OUTCOME
        if self._state.terminal is None and answer is not None and over and self._report is not None:
            await self._settle(answer)
        elif over:
            self._report, self._ask_at = answer, time.time() + settings.LINGER_SECONDS
        else:
            self._report = None
            self._ask_at = time.time() + _nth(POLL_SECONDS, self._asked)
            self._asked += 1

    async def _settle(self, answer: api.Status) -> None:
        bare = {"event_type": events.STATUS_REPORT, "status": answer.status}
        found = decode.decode(dumps({**answer.payload, **bare}), self._address, time.time())
        if not isinstance(found, Event):  # what else it holds cannot be kept; its word counts all the same
            found = decode.decode(dumps(bare), self._address, time.time())
        assert isinstance(found, Event)
        report = events.typed(
            found.payload, digest=found.digest, received_at=found.received_at, flags=found.flags, from_status=True
        )
        masked = self._masked(report)
        await self._write([masked], state.apply(self._state, masked))
        self._linger_until = time.time() + settings.LINGER_SECONDS

    # --- the end ------------------------------------------------------------------------------------------------

    async def _finish(self) -> None:
        await self._write(connection=Run.Connection.CLOSED, close_gaps_at=time.time(), done=True)
        self._done = True

    async def _end(self, status: str, notice: str) -> None:
        await self._write(run={"status": status, "notice": notice}, connection=Run.Connection.CLOSED, done=True)
        self._done = True

    async def _lost(self, notice: str) -> None:
        await self._end(Run.Status.LOST, " ".join(filter(None, (self._run.notice, notice))))

    async def _stopped(self) -> None:
        if self._state.terminal:
            await self._finish()
        else:
            left = "Nothing was launched." if self._to_launch else "The run itself goes on at the upstream."
            await self._end(Run.Status.STOPPED, f"Somebody stopped watching. {left}")

    # --- the one way out ----------------------------------------------------------------------------------------

    async def _write(
        self,
        new: list[Event] | None = None,
        keys: set[str] | None = None,
        *,
        run: dict[str, Any] | None = None,
        launch: dict[str, Any] | None = None,
        connection: str | None = None,
        gap: OpenGap | None = None,
        close_gaps_at: float | None = None,
        rejected: list[RejectedFrame] | None = None,
        receipts: dict[int, int] | None = None,
        done: bool = False,
    ) -> None:
        """Make this durable, whatever it takes; returns when it is."""
        keys = set(keys or ())
        if gap:
            keys |= state.mark_gap(self._state)
        if keys - self._places.keys() or keys - self._state.tasks.keys():  # tasks came, or turned out to be another
            places = store.positions(self._state)
            keys |= {key for key, place in places.items() if self._places.get(key) != place}
            self._places = places
        row = dict(run or {})
        if new or keys:
            row = store.run_row(self._state, self._plan is not None) | row
            if self._status in (Run.Status.QUEUED, Run.Status.LAUNCHING):
                row = {"status": Run.Status.RUNNING, "notice": ""} | row
        if connection is not None and connection != self._connection:
            row |= {"connection": connection, "connection_since": time.time()}
        tasks = self._state.tasks
        moved, self._state.moved = self._state.moved, set()
        change = Change(
            claim=self.claim,
            rev=self._rev + 1,
            run=row,
            launch=launch or {},
            events=new or [],
            keys={event.seq: key for event in new or () if (key := state.key_of(self._state, event))},
            receipts=receipts or {},
            tasks=[store.task_row(tasks[key], self._plan, self._places[key]) for key in keys & tasks.keys()],
            gone=sorted(keys - tasks.keys()),
            rekeyed={key: [mark.seq for mark in tasks[key].marks] for key in moved & tasks.keys()},
            rejected=rejected or [],
            close_gaps_at=close_gaps_at,
            gap=gap,
            done=done,
        )
        await self._writer.submit(change)
        self._rev = change.rev
        self._status = row.get("status", self._status)
        self._connection = row.get("connection", self._connection)
        self._run.notice = row.get("notice", self._run.notice)
        if gap and gap.ended_at is None:
            self._gap_open = True
        if close_gaps_at is not None:
            self._gap_open = False
