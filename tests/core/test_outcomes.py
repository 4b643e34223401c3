"""A few figures of how a flow's last runs went."""

import pytest

from runs.core.outcomes import Outcome, Summary, summary


def test_of_no_run_nothing_is_said() -> None:
    assert summary([]) == Summary(ended=0, failed=0, p50=None, p95=None)


def test_only_runs_that_succeeded_or_failed_are_counted_and_only_good_ones_timed() -> None:
    runs = [
        ("succeeded", 10.0),
        ("succeeded", None),
        ("failed", 1.0),
        ("lost", 99.0),
        ("stopped", 99.0),
        ("running", 5),
    ]
    assert summary([Outcome(*run) for run in runs]) == Summary(ended=3, failed=1, p50=10.0, p95=10.0)


@pytest.mark.parametrize(("count", "p50", "p95"), [(1, 1, 1), (2, 1, 2), (3, 2, 3), (20, 10, 19), (100, 50, 95)])
def test_a_percentile_is_a_duration_that_was_seen(count: int, p50: float, p95: float) -> None:
    found = summary([Outcome("succeeded", float(n)) for n in range(count, 0, -1)])
    assert (found.p50, found.p95) == (p50, p95)
