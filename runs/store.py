"""The only writer of run, task, event and stream rows. Synchronous: Django has no async transactions.

Every write of a follower is fenced: in its transaction the stream row must still name this owner and this epoch.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec
from django.db import connection, transaction
from django.db.models import F, Max, Sum

from runs.core import plan as plans
from runs.core.events import Event as CoreEvent
from runs.core.events import StatusReport, typed
from runs.core.plan import Plan
from runs.core.state import RunState, TaskState, TaskStatus, fold
from runs.core.text import storable
from runs.fields import dumps
from runs.models import EpochNow, Event, Gap, Launch, Rejected, Run, Stream, Task, Upstream, Worker, Workflow

LEASE_SECONDS = 15.0


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


def positions(state: RunState) -> dict[str, int]:
    """Each task's place on the page: planned order first, then order of first appearance."""
    return {key: place for place, key in enumerate(state.tasks)}


# --- creating -------------------------------------------------------------------------------------------------


def create_run(
    *,
    upstream: Upstream,
    flow_name: str,
    run_name: str,
    deadline_seconds: float,
    user_id: int | None,
    workflow: Workflow | None = None,
    retry_of: Run | None = None,
    definition: dict[str, Any] | None = None,
    inputs: dict[str, Any] | None = None,
    sealed: str = "",
    plan: Plan | None = None,
) -> Run:
    """A run that waits for a worker: to be launched where there is a plan, else to be followed only.

    Raises IntegrityError when the upstream has a run of this name already.
    """
    state = fold((), plan)
    with transaction.atomic():
        run = Run.objects.create(
            upstream=upstream,
            workflow=workflow,
            flow_name=flow_name,
            run_name=run_name,
            attached=plan is None,
            created_by_id=user_id,
            retry_of=retry_of,
            rev=1,
            **run_row(state, plan is not None),
        )
        Run.objects.filter(pk=run.pk).update(deadline_at=EpochNow() + deadline_seconds)
        if plan is not None:
            Launch.objects.create(run=run, definition=definition, inputs=inputs, sealed=sealed)
        places = positions(state)
        Task.objects.bulk_create(
            [
                Task(run=run, rev=1, added_rev=1, **task_row(task, plan, places[key]))
                for key, task in state.tasks.items()
            ],
            batch_size=500,
        )
        Stream.objects.create(run=run)
    return run


def request_stop(run_id: int) -> None:
    """Ask the run's follower to stop; the follower writes the state."""
    Run.objects.filter(pk=run_id).update(stop_requested=True)


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


def renew(owner: str, following: Collection[int], connected: Collection[int]) -> Renewal:
    """Renew this worker's leases in one statement, and say which it still holds.

    `following`: the runs that it has a follower for; any other lease of its own is left to run out, so that the run is
    claimed again. `connected`: those of them whose socket is up.
    """
    mine = Stream.objects.filter(owner=owner, active=True, lease_until__gt=EpochNow(), run_id__in=following)
    mine.update(lease_until=EpochNow() + LEASE_SECONDS)
    if connected:
        mine.filter(run_id__in=connected).update(alive_at=EpochNow())
    Worker.objects.update_or_create(name=owner, defaults={"beat_at": EpochNow()}, create_defaults={
        "beat_at": EpochNow(), "started_at": EpochNow()
    })  # fmt: skip
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


def read_events(run_id: int) -> Iterable[CoreEvent]:
    """The stored events as the core knows them, by seq."""
    rows = Event.objects.filter(run_id=run_id).order_by("seq")
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


def load(run_id: int) -> Loaded:
    """The run, and its state folded again from its events. Raises Run.DoesNotExist."""
    run = Run.objects.select_related("upstream", "launch", "stream").get(pk=run_id)
    launch = run.launch if hasattr(run, "launch") else None
    plan = plans.read(launch.definition) if launch else None
    gaps = list(Gap.objects.filter(run_id=run_id).values_list("ended_at", flat=True))
    state = fold(read_events(run_id), plan, gapped=bool(gaps))
    return Loaded(run, launch, plan, state, run.stream.alive_at, None in gaps)


def commit(changes: Sequence[Change], *, again: bool = False) -> set[int]:
    """Write all of these in one transaction. Returns the runs that are fenced: of those nothing was written.

    `again`: the outcome of an earlier try is not known; changes that it did commit are left alone.
    """
    fenced: set[int] = set()
    with transaction.atomic():
        good = []
        for change in changes:
            claim = change.claim
            stream = Stream.objects.held(claim.owner, claim.epoch).filter(run_id=claim.run_id)
            row: dict[str, Any] = {"alive_at": EpochNow()} if change.events else {"owner": claim.owner}
            if change.done:
                row |= {"active": False, "lease_until": None}
            if not stream.update(**row):
                fenced.add(claim.run_id)
            elif not (again and Run.objects.filter(pk=claim.run_id, rev__gte=change.rev).exists()):
                good.append(change)
        _insert_events(good)
        _upsert_tasks(good)
        for change in good:
            _write_rest(change)
    return fenced


_EVENT_COLUMNS = (
    "run_id", "seq", "source", "event_type", "task_key", "task_id", "task_name", "timestamp", "received_at",
    "digest", "occurrence", "receipts", "flags", "payload",
)  # fmt: skip
_TASK_COLUMNS = (
    "run_id", "rev", "added_rev", "key", "name", "tag", "function", "depends", "position", "status", "inferred",
    "attempts", "started_at", "finished_at", "duration", "error", "input_seq", "output_seq", "error_seq",
)  # fmt: skip
_JSON_COLUMNS = {"depends", "attempts", "error"}
_UNCHANGING = {"run_id", "key", "added_rev"}


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
                **task, "run_id": change.claim.run_id, "rev": change.rev, "added_rev": change.rev
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
        row["gap_count"] = F("gap_count") + 1
    if change.events:
        row["last_seq"] = change.events[-1].seq
    for frame in change.rejected:
        _quarantine(run_id, frame)
    if change.rejected:
        row["rejected_count"] = F("rejected_count") + len(change.rejected)
    if change.launch:
        Launch.objects.filter(run_id=run_id).update(**change.launch)
    Run.objects.filter(pk=run_id).update(**row)


def _quarantine(run_id: int, frame: RejectedFrame) -> None:
    same = Rejected.objects.filter(run_id=run_id, digest=frame.digest, reason=frame.reason)
    if not same.update(count=F("count") + 1, last_at=frame.at):
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
            Task.objects.filter(run_id=run_id).delete()
            Task.objects.bulk_create(
                [Task(run_id=run_id, rev=rev, added_rev=rev, **row) for row in tasks.values()], batch_size=500
            )
            Run.objects.filter(pk=run_id).update(**run, **counted, rev=rev, reset_rev=rev)
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
