"""What stands above the list of one flow's runs: how the last ones went. Reads the newest by an index, no history."""

import json
from typing import Any

from runs.core.outcomes import Outcome, summary
from runs.models import Run, Workflow

LAST_RUNS = 200  # tell how often it fails and how long it takes
STRIP_LENGTH = 30


def flow_head(flow_name: str) -> dict[str, Any] | None:
    """The strip, the figures and what the chart draws; None for a flow without runs."""
    newest = Run.objects.filter(flow_name=flow_name).order_by("-created_at", "-id")
    columns = newest.values_list("pk", "status", "created_at", "started_at", "finished_at", "execution_time")
    runs = [(pk, at, Outcome(status, _took(*times))) for pk, status, at, *times in reversed(columns[:LAST_RUNS])]
    if not runs:
        return None
    figures = summary([outcome for _, _, outcome in runs])
    drawn = [run for run in runs if run[2].status in ("succeeded", "failed") and run[2].seconds is not None]
    return {
        "flow_name": flow_name,
        "workflow": Workflow.objects.filter(flow_name=flow_name).order_by("id").values_list("pk", flat=True).first(),
        "strip": [{"id": pk, "status": outcome.status} for pk, _, outcome in runs[-STRIP_LENGTH:]],
        "summary": figures,
        "failure_percent": f"{100 * figures.failed / figures.ended:.1f}".removesuffix(".0") if figures.ended else "",
        "chart": json.dumps(
            {
                "at": [round(at.timestamp()) for _, at, _ in drawn],
                "runs": [pk for pk, _, _ in drawn],
                **{
                    status: [_seconds(outcome, status) for _, _, outcome in drawn] for status in ("succeeded", "failed")
                },
            }
        )
        if len(drawn) > 1
        else None,
    }


def _took(started_at: float | None, finished_at: float | None, execution_time: float | None) -> float | None:
    """Seconds, as the row of the run says it."""
    if execution_time is not None or started_at is None or finished_at is None:
        return execution_time
    return max(0.0, finished_at - started_at)


def _seconds(outcome: Outcome, status: str) -> float | None:
    return round(outcome.seconds, 3) if outcome.seconds is not None and outcome.status == status else None
