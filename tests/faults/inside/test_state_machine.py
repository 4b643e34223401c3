"""A run's life as hypothesis thinks it up: delivered, repeated, reordered, missed, crashed, taken over, late.

The real follower and the real writer work on the real database; only the socket is played, by a wire that says what the
test wants it to say. After every step the rows must hold what was received and committed, each event once.
"""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from django.db import OperationalError
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runs import store, vault
from runs.core import plan as plans
from runs.core.state import RunState, fold
from runs.models import Event, Gap, Launch, Rejected, Run, Stream
from runs.store import Change, Claim, Fenced
from runs.upstream import stream
from runs.upstream.stream import Away, Connected, Frames, Happening
from runs.worker import writer
from runs.worker.follow import Follower
from tests.factories import START, make_definition, make_upstream
from tests.faults.ledger import FULL, Ledger, size

FLOW = "Nightly"
NEVER = 1e9  # seconds
_numbers = itertools.count(1)

type Frame = str | bytes
type News = tuple[str, bool]  # an event that only a worker without a lease hears, or that its connection broke
type Again = tuple[int, random.Random | None]  # so many of the last frames, in a new order or in the old one


# --- what the upstream says ---------------------------------------------------------------------------------------

_TIMES = st.one_of(
    st.just({}),
    *[st.integers(0, 9).map(lambda n: {"timestamp": START + n + 0.5})] * 3,
    st.sampled_from([{"timestamp": "soon"}, {"timestamp": None}, {"timestamp": -1}]),
)
_TASKS = st.sampled_from(
    [
        *({"task_name": "a"}, {"task_id": "1", "task_name": "a"}, {"task_id": "2"}, {"task_id": "2", "task_name": "b"}),
        *({"task_name": "c"}, {"task_id": "3", "task_name": "c"}, {"task_id": "4", "task_name": "c"}),
    ]
)
_ERRORS = st.sampled_from([{}, {"error": "no"}, {"error": {"message": "no", "api_key": "k" * 20}}])
_OUTPUTS = st.sampled_from([{}, {"output": {"a": 1}}, {"output": {"b": 1, "c": 2}}])
_MORE = st.sampled_from([{}, {}, {"flow_name": FLOW}, {"n": 1}, {"n": 2**70}, {"text": "nul \x00"}])


def _saying(event_type: str, *parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[str]:
    def frame(drawn: tuple[dict[str, Any], ...]) -> str:
        return json.dumps({"event_type": event_type} | {name: value for part in drawn for name, value in part.items()})

    return st.tuples(_TIMES, _MORE, *parts).map(frame)


EVENTS = st.one_of(
    _saying("flow_started"),
    _saying("task_started", _TASKS),
    _saying("task_started", _TASKS),
    _saying("task_completed", _TASKS),
    _saying("task_failed", _TASKS, _ERRORS),
    _saying("task_paused", _TASKS),  # a type that nobody has heard of
    _saying("heartbeat"),
    _saying("flow_completed", _OUTPUTS),
    _saying("flow_error", _ERRORS),
)
BAD: list[Frame] = [
    "{", "[1]", b'{"event_type": "x"}', "[" * 100, '{"event_type": "x"} y', '{"event_type": "x", "n": NaN}',
    '{"event_type": "x", "run_name": "another"}', '{"event_type": "task_started"}', '{"event_type": 7}',
]  # fmt: skip
NOISE: list[Frame] = ['{"type": "pong"}', "Echoing: x"]
FRAMES = st.lists(st.one_of(EVENTS, EVENTS, EVENTS, st.sampled_from(BAD + NOISE)), min_size=1, max_size=5)
IN_ANY_ORDER = FRAMES.flatmap(lambda frames: st.tuples(st.just(frames), st.permutations(frames)))
NEWS = st.tuples(EVENTS, st.booleans())
AGAIN = st.tuples(st.integers(0, 9) | st.just(99), st.none() | st.randoms(use_true_random=False))
DIES_BEFORE, DIES_AFTER, LOSES_THE_ANSWER = "dies before the commit", "dies after it", "loses the answer"
FATES = st.sampled_from([*[""] * 8, DIES_BEFORE, DIES_AFTER, LOSES_THE_ANSWER])


def is_event(frame: Frame) -> bool:
    return frame not in BAD and frame not in NOISE


# --- a worker -----------------------------------------------------------------------------------------------------


class Died(Exception):
    """The worker is gone in the midst of a write."""


class CountingWriter(writer.Writer):
    under_way = 0

    async def submit(self, change: Change) -> None:
        self.under_way += 1
        try:
            await super().submit(change)
        finally:
            self.under_way -= 1


class Worker:
    """A writer, the follower of one run, and the wire on which that follower hears the upstream."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.connected = self.finished = False  # finished: nobody needs to follow the run any more
        self._fate = self._befallen = ""  # of the next commit
        self._heard: asyncio.Queue[Happening | None] = asyncio.Queue()  # None: it has left, and there is no more
        self._idle = asyncio.Event()
        self._writer = CountingWriter(self._commit, self._ring)
        self._follower = Follower(claim, self._writer, may_act=lambda: True)

    def _commit(self, changes: Sequence[Change], *, again: bool = False) -> set[int]:
        fate, self._fate = self._fate, ""
        self._befallen = fate or self._befallen
        if fate == DIES_BEFORE:
            raise Died
        fenced = store.commit(changes, again=again)
        if fate == DIES_AFTER:
            raise Died
        if fate == LOSES_THE_ANSWER:
            raise OperationalError("the connection broke before the answer came")
        return fenced

    async def _ring(self, runs: set[int]) -> None:
        """Nobody looks at the pages."""

    async def wire(self, url: str, leave: asyncio.Event, *, compression: bool) -> AsyncGenerator[Happening]:
        while True:
            if self._heard.empty():
                self._idle.set()
            what = await self._heard.get()
            if what is None:
                return
            yield what

    async def start(self, fate: str) -> str:
        """Load the run and begin. Returns which fate struck."""
        self._tasks = asyncio.create_task(self._follower.run()), asyncio.create_task(self._writer.run())
        return await self._until_idle(fate)

    async def hear(self, what: Happening, fate: str = "") -> str:
        """Let the follower work through it. Returns which fate struck meanwhile."""
        self._idle.clear()
        self._heard.put_nowait(what)
        return await self._until_idle(fate)

    async def hand_over(self, arrived: Frames | None) -> None:
        """Told to go, it still has to write what had arrived."""
        self._idle.clear()
        self._follower.drain.set()
        if arrived:
            self._heard.put_nowait(arrived)
        self._heard.put_nowait(None)
        await self._until_idle("")

    async def _until_idle(self, fate: str) -> str:
        self._fate, self._befallen = fate, ""
        idle = asyncio.create_task(self._idle.wait())
        async with asyncio.timeout(60):
            await asyncio.wait({idle, self._tasks[0]}, return_when=asyncio.FIRST_COMPLETED)
            turns = 0
            while turns < 20 and self.alive:  # for what is due at once, and its writes
                turns = 0 if self._writer.under_way else turns + 1
                await asyncio.sleep(0.001 if self._writer.under_way else 0)
        idle.cancel()
        self._fate = ""
        if self._tasks[0].done():
            self.finished = self._tasks[0].exception() is None and self._tasks[0].result()
            await self.die()
        return self._befallen

    async def die(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    @property
    def failed_with(self) -> BaseException | None:
        """What ended the follower, where it did not end in order."""
        return self._tasks[0].exception() if self._tasks[0].done() else None

    @property
    def alive(self) -> bool:
        return not self._tasks[0].done()


# --- the life of a run --------------------------------------------------------------------------------------------


class Life(RuleBasedStateMachine):
    """A run, its upstream, its present worker, and those who do not know yet that they were replaced."""

    struck: Counter[str] = Counter()  # over all examples: what really happened

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.stale: list[Worker] = []

    @initialize(planned=st.booleans())
    def a_run_begins(self, planned: bool) -> None:
        definition = make_definition("a", "b", flow_name=FLOW)
        self.plan = plans.read(definition) if planned else None
        launched = {"definition": definition, "inputs": {}, "sealed": "never opened", "plan": self.plan}
        self.run = store.create_run(
            upstream=make_upstream(),
            flow_name=FLOW,
            run_name=f"run {next(_numbers)}",
            user_id=None,
            **(launched if planned else {}),
        )
        Launch.objects.filter(run=self.run).update(sent_at=START)
        self.masker = vault.masker(self.run.upstream)
        self.said: list[Frame] = []  # by the upstream, in its order, whether anybody heard it or not
        self.kept: list[Counter[Frame]] = []  # for each connection the frames that were made durable
        self.worker: Worker | None = None
        self.over = self.gap_due = self.committed = False  # the last one: what the last step wrote

    def teardown(self) -> None:
        for worker in filter(None, (self.worker, *self.stale)):
            self.loop.run(worker.die())
        self.loop.close()
        Stream.objects.update(active=False)

    # --- the steps

    @rule(frames=IN_ANY_ORDER, again=AGAIN, fates=st.tuples(FATES, FATES, FATES, FATES))
    def it_hears_something_new(
        self, frames: tuple[list[Frame], list[Frame]], again: Again, fates: tuple[str, str, str, str]
    ) -> None:
        """The usual case, so whatever is needed for it comes first: a worker, and its connection."""
        said, delivered = frames
        if self.over:
            self.a_run_begins(planned=self.plan is None)
        if not self.worker:
            self._come(fates[0])
        if self.worker and not self.worker.connected:
            self._connect(again, fates[1:3])
        self.said += said
        if self.worker:
            self._hear_frames(delivered, said, fates[3])

    @precondition(lambda self: self.worker and self.worker.connected and self.said)
    @rule(again=AGAIN, fate=FATES)
    def it_hears_something_again(self, again: Again, fate: str) -> None:
        self._hear_again(again, fate)

    @precondition(lambda self: not (self.worker and self.worker.connected))
    @rule(frames=FRAMES)
    def nobody_hears_something(self, frames: list[Frame]) -> None:
        self.said += frames

    @precondition(lambda self: self.worker and self.worker.connected)
    @rule(fate=FATES)
    def its_connection_breaks(self, fate: str) -> None:
        self._break(fate)

    @precondition(lambda self: self.worker and self.worker.connected)
    @rule(again=AGAIN, fates=st.tuples(FATES, FATES, FATES))
    def it_connects_again(self, again: Again, fates: tuple[str, str, str]) -> None:
        self._break(fates[0])
        if self.worker:
            self._connect(again, fates[1:])

    @precondition(lambda self: self.worker)
    @rule()
    def the_worker_dies_while_it_waits(self) -> None:
        assert self.worker
        self.loop.run(self.worker.die())
        self.struck["crash"] += 1
        self._nobody_follows()

    @precondition(lambda self: self.worker)
    @rule(frames=st.none() | FRAMES)
    def the_worker_hands_over(self, frames: list[Frame] | None) -> None:
        assert self.worker
        arrived = frames if frames and self.worker.connected else None
        self.loop.run(self.worker.hand_over(Frames([(frame, time.time()) for frame in arrived]) if arrived else None))
        self.said += frames or []
        if arrived:
            self.kept[-1].update(arrived)
        assert (self.worker.alive, self.worker.finished, self.worker.failed_with) == (False, False, None)
        store.release(self.worker.claim)
        self.worker = None

    @precondition(lambda self: self.worker)
    @rule(fate=FATES, news=st.none() | NEWS)
    def another_worker_takes_over(self, fate: str, news: News | None) -> None:
        """The present one was stopped for longer than its lease, and goes on without knowing: at once, or later."""
        assert self.worker
        self.stale.append(self.worker)
        self._nobody_follows()
        self._come(fate)
        if news:
            self._wake_up(self.stale.pop(), news)

    @precondition(lambda self: self.stale)
    @rule(news=NEWS)
    def one_that_was_replaced_wakes_up(self, news: News) -> None:
        self._wake_up(self.stale.pop(0), news)

    # --- what they are made of

    def _wake_up(self, worker: Worker, news: News) -> None:
        """Whatever it hears, it wants to write, and must find that it may not."""
        frame, away = news
        if away and worker.connected:
            self.loop.run(worker.hear(Away(time.time(), "the connection broke", was_connected=True)))
        else:
            self.loop.run(worker.hear(Frames([(json.dumps({**json.loads(frame), "unheard": 1}), time.time())])))
        assert isinstance(worker.failed_with, Fenced)
        self.struck["takeover"] += 1

    def _come(self, fate: str) -> None:
        (claim,) = store.claim(f"worker {next(_numbers)}", 100)
        assert store.claim("a rival", 100) == []
        missed = claim.epoch > 1 and self.row.last_seq > 0 and not self.row.ended
        self.worker = Worker(claim)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stream, "follow", self.worker.wire)
            self._note(self.loop.run(self.worker.start(fate)))
        self.gap_due |= missed and self.committed

    def _connect(self, again: Again, fates: tuple[str, ...]) -> None:
        """The upstream tells the newcomer none, some or all of what was said before."""
        assert self.worker
        self.worker.connected = True
        self.kept.append(Counter())
        self._hear(Connected(time.time()), fates[0])
        if self.worker:
            self._hear_again(again, fates[1])

    def _break(self, fate: str) -> None:
        assert self.worker
        self.worker.connected = False
        going_on = not self.row.ended
        self._hear(Away(time.time(), "the connection broke", was_connected=True), fate)
        self.gap_due |= going_on and self.committed

    def _hear_again(self, again: Again, fate: str) -> None:
        number, shuffled = again
        ordered = self.said[-number:] if number else []
        delivered = list(ordered)
        if shuffled:
            shuffled.shuffle(delivered)
        if delivered:
            self._hear_frames(delivered, ordered, fate)

    def _hear_frames(self, delivered: list[Frame], ordered: list[Frame], fate: str) -> None:
        repeated = any(frame in count for frame in delivered if is_event(frame) for count in self.kept)
        late = self.row.ended
        self._hear(Frames([(frame, time.time()) for frame in delivered]), fate)
        if self.committed:
            self.kept[-1].update(delivered)
            self.struck["repeat"] += repeated
            self.struck["reorder"] += delivered != ordered
            self.struck["late"] += late

    def _hear(self, what: Happening, fate: str) -> None:
        assert self.worker
        self._note(self.loop.run(self.worker.hear(what, fate)))

    def _note(self, fate: str) -> None:
        """What has become of the present worker, whom this fate struck."""
        assert self.worker
        self.committed = fate != DIES_BEFORE
        self.struck["answer lost"] += fate == LOSES_THE_ANSWER
        if self.worker.alive:
            return
        self.over = not Stream.objects.get(run=self.run).active
        assert self.row.ended or not self.over
        if self.worker.failed_with:
            assert isinstance(self.worker.failed_with, Died), self.worker.failed_with
            self.struck["crash"] += 1
        else:
            assert (self.worker.finished, self.over) == (True, True)
        self._nobody_follows()

    def _nobody_follows(self) -> None:
        """Time passes, and with it the lease of whoever followed."""
        Stream.objects.filter(run=self.run, active=True).update(lease_until=0.0)
        self.worker = None

    # --- what must hold

    @property
    def row(self) -> Run:
        return Run.objects.get(pk=self.run.pk)

    @invariant()
    def every_event_that_was_received_and_committed_is_there_once(self) -> None:
        rows = list(Event.objects.filter(run=self.run).order_by("seq"))
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        assert self.row.last_seq == len(rows)
        due, receipts = self._due()
        stored, received = Counter[str](), Counter[str]()
        for row in rows:
            stored[_canonical(json.loads(row.payload))] += 1
            received[_canonical(json.loads(row.payload))] += row.receipts
        assert (due - stored, stored - due) == (Counter(), Counter()), "lost, doubled"
        assert received == receipts

    @invariant()
    def every_rejected_frame_is_counted(self) -> None:
        due = sum((count for count in self.kept), Counter())
        stored = Rejected.objects.filter(run=self.run).values_list("count", flat=True)
        assert sorted(stored) == sorted(times for frame, times in due.items() if frame in BAD)

    @invariant()
    def the_rows_are_what_the_events_fold_to_in_any_order(self) -> None:
        assert store.rebuild(self.run.pk) == []
        events = list(store.read_events(self.run.pk))
        gapped = self.row.gap_count > 0
        expected = self._shown(fold(events, self.plan, gapped=gapped))
        by_time = sorted(events, key=lambda event: (event.at, event.digest, event.occurrence))
        for order in (by_time, by_time[::-1], random.Random(len(events)).sample(events * 2, 2 * len(events))):
            assert self._shown(fold(order, self.plan, gapped=gapped)) == expected

    @invariant()
    def a_time_in_which_nobody_listened_is_shown_as_a_gap(self) -> None:
        gaps = list(Gap.objects.filter(run=self.run))
        assert gaps or not self.gap_due
        if self.worker and self.worker.connected:
            assert all(gap.ended_at is not None for gap in gaps)

    @invariant()
    def nobody_follows_a_run_that_is_over(self) -> None:
        if self.over:
            assert store.claim("a late one", 100) == []

    def _due(self) -> tuple[Counter[str], Counter[str]]:
        """Of each content, how many events there must be and how often they came.

        With a timestamp the same content is the same event; without one there are as many as one connection brought.
        """
        due, receipts = Counter[str](), Counter[str]()
        for count in self.kept:
            for frame, times in count.items():
                if not is_event(frame):
                    continue
                payload = json.loads(str(frame).replace("\\u0000", "\\\\u0000"))  # as it is kept
                content = _canonical(self.masker.value(payload))
                due[content] = 1 if "timestamp" in payload else max(due[content], times)
                receipts[content] += times
        return due, receipts

    def _shown(self, state: RunState) -> dict[str, Any]:
        """What rows show of a state, but for the places of tasks, which are those of their first appearance."""
        places = store.positions(state)
        tasks = {key: store.task_row(task, self.plan, places[key]) for key, task in state.tasks.items()}
        for row in tasks.values():
            del row["position"]
        return {"run": store.run_row(state, self.plan is not None), "tasks": tasks}


def _canonical(payload: dict[str, Any]) -> str:
    return json.dumps(payload, sort_keys=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(size(300, 3600))
def test_whatever_befalls_a_run_its_rows_hold_what_was_received_and_committed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "runs.worker.writer")  # it tells of every death
    settings.LINGER_SECONDS = NEVER
    monkeypatch.setattr(writer, "RETRY_SECONDS", (0.0,))
    Life.struck.clear()
    examples = size(30, 500)
    run_state_machine_as_test(
        Life,
        settings=hypothesis_settings(
            max_examples=examples,
            stateful_step_count=size(20, 30),
            deadline=None,
            derandomize=not FULL,  # what every commit runs does not fail by chance
            database=None,
            phases=size([Phase.generate], [Phase.generate, Phase.shrink]),  # shrinking takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
    kinds = ("crash", "takeover", "repeat", "reorder")
    assert min(Life.struck[kind] for kind in (*kinds, "late", "answer lost")) >= examples // 10, Life.struck
    injected = sum(Life.struck[kind] for kind in kinds)
    ledger.enter("state machine: crash, takeover, repeat, reorder", times=2 * examples, injected=injected)
