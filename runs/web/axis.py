"""Where the timeline of a run begins and how long it is."""

from dataclasses import dataclass

from runs.models import Run


@dataclass(frozen=True, slots=True)
class Axis:
    """The timeline's span: where zero is, and how many seconds are shown. Epoch seconds and seconds."""

    start: float
    length: float


def axis_of(run: Run, now: float) -> Axis:
    start = run.started_at if run.started_at is not None else run.created_at.timestamp()
    end = run.finished_at if run.finished_at is not None else now
    if run.finished_at is None and run.ended:  # stopped or lost: nothing after its last event is known
        end = run.connection_since or end
    return Axis(start, max(end - start, 0.5))
