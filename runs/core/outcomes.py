"""How the last runs of a flow went, in a few figures."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: its end, and seconds that it took; None for what has not ended or has no known duration."""

    status: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    ended: int  # runs that succeeded or failed
    failed: int
    p50: float | None  # seconds that half of those that succeeded took at most; None when none did
    p95: float | None


def summary(outcomes: Sequence[Outcome]) -> Summary:
    """Lost, stopped and refused runs say nothing of the flow and are left out; failed ones say nothing of how long it
    takes.
    """
    ended = [one for one in outcomes if one.status in ("succeeded", "failed")]
    took = sorted(one.seconds for one in ended if one.status == "succeeded" and one.seconds is not None)
    return Summary(
        ended=len(ended),
        failed=sum(one.status == "failed" for one in ended),
        p50=_rank(took, 0.5),
        p95=_rank(took, 0.95),
    )


def _rank(values: Sequence[float], share: float) -> float | None:
    """The smallest of these that at least this share of them does not exceed; `values` are sorted."""
    return values[max(0, -int(-len(values) * share // 1) - 1)] if values else None
