"""The rows of a run's page: a window of them, cut from the outline, and what of it has changed.

Rows are put together here, not in templates: a hot run draws hundreds a second.
So whatever comes from outside is escaped here, by hand, in the first lines of each row.
"""

import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple
from urllib.parse import quote

from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs.core import timeline
from runs.core.outline import Fold, Item, Line
from runs.core.timeline import Stretch, squeezed
from runs.models import Task
from runs.templatetags.pace import task_pace
from runs.templatetags.rows import span, ticking
from runs.web.scene import Scene
from runs.web.view import Asked

WINDOW = 200  # rows that a page holds at most
ABOVE = 75  # of them lie above the first one in sight
MOST_MARKS = 40  # failed siblings that are marked on the bar of their fold
BAR = 16  # height of a bar's drawing
NEVER = 1e9  # seconds: a running bar always reaches the right edge


class Drawing(NamedTuple):
    """What every row of one window is drawn on."""

    scene: Scene
    hidden: Sequence[Stretch] = ()  # idle stretches that are left out
    folded: frozenset[str] = frozenset()


class Window(NamedTuple):
    """A part of the rows, ready for the page: those it lacks, and attributes that say where they belong.

    `shape`: which rows the page has then; `ground`: what they are drawn on.
    """

    attributes: SafeString
    rows: SafeString
    shape: str
    ground: str


def window(scene: Scene, asked: Asked, *, rev: int = -1, drawn_on: str = "") -> Window:
    """The rows that this page lacks: it has what its shape says, as of `rev`, drawn on `drawn_on`.

    Asks the database at most once, for rows that have not changed of late.
    """
    kept, run = scene.kept, scene.run
    arranged = kept.outline.arrange(asked.view)
    total = len(arranged.lines)
    first = max(0, min(asked.first - ABOVE, total - WINDOW))
    lines = arranged.lines[first : first + WINDOW]
    drawn = tuple(_drawn_as(line, arranged.folded) for line in lines)
    shape = _shape(first, total, drawn)
    idle = kept.idle(run, scene.axis)
    hidden = idle if asked.hides_idle else ()
    on = _ground(scene) + "".join(f"/{one.x0:.3f}-{one.x1:.3f}" for one in hidden)
    has = frozenset(drawn if shape == asked.shape else kept.rows_of(asked.shape))
    kept.remember(shape, drawn)
    if on != drawn_on:
        rev = -1
    wanted = [line for name, line in zip(drawn, lines, strict=True) if name not in has or line.rev > rev]
    drawing = Drawing(scene, hidden, arranged.folded)
    attributes = format_html(
        ' data-first="{}" data-total="{}" data-tasks="{}" data-front="{}" data-idle="{}" data-hidden="{}"{}',
        first,
        total,
        len(kept.outline),
        "" if run.ended else _text(arranged.front),
        ",".join(f"{one.x0:.3f}-{one.x1:.3f}" for one in idle),
        len(hidden),
        "" if shape == asked.shape else format_html(' data-order="{}"', " ".join(map(row_id, lines))),
    )
    return Window(attributes, SafeString("".join(rows(wanted, drawing))), shape, on)  # nosec B703  # escaped below


def _ground(scene: Scene) -> str:
    """What every bar was drawn on: where zero is, the gaps, and which past. When it moves, all rows follow."""
    still_open = sum(gap.ended_at is None for gap in scene.gaps)
    past = "" if scene.at is None else f"@{scene.at}"
    return f"{scene.axis.start:.3f}/{len(scene.gaps)}/{still_open}{past}"


def row_id(line: Line) -> str:
    """The id of its element."""
    return f"fold-{line.pk}" if isinstance(line, Fold) else f"task-{line.pk}"


def _drawn_as(line: Line, folded: frozenset[str]) -> str:
    """Which row it is, and what of its drawing no change of a task tells: filters and folds do that."""
    if isinstance(line, Fold):
        counts = ",".join(f"{state}{count}" for state, count in line.counts)
        return f"{row_id(line)}/{line.opened}/{counts}"
    return f"{row_id(line)}/child" if line.name in folded else row_id(line)


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _shape(first: int, total: int, ids: Iterable[str]) -> str:
    digest = hashlib.blake2b(" ".join(ids).encode(), digest_size=8).hexdigest()
    return f"{first}.{total}.{digest}"


def rows(lines: Iterable[Line], drawing: Drawing) -> list[str]:
    """Each line's row; a task that has just gone has none."""
    wanted = list(lines)
    tasks = drawing.scene.tasks([line for line in wanted if isinstance(line, Item)])
    out = []
    for line in wanted:
        if isinstance(line, Fold):
            out.append(fold_row(line, drawing))
        elif line.pk in tasks:
            out.append(task_row(tasks[line.pk], drawing))
    return out


def task_row(task: Task, drawing: Drawing) -> str:
    """One line of the tree and the timeline."""
    scene, child = drawing.scene, task.name in drawing.folded
    name, key = escape(task.name), escape(task.key)
    attempts = len(task.attempts)
    words = "inferred" if task.inferred and task.status != "running" else ""
    icon = "inferred" if task.inferred and task.status == "succeeded" else task.status
    error = task.error or {}
    why = f"{error.get('type')}: {error.get('message')}" if error else ""
    about = " · ".join(filter(None, (task.name, task.tag if task.tag != task.name else "", task.function, why)))
    since = next((one["started_at"] for one in reversed(task.attempts) if one["status"] == "running"), None)
    tries = f'<span class="t-tries" title="{attempts} attempts">↻ x{attempts}</span>' if attempts > 1 else ""
    took = "" if task.duration is None else span(task.duration)
    pace = ""
    if task.status == "running" and since is not None:
        took = ticking(scene.now - since)
        if scene.at is None:
            took = f'<span data-since="{since:.3f}">{took}</span>'
        pace = task_pace(task, scene.run, since, scene.now)
    usual = None if task.usual_p50 is None or task.usual_p90 is None else (task.usual_p50, task.usual_p90)
    return (
        f'<li id="task-{task.pk}" class="task s-{task.status}{" inferred" if task.inferred else ""}'
        f'{" child" if child else ""}" data-state="{task.status}" data-name="{name}" '
        f'data-key="{key}" data-rev="{task.rev}">'
        f'<a class="t-name" href="?task={escape(quote(task.key, safe=""))}" title="{escape(about)}">'
        f'<i class="icon i-{icon} state s-{task.status}"></i><span class="t-word">{key if child else name}</span>'
        f'<span class="sr">, {task.status} {words}</span>{pace}</a>{tries}<span class="t-time">{took}</span>'
        f"{_bar(_attempts(task), drawing, usual)}</li>"
    )


def fold_row(fold: Fold, drawing: Drawing) -> str:
    """Siblings of one name as one line: how many are in which state, and their envelope with every failure marked."""
    name, counts, size = escape(fold.name), fold.counts, len(fold.items)
    status = counts[0][0]
    marks = [one for one in fold.items if one.status == "failed"][:MOST_MARKS]
    spans = [timeline.Span(one.started_at, one.finished_at, one.status) for one in marks]
    told = "".join(
        f'<span class="s-{state}" title="{count} {state}"><i class="icon i-{state}"></i>{count}'
        f'<span class="sr"> {state}</span></span>'
        for state, count in counts
    )
    return (
        f'<li id="fold-{fold.pk}" class="task fold s-{status}" data-state="{status}" data-name="{name}" '
        f'data-fold="{name}" data-rev="{fold.rev}">'
        f'<button type="button" class="t-name" aria-expanded="{"true" if fold.opened else "false"}" '
        f'title="{name}: {", ".join(f"{count} {state}" for state, count in counts)}">'
        f'<i class="caret"></i><i class="icon i-{status} state s-{status}"></i><span class="t-word">{name}</span>'
        f'<span class="sr">, {size} tasks:</span></button><span class="t-counts">{told}</span>'
        f'<span class="t-time" title="tasks of this name">x{size}</span>'
        f"{_bar(spans, drawing, envelope=fold.envelope)}</li>"
    )


def _attempts(task: Task) -> list[timeline.Span]:
    return [
        timeline.Span(one["started_at"], one["finished_at"], one["status"], one["inferred"]) for one in task.attempts
    ]


def _bar(
    spans: Sequence[timeline.Span],
    drawing: Drawing,
    usual: tuple[float, float] | None = None,
    envelope: timeline.Span | None = None,
) -> str:
    """Attempts over the gaps of our own connection, in seconds since the run's start; idle stretches left out.

    Behind the last attempt lies the ghost of its usual duration: to the median, and fainter to the 90th percentile.
    """
    axis, hidden = drawing.scene.axis, drawing.hidden
    away = []
    for gap in drawing.scene.gaps:
        x0 = 0.0 if gap.started_at is None else max(0.0, gap.started_at - axis.start)
        # While a gap is open the timeline stands still; and dashes are drawn one by one, so they must have an end.
        x1 = min(2 * axis.length, NEVER if gap.ended_at is None else gap.ended_at - axis.start)
        if squeezed(x1, hidden) > squeezed(x0, hidden):
            away.append(f'<path class="gap" d="M{squeezed(x0, hidden):.3f} 8H{squeezed(x1, hidden):.3f}"/>')
    parts: list[tuple[str, float, float | None]] = []
    for bar in timeline.bars([envelope] if envelope else [], axis.start):
        parts.append((f"envelope s-{bar.status}", bar.x0, bar.x1))
    bars = timeline.bars(spans, axis.start)
    if usual and bars:
        for name, seconds in (("ghost late", usual[1]), ("ghost", usual[0])):
            parts.append((name, bars[-1].x0, bars[-1].x0 + max(seconds, 0.0)))
    for place, bar in enumerate(bars):
        retried = bar.status == "failed" and place < len(bars) - 1 and not envelope
        words = f"seg s-{bar.status}{' inferred' if bar.inferred else ''}{' retried' if retried else ''}"
        parts.append((words, bar.x0, bar.x1))
    drawn = "".join(
        f'<rect class="{words}" x="{x}" width="{width}" y="1" height="14"/>'
        for words, x, width in _placed(parts, hidden)
    )
    return (
        f'<svg class="bar" viewBox="0 0 {squeezed(axis.length, hidden):.3f} {BAR}" preserveAspectRatio="none" '
        f'aria-hidden="true">{"".join(away)}{drawn}</svg>'
    )


def _placed(
    parts: Iterable[tuple[str, float, float | None]], hidden: Sequence[Stretch]
) -> Iterable[tuple[str, str, str]]:
    for words, x0, x1 in parts:
        begin = squeezed(max(0.0, x0), hidden)
        yield (
            words,
            f"{begin:.3f}",
            f"{NEVER if x1 is None else max(0.0, squeezed(max(0.0, x1), hidden) - begin):.3f}",
        )
