"""What changed since a flow last succeeded: the first question about a failed run."""

from typing import NamedTuple

from runs.comparing import last_good, launch_differences
from runs.models import Run
from runs.web.changes import Changes, changes

MOST_SHOWN = 6
MOST_COUNTED = 200
MOST_LETTERS = 120  # of a value


class SinceGood(NamedTuple):
    """`run`: the last one of the flow that succeeded before this one; None where none did.

    `changes`: None where not both were launched here, so that there is nothing to compare.
    """

    run: Run | None
    changes: Changes | None = None


def since_good(run: Run) -> SinceGood:
    """Compares what both were launched with, masked: equal secrets have equal marks."""
    good = last_good(run)
    found = launch_differences(good, run) if good else None
    if found is None:
        return SinceGood(good)
    return SinceGood(good, changes(found, MOST_SHOWN, letters=MOST_LETTERS, counted=MOST_COUNTED))
