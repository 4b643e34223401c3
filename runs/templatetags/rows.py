"""What a row of the runs list says in words and shapes; pages and live updates use the same."""

import re
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from django import forms, template
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString

from runs.models import Run

register = template.Library()

LEAST_WIDTH = 3.0  # of 100: one failed task among thousands must still be seen
_MARKER = re.compile(r"\[masked:([a-z-]+)#([0-9a-f]{6})\]")
SEGMENTS = ("succeeded", "failed", "skipped", "unknown", "running", "pending")


STATE_WORDS = {
    Run.Status.QUEUED: "Queued",
    Run.Status.LAUNCHING: "Launching",
    Run.Status.RUNNING: "Running",
    Run.Status.SUCCEEDED: "Succeeded",
    Run.Status.FAILED: "Failed",
    Run.Status.LOST: "Lost",
    Run.Status.STOPPED: "Stopped",
    Run.Status.REJECTED: "Refused",
}


@register.filter
def state_word(status: str) -> str:
    return STATE_WORDS[Run.Status(status)]


CONNECTION_WORDS = {
    Run.Connection.WAITING: ("None yet", "queued"),
    Run.Connection.CONNECTING: ("Connecting", "launching"),
    Run.Connection.LIVE: ("Live", "link"),
    Run.Connection.RECONNECTING: ("Disconnected", "disconnected"),
    Run.Connection.CLOSED: ("Closed", "stopped"),
}


@register.filter
def connection_word(connection: str) -> str:
    """What Stepline's own connection to the upstream is doing for a run."""
    return CONNECTION_WORDS[Run.Connection(connection)][0]


@register.filter
def connection_icon(connection: str) -> str:
    """The name of the icon beside that word."""
    return CONNECTION_WORDS[Run.Connection(connection)][1]


@register.filter
def moment(seconds: float | None) -> datetime | None:
    """Epoch seconds as a time in UTC; None for none and for what no calendar holds."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


@register.filter
def began(run: Run) -> datetime:
    """When the run started; while it has not, when it was asked for."""
    return moment(run.started_at) or run.created_at


@register.filter
def seconds_taken(run: Run) -> float | None:
    """Seconds that the run took, or has taken so far; None before its start and where its end is not known."""
    if run.ended:
        if run.execution_time is not None:
            return run.execution_time
        if run.started_at is None or run.finished_at is None:
            return None
        return max(0.0, run.finished_at - run.started_at)
    return None if run.started_at is None else max(0.0, time.time() - run.started_at)


@register.filter
def span(seconds: float | None) -> str:
    """A duration as people say it: 420 ms, 13.4 s, 1 m 40 s, 2 h 05 m, 3 d 4 h."""
    if seconds is None:
        return "—"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


@register.filter
def ticking(seconds: float) -> str:
    """A duration that goes on, in whole seconds as the page's own clock shows it: 3 s, 3 m 07 s, 2 h 05 m."""
    whole = int(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


@register.filter
def since(start: float | None) -> str:
    """How long it is since then, in epoch seconds, as the page's own clock goes on showing it."""
    return "" if start is None else ticking(time.time() - start)


@register.filter
def still_to_come(end: float | None) -> bool:
    """Whether this moment, in epoch seconds, lies ahead."""
    return end is not None and end > time.time()


@register.filter
def until(end: float | None) -> str:
    """How long it is until then; the page's clock counts down."""
    return "" if end is None else ticking(end - time.time() + 0.999)


@register.simple_tag
def server_now() -> str:
    """Epoch seconds by this machine's clock: what the clocks of a page go by."""
    return f"{time.time():.3f}"


@register.filter
def segments(run: Run) -> list[dict[str, Any]]:
    """The mini bar from left to right: {state, count, x, width}, in hundredths; empty while no task is known."""
    counts = [(state, getattr(run, f"tasks_{state}")) for state in SEGMENTS]
    total = sum(count for _, count in counts)
    if not total:
        return []
    widths = [(state, count, max(LEAST_WIDTH, 100 * count / total)) for state, count in counts if count]
    scale = 100 / sum(width for _, _, width in widths)
    bar, x = [], 0.0
    for state, count, width in widths:
        bar.append({"state": state, "count": count, "x": f"{x:.2f}", "width": f"{width * scale:.2f}"})
        x += width * scale
    return bar


@register.filter
def doing(run: Run) -> str:
    """What the bar says to who cannot see it: `2 succeeded, 1 running`."""
    return ", ".join(f"{part['count']} {part['state']}" for part in segments(run)) or "no tasks yet"


@register.filter
def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


@register.filter
def utc_iso(at: datetime) -> str:
    """For the datetime attribute: 2026-11-24T00:13:05.250Z."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


@register.filter
def utc_words(at: datetime) -> str:
    """What stands there before the reader's own zone is known, and on hover."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@register.filter
def time_tag(seconds: float | None, form: str = "full") -> SafeString:
    """A <time> in UTC, which a script shows in the reader's zone."""
    try:
        at = datetime.fromtimestamp(seconds, UTC) if seconds is not None else None
    except (ValueError, OverflowError, OSError):
        at = None
    if at is None:
        return format_html("<span>{}</span>", "—")
    text = at.strftime("%H:%M:%S" if form != "full" else "%Y-%m-%d %H:%M:%S UTC")
    iso = at.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return format_html('<time datetime="{}Z" data-form="{}">{}</time>', iso, form, text)


@register.filter
def chips(text: str) -> SafeString:
    """Escaped text in which each masked value is a chip that shows its kind and its fingerprint."""
    parts, end = [], 0
    for found in _MARKER.finditer(text):
        parts.append(escape(text[end : found.start()]))
        parts.append(
            format_html(
                '<span class="masked" title="Masked before it was stored. The same mark is the same value.">'
                "{} <b>{}</b></span>",
                "masked" if found[1] == "name" else f"masked {found[1]}",
                found[2],
            )
        )
        end = found.end()
    parts.append(escape(text[end:]))
    return format_html_join("", "{}", ((part,) for part in parts))


@register.filter
def moment_value(filters: forms.Form, name: str) -> str:
    """The time as a datetime-local field takes it; what was no time is not put back."""
    at: datetime | None = filters.cleaned_data.get(name)
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") if at else ""


@register.simple_tag
def querystring_of(**values: str) -> str:
    """`flow=Name%20of%20it`: every letter that means something in an address is encoded."""
    return urlencode(values, quote_via=quote)
