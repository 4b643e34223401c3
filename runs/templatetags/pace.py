"""How far a run is, how long it still takes, and what takes longer than usual: in words that tick on the page.

static/js/pace.js goes on with what is written here, by the same rules.
"""

import math
import time

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs.core.progress import LEAST_PATIENCE, OVERRUN_GRACE, SOON, left_words
from runs.core.timeline import label
from runs.facts import forecast_of, progress_of
from runs.models import Run, Task

register = template.Library()


@register.filter
def step(run: Run) -> str:
    """`2 of 3`, or only how many are done where nobody knows how many there will be."""
    known = progress_of(run, time.time())
    if known.total:
        return f"{known.step.current} of {known.total}"
    return f"{known.completed} done" if run.tasks_total else "—"


@register.filter
def percent(run: Run) -> SafeString:
    """`62 %`, which goes on by itself while the run does; nothing where no total is known."""
    now = time.time()
    fraction, forecast = progress_of(run, now).fraction, forecast_of(run)
    if fraction is None:
        return SafeString("")
    words = f"{math.floor(100 * fraction + 1e-9)} %"
    if forecast is None or forecast.fraction is None:
        return format_html("{}", words)
    return format_html(
        '<span data-fraction="{}" data-at="{}" data-rate="{}" data-most="{}">{}</span>',
        f"{forecast.fraction:.5f}",
        f"{forecast.at:.3f}",
        f"{forecast.rate:.8f}",
        f"{forecast.most:.5f}",
        words,
    )


@register.filter
def brief_pace(run: Run) -> SafeString:
    """As `pace`, but of a run that overruns only that: for a column of a list."""
    return pace(run, brief=True)


@register.filter
def pace(run: Run, lead: str = "", *, brief: bool = False) -> SafeString:
    """`about 1 m 40 s left`, `overrunning`, or both, after `lead`; nothing where too little is known."""
    forecast = forecast_of(run)
    if forecast is None:
        return SafeString("")
    now = time.time()
    over = forecast.overruns(now)
    words = pace_words(forecast.left_at(now), over, brief)
    return format_html(
        '<span class="pace{}"{} data-low-at="{}" data-high-at="{}" data-low-rest="{}" data-high-rest="{}" '
        'data-over-at="{}"{}{}>{}<span class="left">{}</span></span>',
        " over" if over else "",
        "" if words else SafeString(" hidden"),
        _number(forecast.low_at),
        _number(forecast.high_at),
        _number(forecast.low_rest),
        _number(forecast.high_rest),
        _number(forecast.overruns_at),
        SafeString(" data-brief") if brief else "",
        "" if _moves(run) else SafeString(" data-frozen"),
        lead,
        words,
    )


def pace_words(left: tuple[float, float] | None, over: bool, brief: bool = False) -> str:
    """What is said of seconds left. Who overruns, and has nothing else to come, is not "nearly done" for ever."""
    silent = left is None or (over and (brief or left[1] < SOON))
    time_left = "" if silent or left is None else left_words(*left)
    return ", ".join(filter(None, (time_left, "overrunning" if over else "")))


def task_pace(task: Task, run: Run, since: float, now: float) -> SafeString:
    """Says of a task that has run `since` then: overrunning, and after a long silence how long that has lasted.

    Hidden until its time comes; nothing where it is not known how long it usually takes.
    """
    if task.usual_p50 is None or task.usual_p90 is None:
        return SafeString("")
    over_at = since + task.usual_p90 + OVERRUN_GRACE
    quiet_at = since + max(2 * task.usual_p90, task.usual_p90 + LEAST_PATIENCE)
    usual = label(task.usual_p50)
    if now >= quiet_at:
        words = f"no word for {coarse(now - since)}; usually done in {usual}"
    else:
        words = "overrunning" if now >= over_at else ""
    return format_html(
        '<span class="t-pace{}"{} data-began="{}" data-over-at="{}" data-quiet-at="{}" data-usual="{}" '
        'title="It usually takes {}, and in nine of ten runs at most {}."{}>'
        '<i class="icon i-overdue"></i><span class="words">{}</span></span>',
        " quiet" if now >= quiet_at else "",
        "" if words else SafeString(" hidden"),
        f"{since:.3f}",
        f"{over_at:.3f}",
        f"{quiet_at:.3f}",
        usual,
        usual,
        label(task.usual_p90),
        "" if _moves(run) else SafeString(" data-frozen"),
        words,
    )


@register.filter
def coarse(seconds: float) -> str:
    """A duration that need not be exact: 45 s, 4 m, 2 h 05 m."""
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} m" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def _moves(run: Run) -> bool:
    """While our connection to the upstream is down nothing is known of what goes on."""
    return run.connection in (Run.Connection.LIVE, Run.Connection.CONNECTING)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
