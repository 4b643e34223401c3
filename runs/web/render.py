"""The HTML of each live region: the first page and every update come from the same functions.

Event rows are put together here, not in a template: a hot run renders hundreds of them a second. The rows of tasks
are drawn by board.py.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs import listing
from runs.core.difference import ABSENT
from runs.core.outline import Item
from runs.listing import Filters, Place, place_in
from runs.models import Event, Run, Task
from runs.prepared import Prepared
from runs.templatetags import moving
from runs.templatetags.rows import span, time_tag
from runs.templatetags.run_row import run_row
from runs.web import board
from runs.web.axis import Axis
from runs.web.board import Window
from runs.web.graph import graph_of_run
from runs.web.in_and_out import io_of
from runs.web.json_tree import tree
from runs.web.kept import Kept
from runs.web.payloads import payloads_of
from runs.web.scene import Past, Scene
from runs.web.since_good import since_good
from runs.web.view import Asked, farthest
from runs.web.watched import watched

LOG_FIRST = 200  # events that the first page shows
BATCH = 300  # events and tasks that one message carries at most
LIST_MOST = 200
MOST_FRESH = 100  # new runs that a list counts up to


# --- reading --------------------------------------------------------------------------------------------------


_run = Prepared(lambda run_id: Run.objects.filter(pk=run_id), 1)
_heads = Prepared(lambda run_id, seq: Event.objects.heads().after(run_id, seq, BATCH), 2)


def read_run(run_id: int, before: Run | None = None) -> Run:
    """With its upstream and its workflow: as they were read before, where that is told. Raises Run.DoesNotExist."""
    if before is None:
        found = Run.objects.select_related("upstream", "created_by", "stream", "workflow")
        return found.defer("workflow__definition", "workflow__sealed").get(pk=run_id)
    for run in _run(run_id):
        run.upstream = before.upstream
        if before.workflow_id == run.workflow_id:
            run.workflow = before.workflow
        return run
    raise Run.DoesNotExist(f"There is no run {run_id}.")


def scene_of(run: Run, asked: Asked) -> Scene:
    """What a page that asks for this is drawn from. `run`: as it is stored."""
    at = asked.within(run.last_seq).at
    return Scene(run, guest=asked.guest) if at is None else Past(run, at, guest=asked.guest)


# --- rows -----------------------------------------------------------------------------------------------------


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
    """One line of the event log; its payload is fetched when it is opened, from below the address of the page that it
    stands in. What came in is escaped here, by hand.
    """
    state = _EVENT_STATE.get(event.event_type, "unknown")
    event_type, told = escape(event.event_type), escape(_SENTENCE.get(event.event_type, event.event_type))
    task = escape(event.task_name or (event.task_id if event.event_type.startswith("task_") else ""))
    flags = "".join(f' <span class="e-flag">{escape(flag)}</span>' for flag in event.flags.split(",") if flag)
    again = event.receipts
    return SafeString(  # nosec B703  # escaped above
        f'<li id="e-{event.seq}" class="event" data-seq="{event.seq}">'
        f'<details data-src="events/{event.seq}/"><summary><span class="e-seq">{event.seq}</span>'
        f'{time_tag(event_time(event), "clock")}<i class="icon i-{state} state s-{state}"></i>'
        f'<span class="e-type" title="{event_type}">{told}</span> <span class="e-task">{task}</span>'
        f"{f' <span class="e-flag" title="received {again} times">x{again}</span>' if again > 1 else ''}{flags}"
        '</summary><div class="e-body" data-empty hx-morph-skip></div></details></li>'
    )


def event_time(event: Event) -> float:
    """By the upstream's clock where it says it. Epoch seconds."""
    return event.timestamp if event.timestamp is not None else event.received_at


# --- regions --------------------------------------------------------------------------------------------------


def region(name: str, run: Run, **more: Any) -> SafeString:
    """One template file a live region: templates/runs/_NAME.html."""
    return render_to_string(f"runs/_{name}.html", {"run": run, **more})


def facts_of(scene: Scene) -> dict[str, Any]:
    """What header, progress, banners and failure card share."""
    run, axis = scene.run, scene.axis
    return {
        "axis": axis,
        "at_event": scene.at,
        "guest": scene.guest,
        "ended": run.ended,
        "elapsed": _elapsed(run, axis),
        "since": None if run.ended else axis.start,
        "started": time_tag(run.started_at if run.started_at is not None else run.created_at.timestamp()),
        "connection_at": time_tag(run.connection_since, "short"),
        "overdue_for": None if run.due_at is None else scene.now - run.due_at,
        **watched(run, scene.guest),
        "gap_rows": [
            {"reason": gap.reason, "detail": "" if scene.guest else gap.detail, "after": gap.after_seq,
             "from": time_tag(gap.started_at, "short") if gap.started_at is not None else "",
             "to": time_tag(gap.ended_at, "short") if gap.ended_at is not None else ""}
            for gap in scene.gaps
        ],
    }  # fmt: skip


def _elapsed(run: Run, axis: Axis) -> float | None:
    """Seconds that an ended run took; None for one that never began."""
    if run.execution_time is not None:
        return run.execution_time
    return axis.length if run.ended and run.started_at is not None else None


def failure_of(scene: Scene) -> dict[str, Any] | None:
    """What the failure card says; None on runs that have not failed. Reads at most two payloads and two launches."""
    run = scene.run
    if run.status != Run.Status.FAILED:
        return None
    task = scene.first_failed_task()
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
        # What is told of other runs.
        "kind": None if scene.guest else run.failure,
        "first_seen": time_tag(run.failure.first_at if run.failure else None),
        "since": None if scene.guest else since_good(run),
    }


def _payload(run_id: int, seq: int | None) -> dict[str, Any]:
    if seq is None:
        return {}
    text = Event.objects.filter(run_id=run_id, seq=seq).values_list("payload", flat=True).first()
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def drawer(scene: Scene, key: str) -> str:
    """One task: overview, error, input, output, attempts, raw events. Says so when there is no such task."""
    run, task = scene.run, scene.task(key)
    known = {"run": run, "key": key, "at_event": scene.at, "task_rev": _task_rev(scene, task)}
    if task is None:
        return render_to_string("runs/_drawer.html", {**known, "task": None})
    told = payloads_of([task])[0]
    events = scene.events.filter(task_key=key).order_by("seq")[:100]
    return render_to_string(
        "runs/_drawer.html",
        {
            **known,
            "task": task,
            **{name: None if value is ABSENT else tree(value) for name, value in told._asdict().items()},
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
            "other_failures": [other for other in scene.failed_keys() if other != key][:1],
        },
    )  # fmt: skip


def _task_rev(scene: Scene, task: Task | Item | None) -> str:
    """When the task last changed; in a past, which past it is, for the drawer tells that, too."""
    return f"@{scene.at}" if scene.at is not None else str(task.rev if task else 0)


def body(run: Run, asked: Asked, scene: Scene | None = None) -> tuple[str, SafeString]:
    """All that lies below the site's header, and the acknowledgement of a page that shows it.

    What the first page shows, and what a page too old to mend gets. `run`: as it is stored.
    """
    scene = scene or scene_of(run, asked)
    scene.catch_up()
    drawn = board.window(scene, asked)
    # What came after `run` was read is left to the first update, which would draw it a second time.
    events = list(scene.events.order_by("-seq")[:LOG_FIRST])[::-1]
    html = render_to_string(
        "runs/_body.html",
        {
            "run": scene.run,
            **facts_of(scene),
            **toolbar_of(scene.run, asked),
            **travelled(scene, run, asked),
            "failure": failure_of(scene),
            "drawn": drawn,
            "graph": graph_of_run(scene) if asked.as_graph else "",
            "io": io_of(scene.run),
            "events": [event_row(event) for event in events],
            "drawer": SafeString(drawer(scene, asked.task)) if asked.task else "",  # nosec B703  # by a template
        },
    )
    return html, sync(scene, drawn, scene.run.last_seq, run.rev)


def travelled(scene: Scene, stored: Run, asked: Asked) -> dict[str, Any]:
    """What is said of where the reader stands in time. `stored`: the run as it is now."""
    event = scene.events.filter(seq=scene.at).first() if scene.at else None
    return {
        "at_event": scene.at,
        "asked": asked,
        "stored": stored,
        "farthest": farthest(stored.last_seq),
        "event": event,
        "event_at": time_tag(event_time(event) if event else None, "clock"),
        "event_words": _SENTENCE.get(event.event_type, event.event_type) if event else "",
        "event_task": event.task_name or event.task_id if event and event.event_type.startswith("task_") else "",
    }


def toolbar_of(run: Run, asked: Asked) -> dict[str, Any]:
    """What of the view is chosen, and what there is to choose."""
    return {"view": asked.view, "asked": asked, "drawable": not run.attached, "guest": asked.guest}


def sync(scene: Scene, drawn: Window, since: int, rev: int, task: Item | None = None) -> SafeString:
    """What the page has: the acknowledgement that it sends after every message. `task`: the one in its drawer."""
    return format_html(
        '<span id="sync" data-task-rev="{}"><input type="hidden" name="since" value="{}">'
        '<input type="hidden" name="rev" value="{}"><input type="hidden" name="ground" value="{}">'
        '<input type="hidden" name="shape" value="{}"><input type="hidden" name="shows" value="{}"></span>',
        _task_rev(scene, task),
        since,
        rev,
        drawn.ground,
        drawn.shape,
        "" if scene.at is None else scene.at,
    )


# --- changes --------------------------------------------------------------------------------------------------


def _partial(target: str, swap: str, html: str | SafeString) -> SafeString:
    rendered = SafeString(html)  # nosec B703  # by a template, or by format_html
    return format_html('<hx-partial hx-target="{}" hx-swap="{}">{}</hx-partial>', target, swap, rendered)


def run_changes(
    run_id: int,
    since: int,
    rev: int,
    drawn_on: str,
    asked: Asked | None = None,
    kept: Kept | None = None,
    rings: int = 0,
) -> tuple[str, int] | None:
    """What a page at this place lacks, as one message, and how many events came; None when it lacks nothing.

    Rows are written while this reads. The page is told the rev of the run's row, which is read first: nothing that is
    read after it can be older, and what is newer comes again. `rings`: heard by the run's feed before this reading.
    Raises Run.DoesNotExist.
    """
    asked, kept = asked or Asked(), kept or Kept(run_id)
    if asked.at is not None:
        stored = read_run(run_id)
        if asked.within(stored.last_seq).at is not None:
            return _past_changes(stored, since, rev, drawn_on, asked)
        asked = replace(asked, at=None)
    moved = asked.shows is not None  # back from a past, of which nothing is as it is now
    if moved:
        since, asked = 0, replace(asked, log=True)
    with kept.lock:
        run = read_run(run_id, kept.run)
        if run.ended:  # from here on, what its workflow says of retries is shown
            run = read_run(run_id)
        kept.run = run
        kept.rings = max(kept.rings, rings)
        if (rev, since) == (run.rev, run.last_seq) and not (asked.wants or moved):
            return None
        kept.catch_up(run.rev, run.reset_rev)
        events, seq, swap = _new_events(run_id, since, run.last_seq, asked)
        if rev < run.reset_rev or rev > run.rev or since > run.last_seq:
            return _everything(run, asked), 0
        scene = Scene(run, kept, guest=asked.guest)
        stood = kept.stands_since(run, scene.gaps)
        drawn = board.window(scene, asked, rev=rev, drawn_on=drawn_on)
        opened = kept.outline.get(asked.task)
        graph = graph_of_run(scene) if asked.as_graph else None
    everything = moved or run.ended or rev < stood
    parts = _regions(scene, asked, everything=everything) if moved or rev < run.rev else []
    parts += _place_in_time(scene, run, asked) if moved else []
    parts += _drawn(drawn, graph)
    if events or swap == "innerHTML":
        parts.append(_partial("#log", swap, "".join(map(event_row, events))))
    parts.append(_partial("#sync", "outerHTML", sync(scene, drawn, seq, run.rev, opened)))
    return "".join(parts), max(0, run.last_seq - since)


def _past_changes(run: Run, since: int, rev: int, drawn_on: str, asked: Asked) -> tuple[str, int] | None:
    """The same of a page that shows a past, or is about to. What comes meanwhile it is told in numbers only.

    `run`: as it is stored.
    """
    assert asked.at is not None
    moved = asked.at != asked.shows or rev < run.reset_rev
    if (rev, since) == (run.rev, asked.at) and not (asked.wants or moved):
        return None
    scene = Past(run, asked.at, guest=asked.guest)
    drawn = board.window(scene, asked, rev=asked.at, drawn_on="" if moved else drawn_on)
    parts = _regions(scene, asked, everything=True) if moved else []
    if not moved and rev < run.rev:  # its retry is told in a past, too
        parts.append(_partial("#banners", "outerMorph", region("banners", scene.run, **facts_of(scene))))
    parts += _place_in_time(scene, run, asked)
    parts += _drawn(drawn, graph_of_run(scene) if asked.as_graph else None)
    if moved or since != asked.at:
        events = list(scene.events.order_by("-seq")[:LOG_FIRST])[::-1]
        parts.append(_partial("#log", "innerHTML", "".join(map(event_row, events))))
    opened = scene.kept.outline.get(asked.task)
    parts.append(_partial("#sync", "outerHTML", sync(scene, drawn, asked.at, run.rev, opened)))
    return "".join(parts), BATCH  # paced as if it were hot: nobody can read more a second


def _place_in_time(scene: Scene, stored: Run, asked: Asked) -> list[SafeString]:
    told = travelled(scene, stored, asked)
    return [
        _partial("#past", "outerMorph", region("past", scene.run, **told)),
        _partial("#travel-where", "outerMorph", region("where", scene.run, **told)),
    ]


def _drawn(drawn: Window, graph: SafeString | None) -> list[SafeString]:
    rows = _partial("#rows-in", "innerHTML", format_html("<ol{}>{}</ol>", drawn.attributes, drawn.rows))
    return [rows] if graph is None else [rows, _partial("#graph-in", "innerHTML", graph)]


def _new_events(run_id: int, since: int, last: int, asked: Asked) -> tuple[list[Event], int, str]:
    """What the log lacks, up to which event it is then whole, and how it is put in.

    A page that is far behind gets the end of the log anew; the rest it fetches when its reader scrolls there. One that
    does not show the end gets nothing but the number of the last event.
    """
    if not asked.log:
        return [], max(since, last), "beforeend"
    fresh = since == 0 or last - since > BATCH
    start = max(since, last - LOG_FIRST) if fresh else since
    events = _heads(run_id, start)
    return events, events[-1].seq if events else since, "innerHTML" if fresh else "beforeend"


def _regions(scene: Scene, asked: Asked, *, everything: bool) -> list[SafeString]:
    """Those that move with every event, or all."""
    run = scene.run
    parts = {"#progress": moving.progress(run), "#state-chips": moving.state_chips(run, asked.view)}
    if not everything:
        parts["#steps"] = moving.steps(run)
    else:
        facts = facts_of(scene)
        parts |= {
            "#run-head": region("head", run, **facts),
            "#banners": region("banners", run, **facts),
            "#no-tasks": region("no_tasks", run, **facts),
            "#no-events": region("no_events", run, **facts),
            "#failure": region("failure", run, failure=failure_of(scene)),
            "#io": region("io", run, io=io_of(run)),
        }
    return [_partial(target, "outerMorph", html) for target, html in parts.items()]


def _everything(run: Run, asked: Asked) -> str:
    scene = scene_of(run, asked)
    html, here = body(run, asked, scene)
    where = _partial("#travel-where", "outerMorph", region("where", run, **travelled(scene, run, asked)))
    return _partial("#run", "innerHTML", html) + where + _partial("#sync", "outerHTML", here)


def card(run: Run) -> str:
    """A run in few lines, for a page of another site, with its acknowledgement."""
    scene = Scene(run, guest=True)
    return region("card", run, **facts_of(scene), failure=failure_of(scene))


def card_changes(run_id: int, rev: int) -> str | None:
    """The same for one that shows the run as of `rev`; None when it lacks nothing. Raises Run.DoesNotExist."""
    run = read_run(run_id)
    return None if run.rev == rev else _partial("#card", "outerMorph", card(run))


@dataclass(frozen=True, slots=True)
class Listed:
    """What a page of the runs list has, as it says itself."""

    revs: tuple[tuple[int, int], ...]  # (run, rev) of its rows
    query: str = ""  # its filters, as they stand in its address
    floor: str = ""  # the place of its last row where older runs fit as well; what is new to it stands above
    fresh: str = "0"  # how many new runs it offers
    counts: bool = True  # it is the first page, which new runs belong on


def list_sync(page: Listed) -> SafeString:
    """The acknowledgement of such a page."""
    return format_html(
        '<span id="list-sync"><input type="hidden" name="revs" value="{}"><input type="hidden" name="query" value="{}">'
        '<input type="hidden" name="floor" value="{}"><input type="hidden" name="fresh" value="{}">'
        '<input type="hidden" name="counts" value="{}"></span>',
        ",".join(f"{run_id}:{rev}" for run_id, rev in page.revs),
        page.query,
        page.floor,
        page.fresh,
        "yes" if page.counts else "no",
    )


def list_changes(page: Listed, filters: Filters | None) -> str | None:
    """The rows of this page that changed, and how many runs fit its filters now that it does not show; None when it
    lacks nothing. `filters`: those of its query; None where new runs are not to be counted now.
    """
    revs = dict(page.revs)
    runs = [run for run in Run.objects.listed().filter(pk__in=revs) if run.rev > revs[run.pk]]
    fresh = page.fresh if filters is None else _fresh(revs, filters, place_in(page.floor))
    if not runs and fresh == page.fresh:
        return None
    rows = "".join(_partial(f"#run-{run.pk}", "outerMorph", run_row(run)) for run in runs)
    now = revs | {run.pk: run.rev for run in runs}
    return rows + _partial("#list-sync", "outerHTML", list_sync(replace(page, revs=tuple(now.items()), fresh=fresh)))


def _fresh(shown: Collection[int], filters: Filters, floor: Place | None) -> str:
    """`100+` where there are more. A run that fits only now, as one that has just failed, is new to a page, too."""
    found = listing.places(filters, MOST_FRESH + len(shown), after=floor)
    count = sum(place.run_id not in shown for place in found)
    return f"{MOST_FRESH}+" if count >= MOST_FRESH else str(count)
