"""A run's stored events as the upstream's frames. Reads the database, and holds one batch at a time."""

import json
from typing import NamedTuple

from runs.core.decode import ESCAPED, unescaped
from runs.models import Event, Run

MOST, MOST_SIZE = 100, 128 * 1024  # frames, and characters of payload after which a batch takes no more
TERMINAL = ("flow_completed", "flow_error")  # after these the sample client may close
CHUNK = 8  # rows in memory beside the batch
NORMAL, NO_MORE = 1000, 4410

Ending = tuple[int, str]


class Batch(NamedTuple):
    frames: list[str]
    last: int  # seq of the last one; where there is none, what was asked for
    end: int | None  # the place among `frames` of the first that ends the run
    more: bool  # there may be further events already
    over: Ending | None  # nothing more will come: the code and the reason to close with


def read(run_id: int, after: int) -> Batch:
    """The events after this seq. Raises Run.DoesNotExist."""
    # The run first: what it says then of its end is true of all events that are read afterwards.
    run = Run.objects.only("status", "connection", "last_seq", "notice").get(pk=run_id)
    frames: list[str] = []
    last, size, end = after, 0, None
    rows = Event.objects.after(run_id, after, MOST).values_list("seq", "source", "event_type", "flags", "payload")
    for seq, source, event_type, flags, payload in rows.iterator(chunk_size=CHUNK):
        if end is None and event_type in TERMINAL:
            end = len(frames)
        frames.append(frame(seq, source, flags, payload))
        last, size = seq, size + len(payload)
        if size >= MOST_SIZE:
            break
    more = len(frames) == MOST or size >= MOST_SIZE
    return Batch(frames, last, end, more, ending(run) if last >= run.last_seq else None)


def frame(seq: int, source: str, flags: str, payload: str) -> str:
    """The frame as it came, masked, and its `_seq`. What we asked the upstream for ourselves is marked."""
    if ESCAPED in flags.split(","):
        payload = json.dumps(unescaped(json.loads(payload)), separators=(",", ":"))
    mark = "" if source == Event.Source.STREAM else f'"_source":"{source}",'
    head = payload.rstrip().removesuffix("}").rstrip()
    return f'{head}{"" if head.endswith("{") else ","}{mark}"_seq":{seq}}}'


def ending(run: Run) -> Ending | None:
    """How to close where nothing more will come of the run; None while something may: late events, too."""
    if not run.ended or run.connection != Run.Connection.CLOSED:
        return None
    if run.status in (Run.Status.SUCCEEDED, Run.Status.FAILED):
        return NORMAL, f"the run has {run.status}"
    return NO_MORE, f"no more events will come: the run is {run.status}"
