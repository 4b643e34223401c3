"""The whole path of an event, top to bottom: frame, decoded, masked, folded, durable. One follower owns one run.

A follower connects first, then launches, then folds what comes until the run has ended or somebody stops it. All it
decides goes through `_write`; nothing else changes the run. It ends by returning `True` when nobody needs to follow
the run any more. What it waits for it waits for by the monotonic clock: the wall clock may be set at any moment.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import msgspec
from django.conf import settings

from runs import about, store, vault
from runs.core import cut, decode, events, state
from runs.core.decode import Address, Noise, Rejected
from runs.core.events import Event, StatusReport, TaskFailed
from runs.core.progress import LEAST_PATIENCE, Tracker, patience
from runs.core.timeline import label
from runs.core.times import Lesson, lesson
from runs.fields import dumps
from runs.models import Gap, Happening, Run
from runs.store import Change, Claim, Happened, OpenGap, RejectedFrame, Retry
from runs.upstream import api, stream
from runs.upstream.connection import MAX_REFUSED, Refused
from runs.upstream.stream import Away, Connected, Frames
from runs.worker import launching
from runs.worker.backstop import Backstop
from runs.worker.db import on_thread
from runs.worker.launching import Launching
from runs.worker.writer import Writer

PREVIEW = 64 * 1024  # bytes of a rejected frame that are kept, masked
WORDS = 500  # bytes of the upstream's own words that a notice or a gap repeats
LARGE = 64 * 1024  # characters of a frame after which the loop gets a turn, so that leases are renewed meanwhile
LAUNCH_GRACE_SECONDS = 8.0  # a worker that goes away waits so long for the answer to a launch
LOST_GRACE_SECONDS = 180.0  # a run just taken up is not lost before the upstream was asked
IDLE_SECONDS = 60.0  # the follower looks at its clocks at least so often

NOT_ALLOWED = "Connections to this upstream's socket are not allowed"  # a notice that begins so goes on connecting

logger = logging.getLogger(__name__)


class Follower:
    """Follows one claimed run. `stop` and `drain` may be set from outside at any time."""

    def __init__(self, claim: Claim, writer: Writer, may_act: Callable[[], bool]) -> None:
        """`may_act` tells whether the lease is surely still this worker's."""
        self.claim = claim
        self.stop = asyncio.Event()  # a person wants no more of it
        self.drain = asyncio.Event()  # this worker is going away
        self.connected = False
        self._writer = writer
        self._may_act = may_act

    # --- the loop ---------------------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Follow until the end (True) or until drained (False). Raises Fenced when another worker took over."""
        await self._begin(await on_thread(store.load, self.claim.run_id))
        url = stream.address(self._run.upstream.socket_url, self._run.flow_name, self._run.run_name)
        signals = [asyncio.create_task(event.wait()) for event in (self.stop, self.drain)]
        happening: asyncio.Task[stream.Happening | None] | None = None
        compression = settings.UPSTREAM_COMPRESSION
        async with aclosing(stream.follow(url, self.drain, compression=compression)) as happenings:
            try:
                # What had arrived when this worker was told to go is still written: nobody could ask for it again.
                while not self._done and (self.connected or not self.drain.is_set()):
                    happening = happening or asyncio.create_task(anext(happenings, None))
                    tasks = (happening, self._launching.request, self._backstop.asking)
                    waiting: set[asyncio.Task[Any]] = set(filter(None, tasks))
                    waiting |= {signal for signal in signals if not signal.done()}
                    pause = max(0.0, min(self._due()) - time.monotonic())
                    await asyncio.wait(waiting, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                    quiet = True
                    if happening.done():
                        what, happening = happening.result(), None
                        if what is None:
                            break
                        quiet = not isinstance(what, Frames)
                        await self._happened(what)
                    await self._on_time(quiet)
                if self.drain.is_set():
                    await self._hear_launch()
            finally:
                for task in filter(None, (happening, self._launching.request, self._backstop.asking, *signals)):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError, Exception):
                        await task
        return self._done

    async def _begin(self, loaded: store.Loaded) -> None:
        now = time.monotonic()
        self._run, self._launch, self._plan = loaded.run, loaded.launch, loaded.plan
        about.say(flow=self._run.flow_name, run_name=self._run.run_name)
        logger.info("run %s: followed from event %s on", self.claim.run_id, loaded.run.last_seq)
        self._state, self._rev, self._seq = loaded.state, loaded.run.rev, loaded.run.last_seq
        self._times = await on_thread(store.usual_times, self._run.upstream_id, self._run.flow_name)
        self._tracker = Tracker(self._times, self._plan, self._state)
        self._places = store.positions(self._state)
        self._status = loaded.run.status
        self._connection = loaded.run.connection
        self._silent_since = loaded.run.silent_since
        self._address = Address(self._run.flow_name, self._run.run_name, vault.digest_key(self._run.pk))
        self._ordinals: Counter[str] = Counter()
        self._received_at = loaded.received_at
        self._done = False
        self._gap_open = loaded.open_gap
        self._heard_at = now - loaded.quiet  # the last event
        self._silent_at: float | None = None  # while connected: when the silence has lasted too long
        self._lost_at = now + max(LOST_GRACE_SECONDS, settings.LOST_AFTER_SECONDS - loaded.quiet)
        self._overdue_at = None if loaded.due_in is None or loaded.run.overdue else now + loaded.due_in
        self._linger_until: float | None = now if self._state.terminal else None
        self._launching = Launching(self._run, self._launch)
        self._backstop = Backstop(self._status_of_run, self._launch.task_id if self._launch else "")
        sent = self._launch is not None and self._launch.sent_at is not None
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
        """When something is to be done even if nothing happens: monotonic seconds, never empty."""
        times: list[float | None] = [time.monotonic() + IDLE_SECONDS, self._linger_until, self._launching.due()]
        if self._state.terminal is None:
            times += [self._backstop.due(), self._silent_at, self._overdue_at, self._lost_at]
            times += [None if self._seq else self._launching.hopeless_at]
        return [one for one in times if one is not None]

    async def _on_time(self, quiet: bool) -> None:
        """Do what is due. `quiet`: no frames have just been taken; else more may be waiting to be taken."""
        now = time.monotonic()

        def reached(at: float | None) -> bool:
            return at is not None and now >= at

        if self._launching.request and self._launching.request.done():
            request, self._launching.request = self._launching.request, None
            await self._launched(request)
        if self._backstop.asking and self._backstop.asking.done():
            await self._answered()
        if self._done:
            return
        going_on = self._state.terminal is None
        if self.stop.is_set():
            await self._stopped()
        elif quiet and reached(self._linger_until):
            await self._finish()
        elif going_on and reached(self._lost_at) and not self._launching.wanted:
            await self._lost(
                f"Nothing was heard of it for {label(settings.LOST_AFTER_SECONDS)}; nobody follows it now."
            )
        elif not self._seq and reached(self._launching.hopeless_at):
            await self._lost("Nothing came.")
        elif reached(self._launching.due()):
            await self._send_launch()
        else:
            if going_on and reached(self._overdue_at):
                self._overdue_at = None
                await self._write(run={"overdue": True}, happened=[Happened(Happening.Kind.OVERDUE, time.time())])
            if going_on and reached(self._silent_at):
                await self._silent()
            if going_on and reached(self._backstop.due()):
                self._backstop.ask()

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
        self._launching.now()
        self._silent_at = time.monotonic() + LEAST_PATIENCE
        gap = None
        launched = self._launch and self._launch.sent_at and not self._launching.wanted
        if self._launch and launched and not self._seq and not self._gap_open:
            gap = OpenGap(Gap.Reason.LATE, 0, self._launch.sent_at, at, "launched before the socket was connected")
        said = {"notice": ""} if self._run.notice.startswith(NOT_ALLOWED) else None
        await self._write(run=said, connection=Run.Connection.LIVE, gap=gap, close_gaps_at=at)
        if self._state.gapped:
            self._backstop.soon()

    async def _on_away(self, away: Away) -> None:
        self.connected = False
        self._launching.without_socket()
        self._silent_at = None
        if self._state.terminal:
            self._linger_until = time.monotonic()
            return
        change: dict[str, Any] = {}
        reason = self._said(away.reason)
        if away.was_connected and not self._gap_open and not self._launching.wanted:
            change["gap"] = OpenGap(Gap.Reason.DISCONNECTED, self._seq, away.at, detail=reason[:300])
        if away.oversized:
            change["rejected"] = [self._oversized(away)]
        if away.forbidden and not self._launching.wanted and not self._run.notice.startswith(NOT_ALLOWED):
            change["run"] = {"notice": f"{NOT_ALLOWED}: {reason}. An administrator can change that; trying again."}
        if away.was_connected or self._connection == Run.Connection.CONNECTING or change:
            logger.info("run %s: away from the upstream: %s", self.claim.run_id, reason)
            await self._write(connection=Run.Connection.RECONNECTING, **change)
        self._backstop.soon()

    def _oversized(self, away: Away) -> RejectedFrame:
        return RejectedFrame(
            digest=decode.digest("frame-too-large", self._address.key),
            reason="frame-too-large",
            detail="a frame over 64 MiB; the connection was closed for it",
            preview="",
            size=MAX_REFUSED,
            at=away.at,
        )

    # --- the events ---------------------------------------------------------------------------------------------

    async def _on_frames(self, frames: list[stream.Received]) -> None:
        new: list[Event] = []
        keys: set[str] = set()
        receipts: Counter[int] = Counter()
        rejected: list[RejectedFrame] = []
        first = not self._seq
        for text, at in frames:
            if isinstance(text, Refused):
                rejected.append(self._refused(text, at))
                continue
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
        run = None
        if new and self._launching.wanted:
            self._launching.forgo()
            run = {"notice": launching.begun_before(self._run.run_name)}
        self._heard()
        await self._write(new, keys, run=run, gap=gap, rejected=rejected, receipts=receipts)
        if self._state.terminal and self._linger_until is None:
            self._linger_until = time.monotonic() + settings.LINGER_SECONDS

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
        preview = self._masker.preview(frame.text.replace("\x00", "\\u0000"), PREVIEW)
        return RejectedFrame(frame.digest, frame.reason, self._masker.text(frame.detail), preview, frame.size, at)

    def _refused(self, frame: Refused, at: float) -> RejectedFrame:
        text = frame.beginning.decode(errors="backslashreplace")
        digest = decode.digest(frame.content, self._address.key)
        return self._quarantined(Rejected(frame.reason, frame.detail, text, digest, frame.size), at)

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
        if not self._may_act():  # this process stood still: somebody else may follow the run by now
            await self._write(launch={"sent_at": None})
            return
        self._launch.sent_at = sent_at
        # A retry has the sealed body of the run before it; the name is its own.
        self._launching.send(self._key, {**body, "run_name": self._run.run_name})

    async def _hear_launch(self) -> None:
        """Going away while a launch is on its way: whoever follows the run next could not hear the answer."""
        if self._launching.request and not self._done:
            await asyncio.wait({self._launching.request}, timeout=LAUNCH_GRACE_SECONDS)
            if self._launching.request.done():
                await self._launched(self._launching.request)

    async def _launched(self, request: asyncio.Task[str]) -> None:
        assert self._launch is not None
        try:
            task_id = request.result()
        except api.Refused as refused:
            words = self._said(str(refused))
            if self._seq:  # its events say otherwise
                await self._write(run={"notice": launching.refused_and_begun(refused.status, words)})
            else:
                await self._end(Run.Status.REJECTED, launching.refused(refused.status, words))
        except api.NotAllowed as error:
            await self._end(Run.Status.REJECTED, launching.not_allowed(self._run.upstream.api_url, str(error)))
        except api.Unreachable as error:
            where, why = self._run.upstream.api_url, self._said(str(error))
            if self._launching.again():
                await self._write(run={"notice": launching.unreachable(where, why)}, launch={"sent_at": None})
                self._launch.sent_at = None
            else:
                await self._end(Run.Status.REJECTED, launching.given_up(where, why))
        except api.Unconfirmed as error:
            if not self._seq:
                await self._write(run={"notice": self._unconfirmed(str(error))})
        else:
            self._launch.task_id = self._backstop.task_id = task_id
            status = {} if self._state.terminal else {"status": Run.Status.RUNNING}
            await self._write(run={**status, "notice": ""}, launch={"task_id": task_id})
            self._backstop.heard()

    def _unconfirmed(self, why: str) -> str:
        self._launching.unconfirmed()
        return launching.unconfirmed(self._said(why))

    def _said(self, words: str) -> str:
        """The upstream's own words as a notice, a gap or the log may repeat them: masked first, then shortened."""
        return self._masker.preview(words.replace("\x00", ""), WORDS)

    async def _unreadable(self, error: vault.Unreadable) -> None:
        """A key is missing. What was not launched ends; what runs is tried again until the key is back."""
        if self._launching.wanted:
            await self._end(Run.Status.REJECTED, f"{error} Nothing was launched.")
        elif self.stop.is_set():
            await self._stopped()
        else:
            if self._run.notice != str(error):
                await self._write(run={"notice": str(error)})
            raise error

    # --- the backstop -------------------------------------------------------------------------------------------

    async def _status_of_run(self, task_id: str) -> api.Status | None:
        return await api.task_status(self._run.upstream.api_url, self._key, task_id)

    async def _answered(self) -> None:
        answer, over = self._backstop.hear()
        if answer is None or self._state.terminal is not None:
            return
        self._lost_at = time.monotonic() + settings.LOST_AFTER_SECONDS  # whatever it says: it knows the run
        if over:
            await self._settle(answer)

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
        self._linger_until = time.monotonic() + settings.LINGER_SECONDS

    # --- silence ------------------------------------------------------------------------------------------------

    def _heard(self) -> None:
        """A frame came that speaks of the run."""
        now = self._heard_at = time.monotonic()
        self._lost_at = now + settings.LOST_AFTER_SECONDS
        self._silent_at = now + LEAST_PATIENCE if self.connected else None
        self._backstop.heard()

    async def _silent(self) -> None:
        """Nothing came for a while: is that long for what runs now?"""
        limit = patience(self._state.running, self._times, settings.SILENT_AFTER_SECONDS)
        lasted = time.monotonic() - self._heard_at
        self._silent_at = self._heard_at + limit if lasted < limit else None
        if self._silent_at is None and self._silent_since is None:
            now = time.time()
            await self._write(run={"silent_since": now - lasted}, happened=[Happened(Happening.Kind.SILENT, now)])

    # --- the end ------------------------------------------------------------------------------------------------

    async def _finish(self) -> None:
        terminal, finished_at = self._state.terminal, self._state.finished_at
        assert terminal is not None
        late = self._run.due_at is not None and finished_at is not None and finished_at > self._run.due_at
        at = time.time() if finished_at is None else finished_at
        kind = Happening.Kind.FAILED if terminal.outcome == "failed" else Happening.Kind.SUCCEEDED
        happened = [Happened(kind, at, seq=terminal.seq, error=terminal.error)]
        if late and self._overdue_at is not None:  # not said yet
            happened.append(Happened(Happening.Kind.OVERDUE, at))
        await self._write(
            run={"overdue": True} if late else None,
            connection=Run.Connection.CLOSED,
            close_gaps_at=time.time(),
            happened=happened,
            retry=self._retry(),
            lesson=lesson(self._state) if terminal.outcome == "succeeded" else None,
            done=True,
        )
        self._done = True

    def _retry(self) -> Retry | None:
        """What the workflow wants when this run has failed: the same again, after some errors, so many times."""
        workflow, terminal, number = self._run.workflow, self._state.terminal, self._run.retry_number + 1
        if self._launch is None or workflow is None or terminal is None or terminal.outcome != "failed":
            return None
        errors = [terminal.error, *(task.error for task in self._state.tasks.values())]
        if self.stop.is_set() or number > workflow.retry_limit:
            return None
        if not {error["type"] for error in errors if error} & set(workflow.retry_on):
            return None
        return Retry(number=number, pause=workflow.retry_pause * 2 ** (number - 1))

    async def _end(self, status: str, notice: str) -> None:
        kind = {Run.Status.LOST: Happening.Kind.LOST, Run.Status.REJECTED: Happening.Kind.REFUSED}.get(
            Run.Status(status)
        )
        await self._write(
            run={"status": status, "notice": notice},
            connection=Run.Connection.CLOSED,
            happened=[Happened(kind, time.time())] if kind else None,
            done=True,
        )
        self._done = True

    async def _lost(self, notice: str) -> None:
        await self._end(Run.Status.LOST, " ".join(filter(None, (self._run.notice, notice))))

    async def _stopped(self) -> None:
        if self._state.terminal:
            await self._finish()
        else:
            left = "Nothing was launched." if self._launching.wanted else "The run itself goes on at the upstream."
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
        happened: list[Happened] | None = None,
        retry: Retry | None = None,
        lesson: Lesson | None = None,
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
            self._tracker.change(self._state, keys)
            row["forecast"] = self._foreseen()
        elif done:
            row["forecast"] = None
        if self._silent_since is not None and (new or receipts or rejected or done):
            row["silent_since"] = None
        if connection is not None and connection != self._connection:
            row |= {"connection": connection, "connection_since": time.time()}
        tasks = self._state.tasks
        moved, self._state.moved = self._state.moved, set()
        key_of = {event.seq: key for event in new or () if (key := state.key_of(self._state, event))}
        failures = [
            Happened(
                Happening.Kind.TASK_FAILED,
                event.at,
                key_of.get(event.seq, ""),
                event.seq,
                state.short_error(event.error),
            )
            for event in new or ()
            if isinstance(event, TaskFailed)
        ]
        change = Change(
            claim=self.claim,
            rev=self._rev + 1,
            run=row,
            launch=launch or {},
            events=new or [],
            keys=key_of,
            receipts=receipts or {},
            tasks=[
                store.task_row(tasks[key], self._plan, self._places[key])
                | store.usual_columns(self._times, tasks[key].name)
                for key in keys & tasks.keys()
            ],
            gone=sorted(keys - tasks.keys()),
            rekeyed={key: [mark.seq for mark in tasks[key].marks] for key in moved & tasks.keys()},
            rejected=rejected or [],
            close_gaps_at=close_gaps_at,
            gap=gap,
            happened=failures + (happened or []),
            retry=retry,
            lesson=lesson,
            done=done,
        )
        await self._writer.submit(change)
        self._rev = change.rev
        self._status = row.get("status", self._status)
        self._connection = row.get("connection", self._connection)
        self._run.notice = row.get("notice", self._run.notice)
        self._silent_since = row.get("silent_since", self._silent_since)
        if gap and gap.ended_at is None:
            self._gap_open = True
        if close_gaps_at is not None:
            self._gap_open = False

    def _foreseen(self) -> dict[str, Any] | None:
        """The run's forecast as its row keeps it."""
        forecast = self._tracker.forecast(self._state, time.time())
        return None if forecast is None else msgspec.structs.asdict(forecast)
