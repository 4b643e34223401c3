"""Two runs side by side: which task of the one is which of the other, and which pairs differ most."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from runs.core.difference import ABSENT, side_by_side
from runs.core.outline import TROUBLE

NOTICED_SECONDS: Final = 0.1  # less than that is the weather
NOTICED_PART: Final = 0.1  # of the longer duration

type Change = Literal["state", "before", "after", "attempts", "longer", "shorter", ""]


class Side(msgspec.Struct, frozen=True):
    """One task of one run. `attempts`: how many; `seconds`: of the last one, None while it has not ended."""

    key: str
    name: str
    position: int
    status: str
    inferred: bool
    attempts: int
    seconds: float | None


class Pair(msgspec.Struct, frozen=True):
    """One task in two runs; None where a run does not have it."""

    before: Side | None
    after: Side | None

    @property
    def side(self) -> Side:
        """The one that names it: the second run's where that has it."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def longer(self) -> float | None:
        """Seconds that it took longer in the second run, negative where it took less; None where that is not known."""
        if self.before is None or self.after is None or self.before.seconds is None or self.after.seconds is None:
            return None
        return self.after.seconds - self.before.seconds

    @property
    def change(self) -> Change:
        """What differs: of several things the first to be told; "" where nothing does that is worth a look."""
        if self.before is None or self.after is None:
            return "before" if self.after is None else "after"
        if self.before.status != self.after.status:
            return "state"
        if self.before.attempts != self.after.attempts:
            return "attempts"
        if self.longer is None or not noticed(self.before.seconds, self.after.seconds):
            return ""
        return "longer" if self.longer > 0 else "shorter"


def noticed(before: float | None, after: float | None) -> bool:
    """Whether two durations differ by more than they do from run to run anyway."""
    if before is None or after is None:
        return False
    return abs(after - before) >= max(NOTICED_SECONDS, NOTICED_PART * max(before, after))


def pairs(before: Iterable[Side], after: Iterable[Side]) -> list[Pair]:
    """The tasks of two runs side by side, in the order of their plans.

    Tasks of one key and one name belong together. What is left goes by its name, the first of a name with the first:
    keys of tasks that no definition names are ids, which may be new in every run.
    """
    old, new = list(before), list(after)
    shared = {(one.key, one.name) for one in old} & {(one.key, one.name) for one in new}
    matched = side_by_side(dict(_identified(old, shared)), dict(_identified(new, shared)))
    found = [Pair(_side(one), _side(other)) for _, one, other in matched]
    return sorted(found, key=lambda pair: (pair.side.position, pair.after is not None))


def by_difference(pairs: Sequence[Pair]) -> list[Pair]:
    """What differs most first: failures of one run alone, other states and lone tasks, other attempts, durations."""
    # Sorting keeps the order of equals, which is that of the plan.
    return sorted(pairs, key=_weight)


def counts(pairs: Iterable[Pair]) -> Counter[Change]:
    """How many pairs there are of each kind of change."""
    return Counter(pair.change for pair in pairs)


def _identified(sides: Iterable[Side], shared: set[tuple[str, str]]) -> Iterator[tuple[tuple[str, str | int], Side]]:
    numbers: Counter[str] = Counter()
    for one in sorted(sides, key=lambda side: side.position):
        if (one.key, one.name) in shared:
            yield (one.name, one.key), one
        else:
            yield (one.name, numbers[one.name]), one
            numbers[one.name] += 1


def _side(found: Side | msgspec.UnsetType) -> Side | None:
    return None if found is ABSENT else found


def _weight(pair: Pair) -> tuple[int, float]:
    change = pair.change
    if change == "state" and TROUBLE & {side.status for side in (pair.before, pair.after) if side}:
        return 0, 0.0
    if change in ("state", "before", "after"):
        return 1, 0.0
    return (2 if change == "attempts" else 3), -abs(pair.longer or 0.0)
