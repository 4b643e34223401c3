"""The only writer of run, task, event and stream rows. Synchronous: Django has no async transactions.

Every write of a follower is fenced: in its transaction the stream row must still name this owner and this epoch.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Max, Sum
from django.db.models.functions import Greatest

from runs.core import plan as plans
from runs.core.events import Event as CoreEvent
from runs.core.events import StatusReport, typed
from runs.core.fingerprints import fingerprint
from runs.core.plan import Plan
from runs.core.searching import text_of
from runs.core.state import RunState, TaskState, TaskStatus, fold
from runs.core.text import storable
from runs.core.times import Lesson, Times, tasks_taught, taught, times_of
from runs.fields import dumps
from runs.models import (
    EpochNow,
    Event,
    Failure,
    Gap,
    Happening,
    Launch,
    Rejected,
    Run,
    SearchText,
    Stream,
    Task,
    UnsentTrace,
    Upstream,
    UsualTimes,
    Worker,
    Workflow,
)
from runs.updating import update

LEASE_SECONDS = 15.0
FORGET_SECONDS = 3600.0  # after its last beat a worker that was killed is listed no longer
MOST_REJECTED = 200  # distinct frames that a run keeps in quarantine; further ones are only counted


class Fenced(Exception):
    """Another worker follows this run now; nothing was written."""


class Claim(msgspec.Struct, frozen=True):
    run_id: int
    owner: str
    epoch: int


class RejectedFrame(msgspec.Struct, frozen=True):
    """A frame for the quarantine, its preview masked."""

    digest: str
    reason: str
    detail: str
    preview: str
    size: int
    at: float


class OpenGap(msgspec.Struct, frozen=True):
    reason: str
    after_seq: int
    started_at: float | None  # epoch seconds; None: since before the run was known
    ended_at: float | None = None
    detail: str = ""


class Happened(msgspec.Struct, frozen=True):
    """What somebody may want to be told of: the fields of a Happening."""

    kind: str
    at: float
    task_key: str = ""
    seq: int | None = None
    error: dict[str, Any] | None = None


class Retry(msgspec.Struct, frozen=True):
    """A new run of what a failed one was launched with, to be taken up after a pause."""

    number: int  # 1 for the first
    pause: float  # seconds


@dataclass(slots=True)
class Change:
    """One write to one run; `rev` is the run's rev after it."""

    claim: Claim
    rev: int
    run: dict[str, Any] = field(default_factory=dict)  # fields of Run
    launch: dict[str, Any] = field(default_factory=dict)  # fields of Launch
    events: list[CoreEvent] = field(default_factory=list)  # new ones, with seq, masked
    keys: dict[int, str] = field(default_factory=dict)  # seq -> task key
    receipts: dict[int, int] = field(default_factory=dict)  # seq -> how many more times it came
    tasks: list[dict[str, Any]] = field(default_factory=list)  # rows of Task
    gone: list[str] = field(default_factory=list)  # keys of tasks that turned out to be another
    rekeyed: dict[str, list[int]] = field(default_factory=dict)  # task key -> seqs of stored events that are its own
    rejected: list[RejectedFrame] = field(default_factory=list)
    close_gaps_at: float | None = None
    gap: OpenGap | None = None
    happened: list[Happened] = field(default_factory=list)  # what somebody may want to be told of
    retry: Retry | None = None  # launch the same again
    lesson: Lesson | None = None  # what it teaches of the flow's usual times, as it ends
    done: bool = False  # nobody needs to follow this run any more


# --- rows of a state ------------------------------------------------------------------------------------------


def run_row(state: RunState, planned: bool) -> dict[str, Any]:
    """The fields of Run that follow from the state."""
    terminal, counts = state.terminal, state.counts
    row: dict[str, Any] = {
        "started_at": state.started_at,
        "finished_at": state.finished_at,
        "execution_time": state.execution_time,
        "conflict": state.conflict,
        "inferred": terminal is not None and terminal.inferred,
        "error": terminal.error if terminal else None,
        "error_seq": terminal.seq if terminal and terminal.outcome == "failed" else None,
        "output_seq": terminal.seq if terminal and terminal.outcome == "succeeded" else None,
        "planned": planned,
        "tasks_total": len(state.tasks),
        "current_task": state.current_task,
        **{f"tasks_{status}": counts[status] for status in get_args(TaskStatus)},
    }
    if terminal:
        row["status"] = terminal.outcome
    return row


def task_row(task: TaskState, plan: Plan | None, position: int) -> dict[str, Any]:
    """The fields of Task that follow from the state."""
    last = task.attempts[-1] if task.attempts else None
    planned = plan.tasks[position] if plan and task.planned else None
    return {
        "key": task.key,
        "name": task.name,
        "tag": storable(planned.tag)[:300] if planned else "",
        "function": storable(planned.function)[:100] if planned else "",
        "depends": list(planned.depends) if planned else [],
        "position": position,
        "status": task.status,
        "inferred": task.inferred,
        "attempts": [msgspec.structs.asdict(attempt) for attempt in task.attempts],
        "started_at": task.attempts[0].started_at if task.attempts else None,
        "finished_at": last.finished_at if last else None,
        "duration": (
            max(0.0, last.finished_at - last.started_at)
            if last and last.started_at is not None and last.finished_at is not None
            else None
        ),
        "error": task.error,
        "input_seq": task.input_seq,
        "output_seq": task.output_seq,
        "error_seq": task.error_seq,
    }


def usual_columns(times: Times, name: str) -> dict[str, float | None]:
    """The fields of Task that say how long a task of this name usually takes."""
    usual = times.tasks.get(name)
    return {"usual_p50": usual.p50 if usual else None, "usual_p90": usual.p90 if usual else None}


def positions(state: RunState) -> dict[str, int]:
    """Each task's place on the page: planned order first, then order of first appearance."""
    return {key: place for place, key in enumerate(state.tasks)}


# --- creating -------------------------------------------------------------------------------------------------


def create_run(
    *,
    upstream: Upstream,
    flow_name: str,
    run_name: str,
    user_id: int | None,
    workflow: Workflow | None = None,
    workflow_version: int | None = None,
    retry_of_id: int | None = None,
    retry_number: int = 0,
    pause: float = 0.0,
    definition: dict[str, Any] | None = None,
    inputs: dict[str, Any] | None = None,
    sealed: str = "",
    plan: Plan | None = None,
) -> Run:
    """A run that waits for a worker: to be launched where there is a plan, else to be followed only.

    `pause`: seconds before a worker may take it. Its workflow's deadline is counted from then.
    Raises IntegrityError when the upstream has a run of this name already.
    """
    state = fold((), plan)
    with transaction.atomic():
        run = Run.objects.create(
            upstream=upstream,
            workflow=workflow,
            workflow_version=workflow_version,
            flow_name=flow_name,
            run_name=run_name,
            attached=plan is None,
            created_by_id=user_id,
            retry_of_id=retry_of_id,
            retry_number=retry_number,
            rev=1,
            **run_row(state, plan is not None),
        )
        if workflow is not None and workflow.deadline_seconds is not None:
            Run.objects.filter(pk=run.pk).update(due_at=EpochNow() + (pause + workflow.deadline_seconds))
        if plan is not None:
            Launch.objects.create(run=run, definition=definition, inputs=inputs, sealed=sealed)
        places = positions(state)
        times = usual_times(upstream.pk, flow_name) if state.tasks else Times()
        rows = (
            task_row(task, plan, places[key]) | usual_columns(times, task.name) for key, task in state.tasks.items()
        )
        Task.objects.bulk_create([Task(run=run, rev=1, added_rev=1, **row) for row in rows], batch_size=500)
        Stream.objects.create(run=run, claim_after=EpochNow() + pause if pause else None)
        SearchText.objects.create(run=run, text=text_of(flow_name, run_name, inputs))
    return run


def reseal_launch(run_id: int, before: str, after: str) -> bool:
    """Put another encryption of a launch in place of this one. False when it has changed, or gone, meanwhile."""
    return bool(Launch.objects.filter(run_id=run_id, sealed=before).update(sealed=after))


def request_stop(run_id: int) -> None:
    """Ask the run's follower to stop; the follower writes the state. A retry that still waits gets one at once."""
    Run.objects.filter(pk=run_id).update(stop_requested=True)
    Stream.objects.filter(run_id=run_id).update(claim_after=None)


# --- claims ---------------------------------------------------------------------------------------------------


def claim(owner: str, limit: int, passing_over: Iterable[int] = ()) -> list[Claim]:
    """Take up to `limit` runs that nobody follows. Who wins a row is decided by the conditional update."""
    wanted = Stream.objects.claimable().exclude(run_id__in=list(passing_over))[:limit]
    claims = []
    for run_id, epoch in list(wanted.values_list("run_id", "epoch")):
        won = (
            Stream.objects.claimable()
            .filter(run_id=run_id, epoch=epoch)
            .order_by()
            .update(owner=owner, epoch=epoch + 1, lease_until=EpochNow() + LEASE_SECONDS)
        )
        if won:
            claims.append(Claim(run_id, owner, epoch + 1))
    return claims


class Renewal(msgspec.Struct, frozen=True):
    held: frozenset[int]  # runs whose lease this worker still has
    stop: frozenset[int]  # those of them that a person wants stopped


def renew(
    owner: str, following: Collection[int], connected: Collection[int], figures: Mapping[str, Any] | None = None
) -> Renewal:
    """Renew this worker's leases together, and say which it still holds.

    `following`: the runs that it has a follower for; any other lease of its own is left to run out, so that the run is
    claimed again. `connected`: those of them whose socket is up. `figures`: what the worker has done so far, as fields
    of Figures. A lease that has run out and that nobody has taken is good again: a claim would have changed the owner.
    """
    mine = Stream.objects.filter(owner=owner, active=True, run_id__in=following)
    with transaction.atomic():
        # Locked in the order in which `commit` does it: else one of both would be stopped for a deadlock.
        list(mine.select_for_update().order_by("run_id").values_list("run_id"))
        mine.update(lease_until=EpochNow() + LEASE_SECONDS)
        if connected:
            mine.filter(run_id__in=connected).update(alive_at=EpochNow())
    Worker.objects.filter(beat_at__lt=EpochNow() - FORGET_SECONDS).delete()
    beat = {"beat_at": EpochNow(), "figures": figures}
    Worker.objects.update_or_create(name=owner, defaults=beat, create_defaults=beat | {"started_at": EpochNow()})
    rows = list(mine.values_list("run_id", "run__stop_requested"))
    return Renewal(frozenset(row[0] for row in rows), frozenset(row[0] for row in rows if row[1]))


def release(claim: Claim) -> None:
    """Give a run up so that another worker can take it at once."""
    Stream.objects.held(claim.owner, claim.epoch).filter(run_id=claim.run_id).update(owner="", lease_until=None)


def forget_leases() -> None:
    """Where one process does everything: whoever held a lease before it started is gone, so none is waited for."""
    with transaction.atomic():
        Stream.objects.filter(active=True).exclude(owner="").update(owner="", lease_until=None, epoch=F("epoch") + 1)
        Worker.objects.all().delete()


def sign_off(owner: str) -> None:
    """A worker that ends in order leaves no beat behind."""
    Worker.objects.filter(name=owner).delete()


# --- following ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Loaded:
    """All that a follower needs to go on where the last one ended."""

    run: Run
    launch: Launch | None
    plan: Plan | None
    state: RunState
    alive_at: float | None
    open_gap: bool
    received_at: float  # the latest time of receipt among the events; 0 before the first
    quiet: float  # seconds since something was last heard of the run: a frame, its launch, its creation
    due_in: float | None  # seconds until it is overdue


def read_events(run_id: int, *, after: int = 0, until: int | None = None) -> Iterable[CoreEvent]:
    """The stored events as the core knows them, by seq: those after one, up to another."""
    rows = Event.objects.filter(run_id=run_id, seq__gt=after).order_by("seq")
    if until is not None:
        rows = rows.filter(seq__lte=until)
    for row in rows.iterator(chunk_size=500):
        yield typed(
            msgspec.json.decode(row.payload),
            digest=row.digest,
            received_at=row.received_at,
            flags=tuple(filter(None, row.flags.split(","))),
            occurrence=row.occurrence,
            seq=row.seq,
            from_status=row.source == Event.Source.STATUS,
        )


def usual_times(upstream_id: int, flow_name: str) -> Times:
    """How long this flow and its tasks usually take: one row, whatever the history."""
    found = UsualTimes.objects.filter(upstream_id=upstream_id, flow_name=flow_name).values_list("whole", "tasks")
    whole, tasks = found.first() or ([], {})
    return times_of(whole, tasks.items())


def load(run_id: int) -> Loaded:
    """The run, and its state folded again from its events. Raises Run.DoesNotExist."""
    run = Run.objects.select_related("upstream", "workflow", "launch", "stream").get(pk=run_id)
    now: float = Stream.objects.annotate(now=EpochNow()).values_list("now", flat=True).get(run_id=run_id)
    launch = run.launch if hasattr(run, "launch") else None
    plan = plans.read(launch.definition) if launch else None
    gaps = list(Gap.objects.filter(run_id=run_id).values_list("ended_at", flat=True))
    state = fold(read_events(run_id), plan, gapped=bool(gaps))
    received_at = Event.objects.filter(run_id=run_id).aggregate(last=Max("received_at"))["last"] or 0.0
    heard = (run.created_at.timestamp(), run.stream.last_frame_at, launch.sent_at if launch else None)
    return Loaded(
        run=run,
        launch=launch,
        plan=plan,
        state=state,
        alive_at=run.stream.alive_at,
        open_gap=None in gaps,
        received_at=received_at,
        quiet=max(0.0, now - max(filter(None, heard))),
        due_in=None if run.due_at is None else run.due_at - now,
    )


def commit(changes: Sequence[Change], *, again: bool = False) -> set[int]:
    """Write all of these in one transaction. Returns the runs that are fenced: of those nothing was written.

    `again`: the outcome of an earlier try is not known; changes that it did commit are left alone.
    """
    fenced: set[int] = set()
    with transaction.atomic():
        good = []
        for change in sorted(changes, key=lambda change: change.claim.run_id):
            claim = change.claim
            row: dict[str, Any] = {"owner": claim.owner}
            if change.events or change.receipts or change.rejected:
                row = {"alive_at": EpochNow(), "last_frame_at": EpochNow()}
            if change.done:
                row |= {"active": False, "lease_until": None}
            if not update(Stream, row, run_id=claim.run_id, owner=claim.owner, epoch=claim.epoch):  # the fence
                fenced.add(claim.run_id)
            elif not (again and Run.objects.filter(pk=claim.run_id, rev__gte=change.rev).exists()):
                good.append(change)
        _insert_events(good)
        _upsert_tasks(good)
        for change in good:
            _write_rest(change)
        _note_happenings(good)
        _note_traces(good)
        if ended := [change.claim.run_id for change in good if change.run.get("status") in Run.ENDED]:
            note_ends(ended)
        _learn(good)
    return fenced


_EVENT_COLUMNS = (
    "run_id", "seq", "source", "event_type", "task_key", "task_id", "task_name", "timestamp", "received_at",
    "digest", "occurrence", "receipts", "flags", "payload",
)  # fmt: skip
_TASK_COLUMNS = (
    "run_id", "rev", "added_rev", "key", "name", "tag", "function", "depends", "position", "status", "inferred",
    "attempts", "started_at", "finished_at", "duration", "error", "input_seq", "output_seq", "error_seq",
    "usual_p50", "usual_p90",
)  # fmt: skip
_JSON_COLUMNS = {"depends", "attempts", "error"}
# What was usual when a task came is what it is measured by: so an old run's page stays as it was.
_UNCHANGING = {"run_id", "key", "added_rev", "usual_p50", "usual_p90"}


def _columns(names: Iterable[str]) -> str:
    return ", ".join(map(connection.ops.quote_name, names))


def _insert_events(changes: Sequence[Change]) -> None:
    """Raw SQL: half the cost of bulk_create on the path that every event takes."""
    rows = [
        (
            change.claim.run_id,
            event.seq,
            Event.Source.STATUS.value if isinstance(event, StatusReport) else Event.Source.STREAM.value,
            event.event_type,
            change.keys.get(event.seq, ""),
            event.task_id,
            event.task_name,
            event.timestamp,
            event.received_at,
            event.digest,
            event.occurrence,
            1,
            ",".join(event.flags),
            dumps(event.payload),
        )
        for change in changes
        for event in change.events
    ]
    if rows:
        places = ", ".join(["%s"] * len(_EVENT_COLUMNS))
        table = connection.ops.quote_name(Event._meta.db_table)
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} ({_columns(_EVENT_COLUMNS)}) VALUES ({places})", rows)


def _upsert_tasks(changes: Sequence[Change]) -> None:
    rows = []
    for change in changes:
        for task in change.tasks:
            row: Mapping[str, Any] = {
                "usual_p50": None, "usual_p90": None,
                **task, "run_id": change.claim.run_id, "rev": change.rev, "added_rev": change.rev,
            }  # fmt: skip
            rows.append(
                [
                    dumps(row[name]) if name in _JSON_COLUMNS and row[name] is not None else row[name]
                    for name in _TASK_COLUMNS
                ]
            )
    if rows:
        quote = connection.ops.quote_name
        places = ", ".join(["%s"] * len(_TASK_COLUMNS))
        updates = ", ".join(
            f"{quote(name)} = excluded.{quote(name)}" for name in _TASK_COLUMNS if name not in _UNCHANGING
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {quote(Task._meta.db_table)} ({_columns(_TASK_COLUMNS)}) VALUES ({places}) "
                f"ON CONFLICT ({_columns(('run_id', 'key'))}) DO UPDATE SET {updates}",
                rows,
            )


def _write_rest(change: Change) -> None:
    run_id = change.claim.run_id
    row: dict[str, Any] = {**change.run, "rev": change.rev}
    for seq, more in change.receipts.items():
        Event.objects.filter(run_id=run_id, seq=seq).update(receipts=F("receipts") + more)
    for key, seqs in change.rekeyed.items():
        Event.objects.filter(run_id=run_id, seq__in=seqs).update(task_key=key)
    if change.gone:
        Task.objects.filter(run_id=run_id, key__in=change.gone).delete()
        row["reset_rev"] = change.rev
    if change.close_gaps_at is not None:
        Gap.objects.filter(run_id=run_id, ended_at=None).update(ended_at=change.close_gaps_at)
    if change.gap:
        Gap.objects.create(run_id=run_id, **msgspec.structs.asdict(change.gap))
        Run.objects.filter(pk=run_id).update(gap_count=F("gap_count") + 1)
    if change.events:
        row["last_seq"] = change.events[-1].seq
    for frame in change.rejected:
        _quarantine(run_id, frame)
    if change.rejected:
        Run.objects.filter(pk=run_id).update(rejected_count=F("rejected_count") + len(change.rejected))
    if change.launch:
        Launch.objects.filter(run_id=run_id).update(**change.launch)
    update(Run, row, id=run_id)
    if change.retry:
        _create_retry(run_id, change.retry)


def _note_happenings(changes: Sequence[Change]) -> None:
    """One statement where something happened, and none else: whoever is told of it is told later, by others."""
    rows = [
        Happening(run_id=change.claim.run_id, **msgspec.structs.asdict(happened))
        for change in changes
        for happened in change.happened
    ]
    if rows:
        Happening.objects.bulk_create(rows)


def _note_traces(changes: Sequence[Change]) -> None:
    """Runs that nobody follows any more are to be sent as traces, where there is somebody to send them to."""
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        UnsentTrace.objects.bulk_create(
            [UnsentTrace(run_id=change.claim.run_id, next_at=EpochNow()) for change in changes if change.done]
        )


def _learn(changes: Sequence[Change]) -> None:
    """Take in what runs that have ended well teach. One row a flow, locked in the same order by every worker.

    A run that the row knows already, because it ended a second time, teaches nothing more.
    """
    taught_by = {change.claim.run_id: change.lesson for change in changes if change.lesson is not None}
    if not taught_by:
        return
    flows: dict[tuple[int, str], list[int]] = {}
    runs = Run.objects.filter(pk__in=taught_by).order_by("pk")
    for run_id, upstream_id, flow_name in runs.values_list("pk", "upstream_id", "flow_name"):
        flows.setdefault((upstream_id, flow_name), []).append(run_id)
    for (upstream_id, flow_name), run_ids in sorted(flows.items()):
        rows = UsualTimes.objects.select_for_update()
        row, _ = rows.get_or_create(upstream_id=upstream_id, flow_name=flow_name)
        known = {run_id for run_id, _ in row.whole}
        for run_id in run_ids:
            if run_id not in known:
                lesson = taught_by[run_id]
                row.whole = taught(row.whole, run_id, [lesson.seconds])
                row.tasks = tasks_taught(row.tasks, run_id, lesson.tasks)
        row.save()


def forget_happenings(ids: Collection[int]) -> None:
    """They have been taken up, in the transaction that this is called in."""
    Happening.objects.filter(pk__in=ids).delete()


def note_ends(ids: Collection[int]) -> None:
    """What is kept of runs that have ended, whatever they ended as before: how they failed, and what finds them.

    Counters are locked in the order of their fingerprints: else one of two workers would be stopped for a deadlock.
    """
    known = Run.objects.filter(pk__in=ids).select_related("launch", "failure")
    marked = [(_fingerprint(run), run) for run in known]
    for mark, run in sorted(marked, key=lambda pair: (pair[1].upstream_id, pair[1].flow_name, pair[0], pair[1].pk)):
        if mark != (run.failure.fingerprint if run.failure else ""):
            _count_failure(run, mark)
        if run.error:
            write_text(run)


def _fingerprint(run: Run) -> str:
    """Of a failed run; '' of any other."""
    if run.status != Run.Status.FAILED:
        return ""
    task = run.first_failed_task()
    return fingerprint(task.name if task else "", (task.error if task else None) or run.error)


def _count_failure(run: Run, mark: str) -> None:
    """Once for each run, in the counter of this fingerprint; '' takes it out of the one that counts it now."""
    if run.failure:
        Failure.objects.filter(pk=run.failure.pk).update(count=F("count") - 1)
    now: dict[str, Any] = {"failure": None, "failure_number": None}
    if mark:
        task = run.first_failed_task()
        at = run.finished_at if run.finished_at is not None else run.created_at.timestamp()
        kind, _ = Failure.objects.get_or_create(
            upstream_id=run.upstream_id,
            flow_name=run.flow_name,
            fingerprint=mark,
            defaults={
                "task_name": task.name if task else "",
                "error": (task.error if task else None) or run.error,
                "first_at": at,
                "last_at": at,
            },
        )
        counter = Failure.objects.filter(pk=kind.pk)
        counter.update(count=F("count") + 1, last_at=Greatest("last_at", at))
        now = {"failure": kind, "failure_number": counter.values_list("count", flat=True).get()}
    Run.objects.filter(pk=run.pk).update(**now)


def write_text(run: Run) -> None:
    """What finds the run by text now. `run`: with its launch, where it has one."""
    launch: Launch | None = getattr(run, "launch", None)
    text = text_of(run.flow_name, run.run_name, launch.inputs if launch else None, run.error)
    if not SearchText.objects.filter(run=run).update(text=text):
        SearchText.objects.create(run=run, text=text)


def _create_retry(run_id: int, retry: Retry) -> None:
    """In the transaction that ends the failed run, so that there is one retry whatever is killed or sent again."""
    failed = Run.objects.select_related("upstream", "workflow", "launch", "retry_of").get(pk=run_id)
    first = failed.retry_of if failed.retry_number and failed.retry_of else failed
    name = f"{first.run_name[:270]}-retry-{retry.number}"
    if Run.objects.filter(upstream=failed.upstream, flow_name=failed.flow_name, run_name=name).exists():
        name = f"{name}-{secrets.token_hex(3)}"
    create_run(
        upstream=failed.upstream,
        flow_name=failed.flow_name,
        run_name=name,
        user_id=failed.created_by_id,
        workflow=failed.workflow,
        workflow_version=failed.workflow_version,
        retry_of_id=first.pk,
        retry_number=retry.number,
        pause=retry.pause,
        definition=failed.launch.definition,
        inputs=failed.launch.inputs,
        sealed=failed.launch.sealed,
        plan=plans.read(failed.launch.definition),
    )


def _quarantine(run_id: int, frame: RejectedFrame) -> None:
    """Keep the frame, or count it where it is known. A run cannot fill the disk with ever new nonsense."""
    quarantine = Rejected.objects.filter(run_id=run_id)
    if quarantine.filter(digest=frame.digest, reason=frame.reason).update(count=F("count") + 1, last_at=frame.at):
        return
    if quarantine.count() >= MOST_REJECTED:
        frame = RejectedFrame("", "more", "Further frames; what they held was not kept.", "", 0, frame.at)
        if quarantine.filter(reason=frame.reason).update(count=F("count") + 1, last_at=frame.at):
            return
    Rejected.objects.create(
        run_id=run_id,
        digest=frame.digest,
        reason=frame.reason,
        detail=frame.detail[:300],
        preview=frame.preview,
        size=frame.size,
        first_at=frame.at,
        last_at=frame.at,
    )


# --- rebuilding -----------------------------------------------------------------------------------------------


def rebuild(run_id: int, *, fix: bool = False) -> list[str]:
    """Fold the stored events again. Returns one sentence for each difference from what is stored.

    `fix` writes the folded state over it, unless somebody follows the run now. The row of the stream is locked: a
    follower cannot write between the reading of the run and that of its events.
    """
    with transaction.atomic():
        stream = Stream.objects.select_for_update().filter(run_id=run_id)
        list(stream)
        loaded = load(run_id)
        places = positions(loaded.state)
        run = run_row(loaded.state, loaded.plan is not None)
        tasks = {key: task_row(task, loaded.plan, places[key]) for key, task in loaded.state.tasks.items()}
        counted = _counted(run_id)
        differences = _differences(loaded.run, run | counted, tasks)
        if fix and differences and not stream.filter(lease_until__gte=EpochNow()).exists():
            rev = loaded.run.rev + 1
            stream.update(epoch=F("epoch") + 1)  # a follower that has lost its lease must not write over this
            kept = {task.key: task for task in Task.objects.filter(run_id=run_id)}
            for key, row in tasks.items():
                if key in kept:
                    row |= {"usual_p50": kept[key].usual_p50, "usual_p90": kept[key].usual_p90}
            Task.objects.filter(run_id=run_id).delete()
            Task.objects.bulk_create(
                [Task(run_id=run_id, rev=rev, added_rev=rev, **row) for row in tasks.values()], batch_size=500
            )
            Run.objects.filter(pk=run_id).update(**run, **counted, rev=rev, reset_rev=rev)
            note_ends([run_id])
        return differences


def _counted(run_id: int) -> dict[str, int]:
    """The fields of Run that count other rows."""
    return {
        "last_seq": Event.objects.filter(run_id=run_id).aggregate(last=Max("seq"))["last"] or 0,
        "gap_count": Gap.objects.filter(run_id=run_id).count(),
        "rejected_count": Rejected.objects.filter(run_id=run_id).aggregate(all=Sum("count"))["all"] or 0,
    }


def _differences(stored: Run, run: dict[str, Any], tasks: dict[str, dict[str, Any]]) -> list[str]:
    found = [
        f"{name} is {getattr(stored, name)!r}, the events say {value!r}"
        for name, value in run.items()
        if getattr(stored, name) != value
    ]
    events = Event.objects.filter(run_id=stored.pk).count()
    if events != run["last_seq"]:
        found.append(f"the last event is number {run['last_seq']}, and {events} are stored")
    rows = {task.key: task for task in Task.objects.filter(run_id=stored.pk)}
    for key in sorted(rows.keys() | tasks.keys()):
        if key not in tasks:
            found.append(f"task {key!r} is stored, no event speaks of it")
        elif key not in rows:
            found.append(f"task {key!r} is missing")
        else:
            found += [
                f"task {key!r}: {name} is {getattr(rows[key], name)!r}, the events say {value!r}"
                for name, value in tasks[key].items()
                if getattr(rows[key], name) != value
            ]
    return found
