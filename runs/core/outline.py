"""The rows of a run's page as an outline: which there are under a reader's filters, in what order, and what folds.

An outline is kept while its run is watched: changed tasks are put in, and each page's rows are arranged anew.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from runs.core.timeline import Span, Stretch, idle

FOLD_ABOVE: Final = 5  # so many siblings of one name stay rows of their own
ERRORS_FIRST: Final = ("failed", "unknown", "running", "pending", "skipped", "succeeded")
TROUBLE: Final = frozenset({"failed", "unknown"})


class Item(msgspec.Struct, frozen=True):
    """One task. `error_seq`: the event of its last error, whatever became of it then. `rev`: when it last changed."""

    pk: int
    key: str
    name: str
    position: int
    status: str
    error_seq: int | None = None
    started_at: float | None = None
    finished_at: float | None = None
    rev: int = 0


class View(msgspec.Struct, frozen=True):
    """What a reader wants to see: `find` in the name, one of `states` (empty: any), errors only, folds or not.

    `opened`: names of folds that stand open.
    """

    find: str = ""
    states: frozenset[str] = frozenset()
    errors: bool = False
    fold: bool = True
    opened: frozenset[str] = frozenset()


class Fold(msgspec.Struct, frozen=True):
    """More than five siblings of one name as one row, where the first of them stands; those that failed come first.

    `pk`: of its first task in the order of the page, by which the fold is known.
    """

    pk: int
    name: str
    items: tuple[Item, ...]
    opened: bool

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many are in which state, errors first."""
        return sorted(Counter(item.status for item in self.items).items(), key=lambda count: _rank(count[0]))

    @property
    def status(self) -> str:
        """The state that a reader should know of first."""
        return self.counts[0][0]

    @property
    def rev(self) -> int:
        return max(item.rev for item in self.items)

    @property
    def envelope(self) -> Span:
        """From the first start to the last end; still running while one of them is."""
        starts = [item.started_at for item in self.items if item.started_at is not None]
        ends = [item.finished_at for item in self.items if item.finished_at is not None]
        running = any(item.status == "running" for item in self.items)
        return Span(
            min(starts, default=None),
            None if running else max(ends, default=None),
            "running" if running else self.status,
        )


type Line = Item | Fold


class Arranged(msgspec.Struct, frozen=True):
    """The rows from top to bottom; a task of one of the names in `folded` stands inside that fold.

    `front`: the row in which something began last; None where nothing has.
    """

    lines: list[Line]
    folded: frozenset[str]
    front: int | None

    def line_of(self, key: str) -> int | None:
        """Where the task of this key is to be found: its own row, or the closed fold that holds it."""
        for number, line in enumerate(self.lines):
            if isinstance(line, Item):
                if line.key == key:
                    return number
            elif not line.opened and any(item.key == key for item in line.items):
                return number
        return None

    def next_trouble(self, after: int) -> int | None:
        """The next row below `after` that has failed, or holds what has; from the top again when there is none."""
        found = [number for number, line in enumerate(self.lines) if _troubled(line)]
        return next((number for number in found if number > after), found[0] if found else None)


class Outline:
    """All tasks of one run. Not for several threads at once.

    What follows from all of them (order, names, which began last) is kept as they change: a run of ten thousand tasks
    is arranged anew for every batch of changes.
    """

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._ordered: list[Item] | None = []  # None: to be put in order
        self._places: dict[str, int] = {}  # in _ordered
        self._names: Counter[str] = Counter()
        self._many: set[str] = set()  # names of more than FOLD_ABOVE
        self._latest: Item | None = None  # of those that began last, the last in order

    def put(self, items: Iterable[Item]) -> None:
        """These are new, or have changed."""
        for item in items:
            old = self._items.get(item.key)
            self._items[item.key] = item
            if old is None or old.name != item.name:
                self._count(item.name, 1)
                if old is not None:
                    self._count(old.name, -1)
            if old is None or _position(old) != _position(item):
                self._ordered = None
            elif self._ordered is not None:
                self._ordered[self._places[item.key]] = item
            if self._latest is None or _beginning(item) >= _beginning(self._latest):
                self._latest = item
            elif self._latest is old:
                self._latest = max(self._items.values(), key=_beginning)

    def _count(self, name: str, by: int) -> None:
        self._names[name] += by
        if self._names[name] > FOLD_ABOVE:
            self._many.add(name)
        else:
            self._many.discard(name)

    def get(self, key: str) -> Item | None:
        return self._items.get(key)

    def items(self) -> list[Item]:
        return list(self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def arrange(self, view: View) -> Arranged:
        every = self._in_order()
        narrows = bool(view.states or view.errors or view.find)
        if not narrows and not (view.fold and self._many):
            latest = self._latest if self._latest and self._latest.started_at is not None else None
            return Arranged(list(every), frozenset(), self._places[latest.key] if latest else None)
        fitting = [item for item in every if _fits(item, view)] if narrows else every
        names = Counter(item.name for item in fitting) if view.fold else Counter[str]()
        folded = frozenset(name for name, count in names.items() if count > FOLD_ABOVE)
        lines: list[Line] = _folded(fitting, folded, view.opened) if folded else [*fitting]
        return Arranged(lines, folded, _front(lines))

    def idle(self, start: float) -> tuple[Stretch, ...]:
        """Where no task ran, in seconds since `start`. One that waits for its next attempt counts as running."""
        items = self._items.values()
        return idle(((item.started_at, item.finished_at, item.status == "running") for item in items), start)

    def _in_order(self) -> list[Item]:
        if self._ordered is None:
            self._ordered = sorted(self._items.values(), key=_position)
            self._places = {item.key: place for place, item in enumerate(self._ordered)}
        return self._ordered


def _folded(items: Iterable[Item], folded: frozenset[str], opened: frozenset[str]) -> list[Line]:
    siblings: dict[str, list[Item]] = {name: [] for name in folded}
    for item in items:
        if item.name in folded:
            siblings[item.name].append(item)
    lines: list[Line] = []
    for item in items:
        if item.name not in folded:
            lines.append(item)
        elif item is siblings[item.name][0]:
            # Only what failed moves up: an order by each state would sort rows again under the reader.
            inside = tuple(sorted(siblings[item.name], key=lambda one: one.status not in TROUBLE))
            lines.append(Fold(item.pk, item.name, inside, item.name in opened))
            lines.extend(inside if item.name in opened else ())
    return lines


def _front(lines: Iterable[Line]) -> int | None:
    best, place = float("-inf"), None
    for number, line in enumerate(lines):
        for item in (line,) if isinstance(line, Item) else () if line.opened else line.items:
            if item.started_at is not None and item.started_at >= best:
                best, place = item.started_at, number
    return place


def _beginning(item: Item) -> tuple[float, int, int]:
    return (float("-inf") if item.started_at is None else item.started_at, *_position(item))


def _position(item: Item) -> tuple[int, int]:
    return item.position, item.pk


def _rank(status: str) -> int:
    return ERRORS_FIRST.index(status) if status in ERRORS_FIRST else 1


def _troubled(line: Line) -> bool:
    if isinstance(line, Item):
        return line.status in TROUBLE
    return not line.opened and any(item.status in TROUBLE for item in line.items)


def _fits(item: Item, view: View) -> bool:
    return (
        (not view.states or item.status in view.states)
        and (not view.errors or item.error_seq is not None or item.status in TROUBLE)
        and (not view.find or view.find.lower() in item.name.lower())
    )
