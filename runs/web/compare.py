"""Two runs side by side. Everything that is shown stands in the address; payloads are read for the task that is open.

A is the run that came first, or is taken for the good one; what is told is how B differs from it.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.access import role_required
from accounts.models import Role
from runs import comparing
from runs.comparing import Launched
from runs.core.comparison import Change, Pair, Side, by_difference, counts, noticed
from runs.core.difference import ABSENT, Difference, differences
from runs.models import Event, Run, Task
from runs.templatetags.rows import seconds_taken, span, time_tag
from runs.web import in_and_out
from runs.web.changes import Changes, changes
from runs.web.forms import CompareForm
from runs.web.payloads import Payloads, payloads_of
from runs.web.view import number

PAGE_SIZE = 100  # rows
RECENT = 20  # runs of a flow that are offered in place of one that is shown
MOST_PLACES = 40  # of one value or definition
MOST_LETTERS = 300  # of a value
MOST_TASKS = 50  # whose definitions differ
HALF = 50.0  # of the bar's drawing: to the left of it B took less, to the right more

COUNTED: tuple[tuple[Change, str], ...] = (
    ("state", "in another state"),
    ("before", "only in A"),
    ("after", "only in B"),
    ("attempts", "with other attempts"),
    ("longer", "longer"),
    ("shorter", "shorter"),
    ("", "the same"),
)


class Bar(NamedTuple):
    """Where it begins and how wide it is, of twice HALF."""

    x: str
    width: str
    kind: str


class Row(NamedTuple):
    """`key`: by which the address names it, "" of the runs themselves. `opened`: what differs, where that is shown."""

    pair: Pair
    key: str
    words: str
    part: str
    bar: Bar | None
    opened: list[tuple[str, Changes]] | None

    @property
    def both(self) -> list[tuple[str, Side | None]]:
        return [("A", self.pair.before), ("B", self.pair.after)]


@require_safe
@role_required(Role.VIEWER)
def compare(request: HttpRequest) -> HttpResponse:
    """`?a=` and `?b=`: numbers of runs, or addresses of their pages. Of one alone the other is found; `run=` twice are
    the two that were chosen in the list.
    """
    query = request.GET
    if "run" in query:
        return _chosen(request, query.getlist("run"))
    form = CompareForm(query)
    if not form.is_valid():
        return render(request, "runs/compare_choose.html", {"form": form}, status=404)
    before, after = form.cleaned_data["a"], form.cleaned_data["b"]
    if before and after:
        if (query.get("a"), query.get("b")) != (str(before.pk), str(after.pk)):
            return redirect(_address(query, a=before.pk, b=after.pk))
        return render(request, "runs/compare.html", _page(before, after, query))
    one = before or after
    other = comparing.partner(one) if one else None
    if one and other:
        return redirect(_address(query, a=other.pk, b=one.pk))
    form = CompareForm(initial={"a": query.get("a", ""), "b": query.get("b", "")})
    others = _others(one, but=(one,)) if one else []
    return render(request, "runs/compare_choose.html", {"form": form, "alone": one, "others": others})


@require_safe
@role_required(Role.VIEWER)
def task(request: HttpRequest) -> HttpResponse:
    """What differs between the payloads of a task: `?before=` its key in run `a`, `?after=` in run `b`.

    Without keys: of the runs themselves.
    """
    numbers = number(request.GET.get("a")), number(request.GET.get("b"))
    if None in numbers:
        raise BadRequest("`a` and `b` are numbers of runs.")
    found = Run.objects.in_bulk(numbers)
    if len(found) < len(set(numbers)):
        raise Http404("There is no such run.")
    before, after = (found[one] for one in numbers)
    keys = {name: request.GET.get(name, "").replace("\0", "")[:300] for name in ("before", "after")}
    told = _of_tasks(before, after, *keys.values()) if any(keys.values()) else _of_runs(before, after)
    return render(request, "runs/_compare_task.html", {"opened": told, "a": before, "b": after, **keys})


# --- the address ---------------------------------------------------------------------------------------------


def _address(query: QueryDict, **names: Any) -> str:
    """Of the page, with these in place of what the address says."""
    changed = query.copy()
    for name, value in names.items():
        changed[name] = str(value)
    return f"{reverse('compare')}?{changed.urlencode()}"


def _chosen(request: HttpRequest, ticked: list[str]) -> HttpResponse:
    """To the comparison of the rows that were ticked in the list, the older one first."""
    ids = {one for one in map(number, ticked) if one is not None}
    if len(ids) > 2:
        form = CompareForm(dict(zip("ab", map(str, sorted(ids)), strict=False)))
        form.add_error(None, f"{len(ids)} runs were chosen, and a comparison takes two.")
        return render(request, "runs/compare_choose.html", {"form": form}, status=400)
    found = Run.objects.filter(pk__in=ids).order_by("created_at", "pk").values_list("pk", flat=True)
    return redirect(_address(QueryDict(), **dict(zip("ab" if len(ids) > 1 else "b", found, strict=False))))


# --- the page ------------------------------------------------------------------------------------------------


def _page(before: Run, after: Run, query: QueryDict) -> dict[str, Any]:
    every = comparing.task_pairs(before, after)
    shown = every if query.get("order") == "plan" else by_difference(every)
    if query.get("only") == "differences":
        shown = [pair for pair in shown if pair.change]
    pages = max(1, -(-len(shown) // PAGE_SIZE))
    key = query.get("task", "")[:300]
    asked = number(query.get("page"))
    page = min(pages, max(1, asked)) if asked is not None else _page_of(key, shown)
    here = shown[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    longest = max((abs(pair.longer) for pair in every if pair.longer is not None), default=0.0)
    found = comparing.launched(before, after) if page == 1 else None  # it is read whole, and stands on the first page
    counted = counts(every)
    others = _others(before, but=(before, after))
    same_flow = (before.flow_name, before.upstream_id) == (after.flow_name, after.upstream_id)
    of_after = others if same_flow else _others(after, but=(before, after))
    return {
        "a": before,
        "b": after,
        "sides": [("A", "a", before, others), ("B", "b", after, of_after)],
        "going": not (before.ended and after.ended),
        "now": time_tag(time.time(), "clock"),
        "launched": _launched(found) if found else None,
        "whole": _whole(before, after, "whole" in query),
        "rows": [_row(pair, longest, _opened(before, after, pair, key)) for pair in here],
        "total": len(every),
        "counts": [(name or "same", words, counted[name]) for name, words in COUNTED if counted[name]],
        "fitting": len(shown),
        "page": page,
        "pages": pages,
        "swap": _address(query, a=after.pk, b=before.pk),
    }


def _others(run: Run, but: Collection[Run]) -> list[Run]:
    """The last ones of its flow, `but` for these."""
    newest = comparing.of_flow(run).only("run_name", "status", "created_at")[: RECENT + len(but)]
    return [one for one in newest if one not in but][:RECENT]


def _page_of(key: str, shown: Sequence[Pair]) -> int:
    return next((place // PAGE_SIZE + 1 for place, pair in enumerate(shown) if key and _is(pair, key)), 1)


def _is(pair: Pair, key: str) -> bool:
    return key in {side.key for side in (pair.before, pair.after) if side}


def _opened(before: Run, after: Run, pair: Pair, key: str) -> list[tuple[str, Changes]] | None:
    if not key or not _is(pair, key):
        return None
    return _of_tasks(before, after, pair.before.key if pair.before else "", pair.after.key if pair.after else "")


def _whole(before: Run, after: Run, opened: bool) -> Row:
    """The runs themselves as a row."""
    sides = (
        Side("", "The whole run", 0, run.status, run.inferred, 1, seconds_taken(run) if run.ended else None)
        for run in (before, after)
    )
    pair = Pair(*sides)
    row = _row(pair, abs(pair.longer or 0.0), _of_runs(before, after) if opened else None)
    return row._replace(key="")


def _row(pair: Pair, longest: float, opened: list[tuple[str, Changes]] | None) -> Row:
    return Row(pair, pair.side.key, _words(pair), _part(pair), _bar(pair, longest), opened)


def _words(pair: Pair) -> str:
    """The difference of the durations, or why there is none."""
    if pair.before is None or pair.after is None:
        return "only in B" if pair.before is None else "only in A"
    told = ["another state"] if pair.change == "state" else []
    if pair.longer:
        told.append(f"{span(abs(pair.longer))} {'longer' if pair.longer > 0 else 'shorter'}")
    elif pair.longer == 0:
        told.append("the same time")
    return ", ".join(told) or "—"


def _part(pair: Pair) -> str:
    """The same as a part of A's duration: +40 %, or x12 from ten times on."""
    before, after = (side.seconds if side else None for side in (pair.before, pair.after))
    if not before or after is None or not noticed(before, after):
        return ""
    times = after / before
    return f"x{times:.0f}" if times >= 10 else f"{'+' if times > 1 else '−'}{abs(times - 1) * 100:.0f} %"


def _bar(pair: Pair, longest: float) -> Bar | None:
    if not pair.longer or not longest:
        return None
    width = HALF * abs(pair.longer) / longest
    if pair.longer > 0:
        return Bar(f"{HALF:.2f}", f"{width:.2f}", "longer")
    return Bar(f"{HALF - width:.2f}", f"{width:.2f}", "shorter")


# --- what differs --------------------------------------------------------------------------------------------


def _changes(found: Iterable[Difference]) -> Changes:
    return changes(found, MOST_PLACES, letters=MOST_LETTERS, counted=comparing.MOST_PLACES)


def _launched(found: Launched) -> dict[str, Any]:
    tasks, rest = found.definition.tasks, found.definition.rest
    by_kind = {kind: [one for one in tasks if one.kind == kind] for kind in ("added", "removed", "changed")}
    return {
        "inputs": _changes(found.inputs),
        "rest": _changes(rest),
        "same": not (tasks or rest),
        "named": [
            (words, [one.name for one in by_kind[kind][:MOST_TASKS]], max(0, len(by_kind[kind]) - MOST_TASKS))
            for kind, words in (("added", "Only in B"), ("removed", "Only in A"))
            if by_kind[kind]
        ],
        "changed": [(one.name, _changes(one.fields)) for one in by_kind["changed"][:MOST_TASKS]],
        "more": max(0, len(by_kind["changed"]) - MOST_TASKS),
    }


def _of_tasks(before: Run, after: Run, before_key: str, after_key: str) -> list[tuple[str, Changes]]:
    """(what, where it differs) of what either run knows of its task."""
    tasks = [Task.objects.filter(run=run, key=key).first() for run, key in ((before, before_key), (after, after_key))]
    told = iter(payloads_of([one for one in tasks if one]))
    one, other = (next(told) if found else Payloads() for found in tasks)
    return [
        (words, _values(old, new))
        for words, old, new in zip(("Input", "Output", "Error", "Partial results"), one, other, strict=True)
        if not (old is ABSENT and new is ABSENT)
    ]


def _of_runs(before: Run, after: Run) -> list[tuple[str, Changes]]:
    """The same of the output and the error of the runs themselves."""
    outputs, errors = [], []
    for run in (before, after):
        try:
            outputs.append(in_and_out.output_of(run) if run.output_seq else ABSENT)
        except Event.DoesNotExist:
            outputs.append(ABSENT)
        errors.append(ABSENT if run.error is None else run.error)
    both = (("Output", outputs), ("Error", errors))
    return [(words, _values(*values)) for words, values in both if values != [ABSENT, ABSENT]]


def _values(before: Any, after: Any) -> Changes:
    if before is ABSENT or after is ABSENT:
        return _changes([Difference("", before, after)])
    return _changes(differences(before, after))
