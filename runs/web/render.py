"""The HTML of each live region: the first page and every update come from the same functions.

Task and event rows are put together here, not in templates: a hot run renders hundreds of them a second.
"""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from runs.core import timeline
from runs.models import Event, Gap, Run, Task
from runs.templatetags.rows import span, ticking
from runs.web.json_tree import tree

LOG_FIRST = 200  # events that the first page shows
BATCH = 300  # events and tasks that one message carries at most
TASKS_MOST = 1000  # task rows that a page holds
LIST_MOST = 200
BAR = 16  # height of a bar's drawing
NEVER = 1e9  # seconds: a running bar always reaches the right edge

_ICONS = {"succeeded": "succeeded", "failed": "failed", "running": "running", "pending": "pending",
          "skipped": "skipped", "unknown": "unknown"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Axis:
    """The timeline's span: where zero is, and how many seconds are shown. Epoch seconds and seconds."""

    start: float
    length: float


# --- reading --------------------------------------------------------------------------------------------------


def read_run(run_id: int) -> Run:
    """Raises Run.DoesNotExist."""
    return Run.objects.select_related("upstream", "created_by", "workflow").get(pk=run_id)


def axis_of(run: Run) -> Axis:
    start = run.started_at if run.started_at is not None else run.created_at.timestamp()
    end = run.finished_at if run.finished_at is not None else time.time()
    if run.finished_at is None and run.ended:  # stopped or lost: nothing after its last event is known
        end = run.connection_since or end
    return Axis(start, max(end - start, 0.5))


def gaps_of(run: Run) -> list[Gap]:
    return list(Gap.objects.filter(run=run).order_by("pk")) if run.gap_count else []


def ground(axis: Axis, gaps: list[Gap]) -> str:
    """What every bar was drawn on: where zero is, and the gaps. When it moves, rows that have not changed follow."""
    still_open = sum(gap.ended_at is None for gap in gaps)
    return f"{axis.start:.3f}/{len(gaps)}/{still_open}"


# --- rows -----------------------------------------------------------------------------------------------------


def task_row(task: Task, run: Run, axis: Axis, gaps: list[Gap]) -> SafeString:
    """One line of the tree and the timeline."""
    attempts = len(task.attempts)
    words = "inferred" if task.inferred and task.status != "running" else ""
    icon = "inferred" if task.inferred and task.status == "succeeded" else _ICONS[task.status]
    error = task.error or {}
    why = f"{error.get('type')}: {error.get('message')}" if error else ""
    running = task.status == "running"
    since = next((one["started_at"] for one in reversed(task.attempts) if one["status"] == "running"), None)
    return format_html(
        '<li id="task-{}" class="task s-{}{}" data-state="{}" data-name="{}" data-key="{}" data-rev="{}">'
        '<a class="t-name" href="?task={}" title="{}">'
        '<i class="icon i-{} state s-{}"></i><span class="t-word">{}</span><span class="sr">, {} {}</span></a>{}'
        '<span class="t-time">{}</span>{}</li>',
        task.pk,
        task.status,
        " inferred" if task.inferred else "",
        task.status,
        task.name,
        task.key,
        task.rev,
        quote(task.key, safe=""),
        " · ".join(filter(None, (task.name, task.tag if task.tag != task.name else "", task.function, why))),
        icon,
        task.status,
        task.name,
        task.status,
        words,
        format_html('<span class="t-tries" title="{} attempts">↻ x{}</span>', attempts, attempts)
        if attempts > 1
        else "",
        format_html('<span data-since="{}">{}</span>', f"{since:.3f}", ticking(time.time() - since))
        if running and since is not None
        else span(task.duration)
        if task.duration is not None
        else "",
        _bar(task, axis, gaps),
    )


def _bar(task: Task, axis: Axis, gaps: list[Gap]) -> SafeString:
    """The task's attempts over the gaps of our own connection, in seconds since the run's start."""
    parts, away = [], []
    for gap in gaps:
        x0 = 0.0 if gap.started_at is None else max(0.0, gap.started_at - axis.start)
        # While a gap is open the timeline stands still; and dashes are drawn one by one, so they must have an end.
        x1 = min(2 * axis.length, NEVER if gap.ended_at is None else gap.ended_at - axis.start)
        if x1 > x0:
            away.append((f"{x0:.3f}", f"{x1:.3f}"))
    spans = tuple(
        timeline.Span(one["started_at"], one["finished_at"], one["status"], one["inferred"]) for one in task.attempts
    )
    bars = timeline.line(timeline.Row(task.key, task.name, spans), axis.start).bars
    for place, bar in enumerate(bars):
        words = [bar.status]
        if bar.inferred:
            words.append("inferred")
        if bar.status == "failed" and place < len(bars) - 1:
            words.append("retried")
        x0 = max(0.0, bar.x0)
        parts.append((" ".join(words), x0, NEVER if bar.x1 is None else max(0.0, bar.x1 - x0)))
    return format_html(
        '<svg class="bar" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">{}{}</svg>',
        f"{axis.length:.3f}",
        BAR,
        format_html_join("", '<path class="gap" d="M{} 8H{}"/>', away),
        format_html_join(
            "",
            '<rect class="seg s-{}" x="{}" width="{}" y="1" height="14"/>',
            ((state, f"{x:.3f}", f"{width:.3f}") for state, x, width in parts),
        ),
    )


_SENTENCE = {
    "flow_started": "run started",
    "flow_completed": "run completed",
    "flow_error": "run failed",
    "task_started": "started",
    "task_completed": "completed",
    "task_failed": "failed",
    "stepline.task_status": "task-status answered",
}
_EVENT_STATE = {
    "flow_started": "running",
    "task_started": "running",
    "task_completed": "succeeded",
    "flow_completed": "succeeded",
    "task_failed": "failed",
    "flow_error": "failed",
}


def event_row(event: Event) -> SafeString:
    """One line of the event log; its payload is fetched when it is opened."""
    state = _EVENT_STATE.get(event.event_type, "unknown")
    at = event.timestamp if event.timestamp is not None else event.received_at
    return format_html(
        '<li id="e-{}" class="event" data-seq="{}"><details data-src="{}"><summary>'
        '<span class="e-seq">{}</span>{}<i class="icon i-{} state s-{}"></i>'
        '<span class="e-type" title="{}">{}</span> <span class="e-task">{}</span>{}{}</summary>'
        '<div class="e-body" data-empty hx-morph-skip></div></details></li>',
        event.seq,
        event.seq,
        reverse("run-event", args=[event.run_id, event.seq]),
        event.seq,
        time_tag(at, "clock"),
        state,
        state,
        event.event_type,
        _SENTENCE.get(event.event_type, event.event_type),
        event.task_name or (event.task_id if event.event_type.startswith("task_") else ""),
        format_html(' <span class="e-flag" title="received {} times">x{}</span>', event.receipts, event.receipts)
        if event.receipts > 1
        else "",
        format_html_join("", ' <span class="e-flag">{}</span>', ((flag,) for flag in event.flags.split(",") if flag)),
    )


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


# --- regions --------------------------------------------------------------------------------------------------


def region(name: str, run: Run, **more: Any) -> str:
    """One template file a live region: templates/runs/_NAME.html."""
    return render_to_string(f"runs/_{name}.html", {"run": run, **more})


def facts_of(run: Run, gaps: list[Gap]) -> dict[str, Any]:
    """What header, progress, banners and failure card share."""
    axis = axis_of(run)
    completed = run.tasks_completed
    total = run.tasks_total if run.planned or run.ended else None
    current = completed + (1 if run.tasks_running else 0)
    return {
        "axis": axis,
        "frozen": run.ended,
        "step": current if total is None else min(current, total),
        "total": total,
        "percent": round(100 * completed / total) if total else None,
        "gaps": gaps,
        "segments": _segments(run),
        "ended": run.ended,
        "elapsed": _elapsed(run, axis),
        "since": None if run.ended else axis.start,
        "started": time_tag(run.started_at if run.started_at is not None else run.created_at.timestamp()),
        "connection_at": time_tag(run.connection_since, "short"),
        "gap_rows": [
            {"reason": gap.reason, "detail": gap.detail, "after": gap.after_seq,
             "from": time_tag(gap.started_at, "short") if gap.started_at is not None else "",
             "to": time_tag(gap.ended_at, "short") if gap.ended_at is not None else ""}
            for gap in gaps
        ],
    }  # fmt: skip


def _elapsed(run: Run, axis: Axis) -> float | None:
    """Seconds that an ended run took; None for one that never began."""
    if run.execution_time is not None:
        return run.execution_time
    return axis.length if run.ended and run.started_at is not None else None


def _segments(run: Run) -> list[dict[str, Any]]:
    counts = [
        (state, getattr(run, f"tasks_{state}"))
        for state in ("succeeded", "failed", "skipped", "unknown", "running", "pending")
    ]
    total = sum(count for _, count in counts) or 1
    parts, x = [], 0.0
    for state, count in counts:
        if count:
            width = 1000 * count / total
            parts.append({"state": state, "count": count, "x": f"{x:.1f}", "width": f"{width:.1f}"})
            x += width
    return parts


def failure_of(run: Run) -> dict[str, Any] | None:
    """What the failure card says; None on runs that have not failed. Reads at most two payloads."""
    if run.status != Run.Status.FAILED:
        return None
    task = run.tasks.filter(status=Task.Status.FAILED).order_by("finished_at", "position").first()
    flow = _payload(run.pk, run.error_seq)
    failed = _payload(run.pk, task.error_seq if task else None)
    first = failed.get("error") if failed else None
    return {
        "task": task,
        "error": (task.error if task else None) or run.error,
        "details": tree(first["details"]) if isinstance(first, dict) and "details" in first else None,
        "partial": tree(failed["partial_results"]) if "partial_results" in failed else None,
        "flow_error": run.error if task else None,
        "flow_partial": tree(flow["partial_results"]) if "partial_results" in flow else None,
    }


def _payload(run_id: int, seq: int | None) -> dict[str, Any]:
    if seq is None:
        return {}
    text = Event.objects.filter(run_id=run_id, seq=seq).values_list("payload", flat=True).first()
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def drawer(run: Run, key: str) -> str:
    """One task: overview, error, input, output, attempts, raw events. Says so when there is no such task."""
    task = run.tasks.filter(key=key).first()
    if task is None:
        return render_to_string("runs/_drawer.html", {"run": run, "task": None, "key": key})
    started, ended, failed = (_payload(run.pk, seq) for seq in (task.input_seq, task.output_seq, task.error_seq))
    output = ended.get("output")
    if task.output_seq is not None and task.inferred:
        whole = ended.get("output", ended.get("results"))
        output = whole.get(task.name) if isinstance(whole, dict) else None
    siblings = list(run.tasks.filter(status=Task.Status.FAILED).order_by("position").values_list("key", flat=True))
    events = run.events.filter(task_key=key).order_by("seq").defer("payload")[:100]
    return render_to_string(
        "runs/_drawer.html",
        {
            "run": run,
            "task": task,
            "key": key,
            "input": tree(started["input"]) if "input" in started else None,
            "output": tree(output) if task.output_seq is not None else None,
            "error": tree(failed["error"]) if "error" in failed else None,
            "partial": tree(failed["partial_results"]) if "partial_results" in failed else None,
            "attempts": [
                {**one, "from": time_tag(one["started_at"], "clock"), "to": time_tag(one["finished_at"], "clock"),
                 "took": span(one["finished_at"] - one["started_at"])
                 if one["finished_at"] is not None and one["started_at"] is not None else "—"}
                for one in task.attempts
            ],
            "duration": span(task.duration),
            "started": time_tag(task.started_at),
            "finished": time_tag(task.finished_at),
            "events": [event_row(event) for event in events],
            "other_failures": [other for other in siblings if other != key][:1],
        },
    )  # fmt: skip


def body(run: Run, task_key: str = "") -> str:
    """All that lies below the site's header: what the first page shows, and what a page too old to mend gets."""
    gaps = gaps_of(run)
    axis = axis_of(run)
    # What came after `run` was read is left to the first update, which would draw it a second time.
    tasks = list(run.tasks.filter(added_rev__lte=run.rev).order_by("position")[:TASKS_MOST])
    events = list(run.events.filter(seq__lte=run.last_seq).order_by("-seq").defer("payload")[:LOG_FIRST])[::-1]
    return render_to_string(
        "runs/_body.html",
        {
            "run": run,
            **facts_of(run, gaps),
            "failure": failure_of(run),
            "rows": [task_row(task, run, axis, gaps) for task in tasks],
            "hidden_tasks": max(0, run.tasks_total - len(tasks)),
            "events": [event_row(event) for event in events],
            "earlier": events[0].seq - 1 if events else 0,
            "drawer": SafeString(drawer(run, task_key)) if task_key else "",
            "states": ("failed", "running", "succeeded", "unknown", "skipped", "pending"),
            "since_seq": run.last_seq,
        },
    )


def sync(since: int, rev: int, drawn_on: str) -> SafeString:
    """What the page has: the acknowledgement that it sends after every message."""
    return format_html(
        '<span id="sync"><input type="hidden" name="since" value="{}"><input type="hidden" name="rev" value="{}">'
        '<input type="hidden" name="ground" value="{}"></span>',
        since,
        rev,
        drawn_on,
    )


def place_of(run: Run) -> SafeString:
    """The acknowledgement of a page that was drawn from this row."""
    return sync(run.last_seq, run.rev, ground(axis_of(run), gaps_of(run)))


# --- changes --------------------------------------------------------------------------------------------------


def _partial(target: str, swap: str, html: str | SafeString) -> SafeString:
    return format_html('<hx-partial hx-target="{}" hx-swap="{}">{}</hx-partial>', target, swap, SafeString(html))


def run_changes(run_id: int, since: int, rev: int, drawn_on: str) -> tuple[str, int] | None:
    """What a page at this place lacks, as one message, and how many events it carries; None when it lacks nothing.

    Rows are written while this reads. The page is told a rev that neither the tasks (read in one statement, after that
    rev) nor the run's row (read last) can be older than, so that nothing is left out and no row comes twice.
    Raises Run.DoesNotExist.
    """
    place = Run.objects.filter(pk=run_id).values_list("rev", "last_seq").first()
    if place is None:
        raise Run.DoesNotExist(f"There is no run {run_id}.")
    if (rev, since) == place:
        return None
    changed, reached = _changed_tasks(run_id, rev, place[0])
    events = list(Event.objects.heads().after(run_id, since, BATCH))
    run = read_run(run_id)
    if rev < run.reset_rev or rev > run.rev or since > run.last_seq:
        return _everything(run), 0
    gaps, axis = gaps_of(run), axis_of(run)
    if drawn_on != ground(axis, gaps):
        changed += _drawn_before(run_id, rev, every=bool(gaps))
    new = sorted((task for task in changed if task.added_rev > rev), key=lambda task: task.position)
    facts = facts_of(run, gaps)
    parts = [
        _partial("#run-head", "outerMorph", region("head", run, **facts)),
        _partial("#progress", "outerMorph", region("progress", run, **facts)),
        _partial("#banners", "outerMorph", region("banners", run, **facts)),
        _partial("#failure", "outerMorph", region("failure", run, failure=failure_of(run))),
    ]
    if new:
        parts.append(_partial("#rows", "beforeend", "".join(task_row(task, run, axis, gaps) for task in new)))
    parts += [
        _partial(f"#task-{task.pk}", "outerMorph", task_row(task, run, axis, gaps))
        for task in changed
        if task.added_rev <= rev
    ]
    if events:
        parts.append(_partial("#log", "beforeend", "".join(map(event_row, events))))
    seq = events[-1].seq if events else since
    parts.append(_partial("#sync", "outerHTML", sync(seq, reached, ground(axis, gaps))))
    return "".join(parts), len(events)


def _changed_tasks(run_id: int, rev: int, known: int) -> tuple[list[Task], int]:
    """The tasks that changed after `rev`, at most about BATCH, and the rev up to which these are all.

    `known`: a rev that the run had before this reads.
    """
    rows = Task.objects.filter(run_id=run_id, rev__gt=rev, position__lt=TASKS_MOST)
    changed = list(rows.order_by("rev", "position")[: BATCH + 1])
    if len(changed) <= BATCH:
        return changed, max([known, *(task.rev for task in changed)])
    cut = changed[BATCH].rev  # up to a whole rev, so that the next batch begins where this one ends
    whole = [task for task in changed if task.rev < cut]
    if whole:
        return whole, whole[-1].rev
    every = list(rows.order_by("rev", "position"))  # one write changed more than a batch; a page's rows at most
    return every, max([known, *(task.rev for task in every)])


def _drawn_before(run_id: int, rev: int, *, every: bool) -> list[Task]:
    """The page's rows that have not changed after `rev`; unless `every` is wanted, those alone that have a bar."""
    rows = Task.objects.filter(run_id=run_id, rev__lte=rev, position__lt=TASKS_MOST).order_by("position")
    return [task for task in rows if every or task.attempts]


def _everything(run: Run) -> str:
    return _partial("#run", "innerHTML", body(run)) + _partial("#sync", "outerHTML", place_of(run))


def list_changes(revs: dict[int, int], newest: int, told: int) -> tuple[str, int] | None:
    """Rows of the runs list that changed, and how many runs are newer than the page; None when nothing did.

    `told`: the newest run that the page was told of. Returned again with the message.
    """
    runs = [run for run in Run.objects.listed().filter(pk__in=revs) if run.rev > revs[run.pk]]
    fresh = list(Run.objects.filter(pk__gt=newest).order_by("-pk").values_list("pk", flat=True)[:100])
    latest = fresh[0] if fresh else newest
    if not runs and latest <= max(told, newest):
        return None
    rows = "".join(
        _partial(f"#run-{run.pk}", "outerMorph", render_to_string("runs/_run_row.html", {"run": run})) for run in runs
    )
    now = {**revs, **{run.pk: run.rev for run in runs}}
    count = format_html(
        '<span id="list-sync"><input type="hidden" name="newest" value="{}">'
        '<input type="hidden" name="revs" value="{}">'
        '<data id="fresh" value="{}"></data></span>',
        newest,
        ",".join(f"{run_id}:{rev}" for run_id, rev in now.items()),
        f"{len(fresh)}{'+' if len(fresh) == 100 else ''}",
    )
    return rows + _partial("#list-sync", "outerHTML", count), latest
