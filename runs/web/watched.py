"""What is told of a run that does not simply go on and end: since when, how late, and what is launched in its place."""

from typing import Any

from runs.models import Launch, Run
from runs.templatetags.rows import time_tag


def watched(run: Run, guest: bool = False) -> dict[str, Any]:
    """For head and banners; a guest is told nothing of other runs. Asks the database only about a launch that is
    unconfirmed and the retry of a failed run.
    """
    sent_at = Launch.objects.filter(run=run).values_list("sent_at", flat=True).first() if run.unconfirmed else None
    again = None if guest else next_retry(run)
    limit = run.workflow.retry_limit if run.workflow and not guest else 0
    number = again.retry_number if again else run.retry_number
    return {
        "silent_at": time_tag(run.silent_since, "short"),
        "due_at": time_tag(run.due_at, "near"),
        "late": _late(run),
        "sent_at": sent_at,
        "sent": time_tag(sent_at, "short"),
        "starts_at": time_tag(run.waits_until, "near"),
        "next_retry": again,
        "of_retries": f" of {limit}" if limit >= number else "",
        "last_retry": again is None and run.status == Run.Status.FAILED and 0 < limit <= run.retry_number,
    }


def next_retry(run: Run) -> Run | None:
    """The run that was launched by itself because this one failed, with its stream."""
    if run.status != Run.Status.FAILED or run.attached:
        return None
    retries = Run.objects.filter(retry_of=run.first_id, retry_number=run.retry_number + 1)
    return retries.select_related("stream").order_by("pk").first()


def _late(run: Run) -> float | None:
    """Seconds from its deadline to its end, where it has one."""
    if run.due_at is None or run.finished_at is None or run.finished_at < run.due_at:
        return None
    return run.finished_at - run.due_at
