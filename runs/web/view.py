"""What a reader has asked of a run's page: filters, folds and the part in sight. It all stands in the address."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

from django.http import QueryDict

from runs.core.outline import View
from runs.history import MOST_EVENTS
from runs.models import Task

NAMES = ("find", "state", "errors", "fold", "open", "idle", "view")  # what of the address the server goes by
MOST_TEXT = 4000  # characters of a view
MOST_OPEN = 50  # folds
MOST_FIELDS = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page shows and has. `text`: the view as a query string, as the page wrote it; `first`: its first row.

    `shape`: which rows it has, in the words of the server. `task`: whose drawer is open. `log`: it holds the end of the
    event log and wants what comes. `wants`: it asks for something else than before, whether or not anything came.
    `at`: it wants the run as it stood right after this event; None: as it is now. `shows`: what it has, likewise.
    `guest`: it was let in by a link to this run, and is shown nothing else; never taken from what the page says.
    """

    text: str = ""
    first: int = 0
    shape: str = ""
    task: str = ""
    log: bool = True
    wants: bool = False
    at: int | None = None
    shows: int | None = None
    guest: bool = False

    @classmethod
    def of_page(cls, query: QueryDict, guest: bool = False) -> Self:
        """A page that is asked for: `?row=` is the first row that its reader had in sight."""
        chosen = QueryDict(mutable=True)
        for name in NAMES:
            if query.get(name):
                chosen.setlist(name, query.getlist(name)[:MOST_OPEN])
        return cls(
            _bounded(chosen.urlencode()),
            number(query.get("row")) or 0,
            task=query.get("task", "")[:300].replace("\0", ""),
            at=number(query.get("at")),
            guest=guest,
        )

    @classmethod
    def of_socket(cls, said: Mapping[str, Any], guest: bool = False) -> Self:
        """What a page says on its socket; nonsense is passed over."""
        return cls(
            _bounded(str(said.get("view") or "")),
            number(said.get("first")) or 0,
            str(said.get("shape") or "")[:60],
            str(said.get("task") or "")[:300].replace("\0", ""),
            said.get("log", "1") == "1",
            said.get("wants") == "1",
            number(said.get("at")),
            number(said.get("shows")),
            guest,
        )

    def within(self, last_seq: int) -> Self:
        """The same; of a past that there is not, as it is now."""
        return self if self.at is None or self.at <= farthest(last_seq) else replace(self, at=None)

    @property
    def only_follows(self) -> bool:
        """It wants what comes, and nothing else."""
        return not self.wants and self.at is None and self.shows is None

    @property
    def view(self) -> View:
        query = _parsed(self.text)
        return View(
            find=query.get("find", "").strip()[:300],
            states=frozenset(query.get("state", "").split(",")) & frozenset(Task.Status.values),
            errors=query.get("errors") == "1",
            fold=query.get("fold") != "0",
            opened=frozenset(query.getlist("open")[:MOST_OPEN]),
        )

    @property
    def hides_idle(self) -> bool:
        return _parsed(self.text).get("idle") == "hide"

    @property
    def as_graph(self) -> bool:
        return _parsed(self.text).get("view") == "graph"


@lru_cache(maxsize=1000)
def _parsed(text: str) -> QueryDict:
    return QueryDict(text)


def farthest(last_seq: int) -> int:
    """The last event of a run after which it can be seen as it stood then."""
    return min(last_seq, MOST_EVENTS)


def _bounded(text: str) -> str:
    return text if len(text) <= MOST_TEXT and text.count("&") < MOST_FIELDS else ""


def number(value: Any) -> int | None:
    """A count as a page writes it; None for anything else."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
