"""A run as a file: one JSON value a line, and at the end how many there were and a digest of all. Version 1.

The first line is the head, then the run, what it was launched with where that is known, its tasks, gaps, quarantine and
events, then the end. All of it is masked, as it is stored. The digest is of the content, not of the bytes: written
with other blanks, or as one JSON document of the same records, the same run has the same one.
"""

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain
from typing import Any, Final, Literal

import msgspec

FORMAT: Final = "stepline-run"
VERSION: Final = 1


class Damaged(Exception):
    """The file is no whole export of a run: where, and why."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """The names of the fields are those of the tables; times are epoch seconds."""


class Head(Record, frozen=True, tag="head"):
    format: str
    version: int


class RunRecord(Record, frozen=True, tag="run"):
    """`created_by`: a user's name; `retry_of`: the run name of an earlier run of the same flow."""

    upstream: str
    flow_name: str
    run_name: str
    attached: bool
    status: str
    notice: str
    connection: str
    connection_since: float | None
    created_at: float
    created_by: str | None
    retry_of: str | None
    retry_number: int
    stop_requested: bool
    due_at: float | None
    overdue: bool
    silent_since: float | None
    started_at: float | None
    finished_at: float | None
    execution_time: float | None
    inferred: bool
    conflict: bool
    error: dict[str, Any] | None
    error_seq: int | None
    output_seq: int | None
    planned: bool
    tasks_total: int
    tasks_pending: int
    tasks_running: int
    tasks_succeeded: int
    tasks_failed: int
    tasks_skipped: int
    tasks_unknown: int
    current_task: str
    last_seq: int
    gap_count: int
    rejected_count: int


class LaunchRecord(Record, frozen=True, tag="launch"):
    definition: dict[str, Any]
    inputs: dict[str, Any]
    sent_at: float | None
    task_id: str


class TaskRecord(Record, frozen=True, tag="task"):
    key: str
    name: str
    tag: str
    function: str
    depends: list[str]
    position: int
    status: Literal["pending", "running", "succeeded", "failed", "skipped", "unknown"]
    inferred: bool
    attempts: list[dict[str, Any]]
    started_at: float | None
    finished_at: float | None
    duration: float | None
    error: dict[str, Any] | None
    input_seq: int | None
    output_seq: int | None
    error_seq: int | None


class GapRecord(Record, frozen=True, tag="gap"):
    reason: Literal["disconnected", "late", "takeover"]
    detail: str
    after_seq: int
    started_at: float | None
    ended_at: float | None


class RejectedRecord(Record, frozen=True, tag="rejected"):
    digest: str
    reason: str
    detail: str
    preview: str
    size: int
    count: int
    first_at: float
    last_at: float


class EventRecord(Record, frozen=True, tag="event"):
    seq: int
    source: Literal["stream", "status"]
    event_type: str
    task_key: str
    task_id: str
    task_name: str
    timestamp: float | None
    received_at: float
    digest: str
    occurrence: int
    receipts: int
    flags: str
    payload: Any


class End(Record, frozen=True, tag="end"):
    records: int  # before this one
    sha256: str


Kinds = Head | RunRecord | LaunchRecord | TaskRecord | GapRecord | RejectedRecord | EventRecord | End
# The order in which they come, and the lists of the JSON document that hold those of which there may be many.
ORDER: Final = (Head, RunRecord, LaunchRecord, TaskRecord, GapRecord, RejectedRecord, EventRecord, End)
LISTS: Final = {"tasks": "task", "gaps": "gap", "rejected": "rejected", "events": "event"}


class Seal:
    """The digest of the records so far, and how many they are."""

    def __init__(self) -> None:
        self._hash, self.records = sha256(), 0

    def add(self, record: Record) -> None:
        # Python's own writer: numbers of any size, and half characters as escapes.
        text = json.dumps(msgspec.to_builtins(record), sort_keys=True, separators=(",", ":"))
        self._hash.update(text.encode() + b"\n")
        self.records += 1

    def end(self) -> End:
        return End(self.records, self._hash.hexdigest())


def sealed(records: Iterable[Record]) -> Iterator[Record]:
    """A head before these records, and their end behind them."""
    seal = Seal()
    for record in chain((Head(FORMAT, VERSION),), records):
        seal.add(record)
        yield record
    yield seal.end()


def line(record: Record) -> str:
    return json.dumps(msgspec.to_builtins(record), separators=(",", ":"))


def document(records: Iterable[Record]) -> Iterator[str]:
    """The same as one JSON document, in parts: {format, version, run, launch?, tasks, gaps, rejected, events, end}."""
    names = {tag: name for name, tag in LISTS.items()}
    opened = ""
    for record in records:
        fields = msgspec.to_builtins(record)
        kind = fields.pop("kind")
        text = json.dumps(fields, separators=(",", ":"))
        name = names.get(kind, "")
        if opened and name != opened:
            yield "\n]"
        if kind == "head":
            yield text[:-1]
        elif name:
            yield f',\n"{name}":[\n{text}' if name != opened else f",\n{text}"
        else:
            yield f',\n"{kind}":{text}'
        opened = name
    yield "\n}\n"


def read(lines: Iterable[bytes]) -> Iterator[Record]:
    """The records of a file of lines, or of one document, without head and end. Raises Damaged, at its end at latest:
    nothing is to be believed before the last record has come.
    """
    seal, place, end = Seal(), 0, None
    for number, value in enumerate(_values(lines), 1):
        record = _record(number, value)
        if number == 1:
            _check_head(record)
        if end is not None:
            raise Damaged(f"record {number} stands behind the end")
        if ORDER.index(type(record)) < place or (place == 1 and type(record) is RunRecord):
            raise Damaged(f"record {number}, of kind {record.__struct_config__.tag}, is not in its place")
        place = ORDER.index(type(record))
        if isinstance(record, End):
            end = record
            continue
        seal.add(record)
        if not isinstance(record, Head):
            yield record
    if end is None:
        raise Damaged(f"it is cut off: {seal.records} records came, and no end")
    if end != seal.end():
        raise Damaged("its content is not what was exported: the digest differs")
    if seal.records < 2:
        raise Damaged("there is no run in it")


def _values(lines: Iterable[bytes]) -> Iterator[Any]:
    """The JSON value of each line. A document is taken apart into the same values."""
    known = iter(lines)
    first = next(known, b"")
    head = _json(1, first) if first.rstrip().endswith(b"}") else None
    if isinstance(head, dict) and "kind" in head:
        yield head
        for number, text in enumerate(known, 2):
            yield _json(number, text)
        return
    if head is not None and b"".join(known).strip():
        raise Damaged("more follows after the first line, which is a whole document")
    whole = head if head is not None else _json(1, first + b"".join(known))
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise Damaged(f"it is no export of a run: it does not begin with the format {FORMAT}")
    yield {"kind": "head", "format": whole.get("format"), "version": whole.get("version")}
    for name in ("run", "launch", *LISTS, "end"):
        for part in _parts(whole.get(name), name):
            yield {"kind": LISTS.get(name, name), **part}


def _parts(value: Any, name: str) -> list[dict[str, Any]]:
    parts = [] if value is None else value if name in LISTS else [value]
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise Damaged(f"{name} is not what it should be")
    return parts


def _json(number: int, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Damaged(f"line {number} is no JSON") from None


def _record(number: int, value: Any) -> Record:
    try:
        record: Record = msgspec.convert(value, Kinds)
    except msgspec.ValidationError as error:
        raise Damaged(f"record {number} is not what it should be: {error}") from None
    return record


def _check_head(record: Record) -> None:
    if not isinstance(record, Head) or record.format != FORMAT:
        raise Damaged(f"it is no export of a run: it does not begin with the format {FORMAT}")
    if record.version != VERSION:
        raise Damaged(f"it is of version {record.version}, and this is a Stepline that reads version {VERSION}")
