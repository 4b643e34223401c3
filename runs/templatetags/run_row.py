"""One row of a table of runs. Put together here and not in a template, which took four fifths of a page's time.

Every text that comes from elsewhere goes through `escape`; what the functions here give is HTML.
"""

from html import escape
from typing import Any
from urllib.parse import quote

from django import template
from django.urls import reverse
from django.utils.safestring import SafeString

from runs.models import Run
from runs.templatetags.pace import brief_pace, step
from runs.templatetags.rows import (
    began,
    doing,
    seconds_taken,
    segments,
    since,
    span,
    state_word,
    still_to_come,
    ticking,
    until,
    utc_iso,
    utc_words,
)

register = template.Library()


@register.simple_tag
def run_row(run: Run) -> SafeString:
    """The row of a run that came with what `listed()` reads."""
    at = began(run)
    utc = utc_words(at)
    flow = escape(run.flow_name)
    icon = "inferred" if run.inferred and run.status == Run.Status.SUCCEEDED else run.status
    who = escape(run.created_by.username) if run.created_by else '<span class="faint">—</span>'
    return SafeString(  # nosec B703  # see above
        f'<tr id="run-{run.pk}" class="run-row s-{run.status}" data-run="{run.pk}" data-rev="{run.rev}" role="row">'
        '<td class="c-state" role="cell"><label class="pick-run"><input type="checkbox" form="compare" name="run" '
        f'value="{run.pk}"><span class="sr">Compare {escape(run.run_name)}</span></label>'
        f'<span class="pill pill-{run.status}"><i class="icon i-{icon}"></i>'
        f'{state_word(run.status)}</span></td><td class="c-flow" role="cell"><a class="plain" '
        f'href="{reverse("runs")}?flow={quote(run.flow_name, safe="")}" title="Only runs of {flow}">{flow}</a></td>'
        f'<th class="c-run" role="rowheader" scope="row"><a href="{run.get_absolute_url()}">{escape(run.run_name)}</a>'
        f'{_about(run)}</th><td class="c-started" role="cell"><time datetime="{utc_iso(at)}" title="{utc}">{utc}</time>'
        f'</td><td class="c-duration num" role="cell">{_took(run)}</td>'
        f'<td class="c-progress" role="cell">{_progress(run)}</td><td class="c-who" role="cell">{who}</td></tr>'
    )


def _took(run: Run) -> str:
    if run.ended or not run.started_at:
        return span(seconds_taken(run))
    return f'<span data-since="{run.started_at:.3f}">{ticking(seconds_taken(run) or 0.0)}</span>'


def _about(run: Run) -> str:
    """What a reader should know of it besides its state."""
    parts = [f'<span class="flag"><i class="icon i-{icon}"></i>{words}</span>' for icon, words in _flags(run)]
    if run.retry_of_id:
        words = f"Retry {run.retry_number} of" if run.retry_number else "Again of"
        link = reverse("run", args=[run.retry_of_id])
        parts.append(f'<span>{words} <a href="{link}">#{run.retry_of_id}</a></span>')
    at = run.waits_until
    if at is not None and still_to_come(at):
        clock = f'<span data-until="{at:.3f}">{until(at)}</span>'
        parts.append(f'<span data-ends><i class="icon i-queued"></i> starts in {clock}</span>')
    if run.attached:
        parts.append("<span>Attached</span>")
    if why := escape(_why(run.error)):
        parts.append(f'<span class="why" title="{why}">{why}</span>')
    elif notice := escape(run.notice):
        parts.append(f'<span class="note" title="{notice}">{notice}</span>')
    return f'<span class="about">{"".join(parts)}</span>' if parts else ""


def _flags(run: Run) -> list[tuple[str, str]]:
    """(icon, words) of what is not as it should be."""
    told = [
        (run.unconfirmed, "warn", "Unconfirmed"),
        (run.disconnected, "disconnected", _since("Disconnected", run.connection_since)),
        (run.silent, "silent", _since("Silent", run.silent_since)),
        (run.overdue, "overdue", "Overdue"),
        (run.conflict, "warn", "Contradictory ends"),
        (run.gap_count, "warn", f"{run.gap_count} gap{'' if run.gap_count == 1 else 's'}"),
        (run.rejected_count, "warn", f"{run.rejected_count} rejected"),
    ]
    return [(icon, words) for so, icon, words in told if so]


def _since(word: str, start: float | None) -> str:
    return "" if start is None else f'<span>{word} <span data-since="{start:.3f}">{since(start)}</span></span>'


def _why(error: Any) -> str:
    """`type: message`, of whatever shape the error is."""
    if not isinstance(error, dict):
        return ""
    return ": ".join(str(error[part]) for part in ("type", "message") if error.get(part))


def _progress(run: Run) -> str:
    parts = segments(run)
    if not parts:
        waiting = {"reconnecting": "Reconnecting", "live": "Nothing yet"}.get(run.connection, "Waiting")
        return f'<span class="faint">{"No tasks" if run.ended else waiting}</span>'
    words = doing(run)
    bar = "".join(
        f'<rect class="s-{part["state"]}" x="{part["x"]}" width="{part["width"]}" height="8"/>' for part in parts
    )
    drawing = (
        '<svg class="mini" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" '
        f'aria-label="{words}"><title>{words}</title>{bar}</svg>'
    )
    return f'<span class="mini-line">{drawing}<span class="steps">{step(run)}</span></span>{_now(run)}'


def _now(run: Run) -> str:
    if not run.ended and run.current_task:
        task = escape(run.current_task)
        return f'<span class="now" title="{task}">{brief_pace(run)}<span class="current">{task}</span></span>'
    counts = []
    if run.tasks_failed:
        counts.append(f'<span class="failed">{run.tasks_failed} failed</span>')
    if run.tasks_unknown:
        counts.append(f"{run.tasks_unknown} unknown")
    return f'<span class="now">{", ".join(counts)}</span>' if counts else ""
