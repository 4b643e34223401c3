"""For Prometheus: how many runs are followed, by whom, and which need a look. Read from the database when it is asked.

Seven queries, each over what goes on now or what is kept of a bounded number of flows: none grows with what has been.
No label has more values than there are workers, or than MOST_FLOWS.
"""

import time
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Final

import msgspec
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from alerts.models import Delivery
from api.access import VIEWER
from api.problems import explain, unauthorized
from runs.core.figures import LAGS, Figures
from runs.core.times import times_of
from runs.facts import worker_facts
from runs.models import Run, Stream, UnsentTrace, UsualTimes, Worker
from runs.web.live import DOORKEEPER

MOST_FLOWS: Final = 100  # whose durations are told

# Name -> its kind, what it counts, and its labels. docs/operations.md says what to do about each.
METRICS: Final[dict[str, tuple[Any, str, tuple[str, ...]]]] = {
    "stepline_streams": (
        GaugeMetricFamily,
        "Runs that are to be followed, by the worker that has the lease (empty: nobody) and by connection",
        ("worker", "connection"),
    ),
    "stepline_streams_unfollowed": (
        GaugeMetricFamily,
        "Runs that are to be followed now and that no worker has a good lease of",
        (),
    ),
    "stepline_retries_waiting": (GaugeMetricFamily, "Retries whose pause is not over", ()),
    "stepline_worker_beat_age_seconds": (
        GaugeMetricFamily,
        "Seconds since the last beat of a worker, which beats every 5",
        ("worker",),
    ),
    "stepline_events_total": (CounterMetricFamily, "Events that a worker has made durable", ("worker",)),
    "stepline_commits_total": (CounterMetricFamily, "Transactions in which a worker has done so", ("worker",)),
    "stepline_rejected_frames_total": (
        CounterMetricFamily,
        "Frames that a worker has put into quarantine",
        ("worker",),
    ),
    "stepline_commit_lag_seconds": (
        HistogramMetricFamily,
        "From the receipt of the oldest event of a write until it was durable",
        ("worker",),
    ),
    "stepline_runs_unfinished": (GaugeMetricFamily, "Runs that have not ended", ("status",)),
    "stepline_runs_silent": (
        GaugeMetricFamily,
        "Unfinished runs that are connected, with no event for longer than usual",
        (),
    ),
    "stepline_runs_overdue": (GaugeMetricFamily, "Unfinished runs past the deadline of their workflow", ()),
    "stepline_oldest_queued_run_age_seconds": (
        GaugeMetricFamily,
        "How long the run that has waited longest for a worker has done so; 0 when none waits",
        (),
    ),
    "stepline_flow_duration_seconds": (
        GaugeMetricFamily,
        "What the last good runs of a flow took, by quantile",
        ("upstream", "flow", "quantile"),
    ),
    "stepline_alert_deliveries": (
        GaugeMetricFamily,
        "Messages of alerts that wait for their next try, or have failed for good",
        ("state",),
    ),
    "stepline_traces_unsent": (
        GaugeMetricFamily,
        "Traces of ended runs that wait, were tried in vain, or were refused for good",
        ("state",),
    ),
    "stepline_browsers": (
        GaugeMetricFamily,
        "Open sockets of pages, and of programs that read a stream, in the process that answers",
        (),
    ),
}


class Watched(Collector):
    """What the database says of streams, workers, runs and what is to be sent."""

    def describe(self) -> Iterable[Metric]:
        return []  # without it the registry would ask the database when it is made

    def collect(self) -> Iterable[Metric]:
        found = {name: kind(name, words, labels=labels) for name, (kind, words, labels) in METRICS.items()}

        streams: Counter[tuple[str, str]] = Counter()
        places: Counter[str] = Counter()
        for kind in Stream.objects.kinds():
            worker = kind["owner"] if kind["place"] == "followed" else ""
            streams[worker, kind["connection"]] += kind["streams"]
            places[kind["place"]] += kind["streams"]
        for labels, count in sorted(streams.items()):
            found["stepline_streams"].add_metric(labels, count)
        found["stepline_streams_unfollowed"].add_metric((), places["unfollowed"])
        found["stepline_retries_waiting"].add_metric((), places["waiting"])

        for worker in Worker.objects.listed():
            one = (worker.name,)
            found["stepline_worker_beat_age_seconds"].add_metric(one, worker_facts(worker)["beat_age"])
            figures = msgspec.convert(worker.figures or {}, Figures)
            found["stepline_events_total"].add_metric(one, figures.events)
            found["stepline_commits_total"].add_metric(one, figures.commits)
            found["stepline_rejected_frames_total"].add_metric(one, figures.rejected)
            ends = map(floatToGoString, (*LAGS, float("inf")))
            buckets = list(zip(ends, accumulate(figures.lags), strict=True))
            found["stepline_commit_lag_seconds"].add_metric(one, buckets, figures.lag_sum)

        runs = {row["status"]: row for row in Run.objects.unfinished()}
        for status in Run.GOING_ON:
            found["stepline_runs_unfinished"].add_metric((status.value,), runs.get(status, {}).get("runs", 0))
        for name in ("silent", "overdue"):
            found[f"stepline_runs_{name}"].add_metric((), sum(row[f"are_{name}"] for row in runs.values()))

        since = Run.objects.queued_since()
        age = 0.0 if since is None else max(0.0, time.time() - since)
        found["stepline_oldest_queued_run_age_seconds"].add_metric((), age)

        for upstream, flow, whole in UsualTimes.objects.of_runs(MOST_FLOWS):
            if usual := times_of(whole, ()).run:
                for quantile, seconds in (("0.5", usual.p50), ("0.9", usual.p90)):
                    if seconds is not None:
                        found["stepline_flow_duration_seconds"].add_metric((upstream, flow, quantile), seconds)
        for state, count in Delivery.objects.unsent().items():
            found["stepline_alert_deliveries"].add_metric((state,), count)
        for state, count in UnsentTrace.objects.kinds().items():
            found["stepline_traces_unsent"].add_metric((state,), count)
        found["stepline_browsers"].add_metric((), DOORKEEPER.inside)
        return found.values()


def registry() -> CollectorRegistry:
    """Everything that is measured here: the runs', and this process's own."""
    made = CollectorRegistry(auto_describe=False)
    made.register(Watched())
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=made)
    return made


REGISTRY = registry()


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The text that Prometheus reads, for a viewer's token or a signed-in session."""
    try:
        if not any(auth(request) for auth in VIEWER):
            raise unauthorized("Send 'Authorization: Bearer TOKEN' of a user with the role viewer, or sign in.")
        return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_PLAIN_0_0_4)
    except Exception as error:
        return explain(request, error)
