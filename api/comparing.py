"""The call that sets two runs side by side. What it says is computed in runs/comparing.py, for the page as well."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from django.http import HttpRequest
from ninja import Query, Router

from api import schemas
from api.lookup import site
from api.paging import cursor, cut, place
from api.runs import find
from runs import comparing
from runs.core.comparison import Pair, Side
from runs.core.difference import ABSENT, Difference
from runs.facts import Facts, run_facts

MOST_PLACES = 500  # at which what was launched is not the same

router = Router(tags=["runs"])


@router.get("/{int:run_id}/compare/{int:other_id}", response=schemas.ComparisonOut)
def compare_runs(request: HttpRequest, run_id: int, other_id: int, query: Query[schemas.ComparisonFilter]) -> Any:
    """How the run `other_id` differs from the run `run_id`: its tasks, and what both were launched with.

    Of a run that goes on it is told how it stands now.
    """
    before, after = find(run_id), find(other_id)
    launched = comparing.launch_differences(before, after)
    pairs = comparing.task_pairs(before, after)
    shown = [pair for pair in pairs if pair.change] if query.only_differences else pairs
    kind = f"compare-{run_id}-{other_id}-{query.only_differences:d}"
    (start,) = place(kind, query.cursor) or (0,)
    page, more = cut(shown[max(0, start) :][: query.limit + 1], query.limit)
    return {
        "before": run_facts(before, base_url=site(request)),
        "after": run_facts(after, base_url=site(request)),
        "launched": None if launched is None else _places(launched),
        "items": [_pair(pair) for pair in page],
        "next_cursor": cursor(kind, max(0, start) + query.limit) if more else None,
    }


def _places(found: Iterable[Difference]) -> Facts:
    places = list(islice(found, MOST_PLACES + 1))
    return {"places": [_place(one) for one in places[:MOST_PLACES]], "more": len(places) > MOST_PLACES}


def _place(one: Difference) -> Facts:
    change = "added" if one.before is ABSENT else "removed" if one.after is ABSENT else "changed"
    before, after = (None if value is ABSENT else value for value in (one.before, one.after))
    return {"place": one.place, "change": change, "before": before, "after": after}


def _pair(pair: Pair) -> Facts:
    return {
        "name": pair.side.name,
        "change": pair.change or None,
        "difference": pair.longer,
        "before": _side(pair.before),
        "after": _side(pair.after),
    }


def _side(side: Side | None) -> Facts | None:
    if side is None:
        return None
    return {"key": side.key, "status": side.status, "attempts": side.attempts, "duration": side.seconds}
