"""What a message says: the JSON body that webhooks get, and its words for everything else. Pure functions."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from alerts.models import Kind
from runs.models import Happening, Run

type Body = dict[str, Any]

LONGEST_ERROR = 500  # characters of an error's message in words
LONGEST_TITLE = 80  # characters; encoded for a mail, a line of a header has room for so many of any kind

_HEADLINES = {
    Kind.TASK_FAILED: "Task failed",
    Kind.RUN_FAILED: "Run failed",
    Kind.RUN_LOST: "Run lost",
    Kind.SILENT: "Run silent",
    Kind.OVERDUE: "Run overdue",
    Kind.RECOVERED: "Recovered",
    Kind.NEW_FAILURE: "New kind of failure",
}


def moment(seconds: float | None) -> str | None:
    """Epoch seconds as ISO 8601 in UTC; None for none and for what no calendar holds."""
    try:
        at = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z" if at else None


def compose(
    *,
    kind: Kind,
    rule: str,
    happening: Happening,
    run: Run,
    task: tuple[str, str] | None,
    error: dict[str, Any] | None,
    held_back: int,
    since: float | None,
    site: str,
) -> Body:
    """The message. `task`: key and name; `held_back` messages since `since` (epoch seconds) were not sent."""
    url = site + run.get_absolute_url()
    return {
        "event": kind.value,
        "happened": happening.kind,
        "at": moment(happening.at),
        "rule": rule,
        "run": {
            "id": run.pk,
            "upstream": run.upstream.name,
            "flow_name": run.flow_name,
            "run_name": run.run_name,
            "status": run.status,
            "started_at": moment(run.started_at),
            "finished_at": moment(run.finished_at),
            "notice": run.notice,
            "url": url,
        },
        "task": task and {"key": task[0], "name": task[1]},
        "error": error,
        "held_back": held_back,
        "held_back_since": moment(since) if held_back else None,
        "url": f"{url}?task={quote(task[0], safe='')}" if task else url,
    }


def test_message(site: str) -> Body:
    """What the Test button sends: every field of a real one, about no run."""
    return {
        "event": "test",
        "happened": "test",
        "at": None,
        "rule": "",
        "run": None,
        "task": None,
        "error": None,
        "held_back": 0,
        "held_back_since": None,
        "url": f"{site}/alerts/channels/",
    }


def headline(body: Body, kind: str) -> str:
    """Two or three words for a happening of this kind."""
    if kind == Kind.RUN_FAILED and body.get("happened") == Happening.Kind.REFUSED:
        return "Launch refused"
    return _HEADLINES[Kind(kind)]


def title(body: Body) -> str:
    """One line, shortened: what, and of which flow."""
    if body["event"] == "test":
        return "Stepline: test message"
    task = f": {body['task']['name']}" if body["task"] else ""
    # Names come from an upstream: with a line break, or too long, no server would take the mail.
    line = " ".join(f"{headline(body, body['event'])}{task} · {body['run']['flow_name']}".split())
    return line if len(line) <= LONGEST_TITLE else line[: LONGEST_TITLE - 1] + "…"


def text(body: Body) -> str:
    """The lines under it, the link last."""
    if body["event"] == "test":
        return f"Messages of this channel arrive here.\n{body['url']}"
    run, error = body["run"], body["error"]
    lines = [f"Run: {run['flow_name']} / {run['run_name']} ({run['upstream']}), {run['status']}"]
    if body["task"]:
        lines.append(f"Task: {body['task']['name']}")
    if error:
        code = f" ({error['code']})" if error.get("code") else ""
        lines.append(f"{error.get('type') or 'Error'}{code}: {str(error.get('message', ''))[:LONGEST_ERROR]}")
    if run["notice"] and not error:
        lines.append(run["notice"][:LONGEST_ERROR])
    lines.append(f"At: {body['at'] or 'unknown'}" + (f", started {run['started_at']}" if run["started_at"] else ""))
    if held := body["held_back"]:
        more = "one more of this kind was" if held == 1 else f"{held} more of this kind were"
        lines.append(f"Since {body['held_back_since']} {more} not sent.")
    return "\n".join([*lines, body["url"]])
