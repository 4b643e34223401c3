"""What the editor says of a definition while it is typed: its mistakes with their lines, else its graph."""

from collections.abc import Iterable
from typing import NamedTuple

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from accounts.access import role_required
from runs import actions
from runs.actions import Refused
from runs.core.plan import Mistake, Plan
from runs.web import graph, jsontext

MOST_SHOWN = 50  # mistakes, and warnings


class At(NamedTuple):
    """A mistake or a warning; `line` from 1, 0 where there is none."""

    task: str | None
    message: str
    place: str
    line: int


class Seen(NamedTuple):
    """`mistakes` or `picture`, never both. `more`: mistakes that are not shown."""

    mistakes: list[At]
    more: int
    warnings: list[At]
    plan: Plan | None
    steps: int
    picture: SafeString | None


def look(text: str, mistakes: list[Mistake] | None = None) -> Seen:
    """`mistakes`: those for which a save was refused, where it was."""
    try:
        definition = jsontext.read(text)
    except jsontext.NotJSON as error:
        return Seen([At(None, error.message, "", error.line)], 0, [], None, 0, None)
    lines = jsontext.Lines(text)
    try:
        plan = actions.read_definition(definition)
    except Refused as refused:
        return _broken(mistakes or refused.mistakes, lines)
    if mistakes:
        return _broken(mistakes, lines)
    tasks = {
        item["name"]: lines.of(f"tasks[{number}]")
        for number, item in enumerate(definition["tasks"])
        if isinstance(item.get("name"), str)
    }
    picture = graph.drawn(graph.graph_of(definition), lines=tasks)
    steps = 1 + max((task.layer for task in plan.tasks), default=-1)
    return Seen([], 0, _at(plan.warnings, lines), plan, steps, picture)


def _broken(mistakes: Iterable[Mistake], lines: jsontext.Lines) -> Seen:
    found = _at(mistakes, lines)
    return Seen(found[:MOST_SHOWN], max(0, len(found) - MOST_SHOWN), [], None, 0, None)


def _at(found: Iterable[Mistake], lines: jsontext.Lines) -> list[At]:
    placed = [At(one.task, one.message, one.place, lines.of(one.place)) for one in found]
    return sorted(placed, key=lambda one: one.line)


def preview(request: HttpRequest) -> HttpResponseBase:
    """The parts of the editor's page that change with its text; a text that cannot be read leaves the last picture.

    Who was signed out meanwhile is not taken to the sign-in: that would take away what they are typing.
    """
    answer = _parts(request)
    if "HX-Redirect" in answer.headers:
        del answer.headers["HX-Redirect"]
    return answer


@role_required("operator")
@require_POST
def _parts(request: HttpRequest) -> HttpResponse:
    seen = look(request.POST.get("definition", "").replace("\r\n", "\n"))
    return render(request, "workflows/_preview_parts.html", {"seen": seen})
