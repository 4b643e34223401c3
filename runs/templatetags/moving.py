"""What moves with every event: the steps, the progress bar, the counts of tasks by state.

Put together here, not in templates: a run that is watched is drawn up to twenty times a second. What came in is escaped
by hand.
"""

import time
from html import escape

from django import template
from django.utils.safestring import SafeString

from runs.core.outline import View
from runs.facts import progress_of
from runs.models import Run
from runs.templatetags.pace import pace, percent, step
from runs.templatetags.rows import segments

register = template.Library()

CHIPS = ("failed", "running", "succeeded", "unknown", "skipped", "pending")  # states of tasks, in the toolbar's order


@register.simple_tag
def steps(run: Run) -> SafeString:
    """How far it is, in words."""
    total = progress_of(run, time.time()).total
    if total and run.status == Run.Status.FAILED:
        words = f"{run.tasks_succeeded} of {total} tasks succeeded, {run.tasks_failed} failed"
    elif total:
        words = f"Step {step(run)} · {percent(run)}{pace(run, ' · ')}"
    elif run.tasks_total:
        words = f"{run.tasks_completed} done, {run.tasks_running} running{pace(run, ' · ')}"
    else:
        words = "no task yet"
    now = "" if run.ended or not run.current_task else f' <span class="muted now">{escape(run.current_task)}</span>'
    return SafeString(f'<div class="steps" id="steps"><dt>Progress</dt><dd>{words}{now}</dd></div>')  # nosec B703  # escaped above


@register.simple_tag
def progress(run: Run) -> SafeString:
    """A bar with a segment for each state of its tasks, its legend, and the run's state for who cannot see it."""
    bar = legend = ""
    for part in segments(run):
        state, words = part["state"], f"{part['count']} {part['state']}"
        bar += (
            f'<rect class="seg s-{state}" x="{part["x"]}" width="{part["width"]}" height="10">'
            f"<title>{words}</title></rect>"
        )
        legend += f'<li><i class="icon i-{state} state s-{state}"></i>{words}</li>'
    bar = bar or f'<rect class="seg s-{run.status if run.ended else "pending"}" width="100" height="10"/>'
    failed = f", {run.tasks_failed} failed" if run.tasks_failed else ""
    return SafeString(  # nosec B703  # escaped above
        '<div id="progress" class="progress" role="progressbar" aria-label="Progress" aria-valuemin="0" '
        f'aria-valuemax="{run.tasks_total}" aria-valuenow="{run.tasks_completed}">'
        f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{bar}</svg>'
        f'<ul class="legend">{legend}</ul><p class="sr" aria-live="polite">{run.status}{failed}</p></div>'
    )


@register.simple_tag
def state_chips(run: Run, view: View) -> SafeString:
    """How many tasks are in each state, to filter by; the failed ones, and the way to the next."""
    chips = ""
    for state in CHIPS:
        count, pressed = getattr(run, f"tasks_{state}"), state in view.states
        chips += (
            f'<button type="button" class="chip" data-state="{state}" aria-pressed="{str(pressed).lower()}"'
            f'{"" if count or pressed else " hidden"}><i class="icon i-{state} state s-{state}"></i>{state} '
            f"<b>{count}</b></button>"
        )
    quiet = "" if run.tasks_failed or run.tasks_unknown else " hidden"
    return SafeString(  # nosec B703  # escaped above
        f'<span class="row" id="state-chips">{chips}<button type="button" class="chip" id="errors-only" '
        f'aria-pressed="{str(view.errors).lower()}" title="Tasks that failed, or failed before they succeeded">'
        '<i class="icon i-warn"></i>Errors only</button>'
        f'<button type="button" class="chip" id="next-failure"{quiet} title="Go to the next failure">Next failure '
        "<kbd>n</kbd></button></span>"
    )
