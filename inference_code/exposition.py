"""The page that Prometheus reads: what ``metrics.py`` counted, as families with names and units.

prometheus_client writes the text, in its own format or as OpenMetrics, and knows the process; the
counting is ours (docs/decisions/0019-metrics.md). docs/observability.md explains every family, which a
test holds to this file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from inference_code.histogram import Counts, shown_bounds
from inference_code.metrics import Metrics, Snapshot

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_OPENMETRICS = b"application/openmetrics-text"


class Exposition:
    """All models' metrics and the process's own as one page.

    ``dropped_log_lines`` tells how many lines of the log were lost; ``refused`` how often HTTP was
    refused before it was a request, by the error's id.
    """

    def __init__(
        self,
        dropped_log_lines: Callable[[], int] = lambda: 0,
        refused: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._models: dict[str, Metrics] = {}
        self._registry = CollectorRegistry()
        self._registry.register(_Families(self._models, dropped_log_lines, refused))
        ProcessCollector(registry=self._registry)

    def add(self, metrics: Metrics) -> None:
        """Show ``metrics`` under its model's name from now on."""
        self._models[metrics.model] = metrics

    def models(self) -> list[Metrics]:
        """Of every model that is on the page."""
        return list(self._models.values())

    def page(self, accept: bytes = b"") -> tuple[bytes, bytes]:
        """The whole page and its content type: OpenMetrics where the client names it, else plain text."""
        if _OPENMETRICS in accept:
            text: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return text, openmetrics.CONTENT_TYPE_LATEST.encode()
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4.encode()


class _Families(Collector):
    def __init__(
        self,
        models: dict[str, Metrics],
        dropped_log_lines: Callable[[], int],
        refused: Callable[[], Mapping[str, int]],
    ) -> None:
        self._models = models
        self._dropped = dropped_log_lines
        self._refused = refused

    def collect(self) -> Iterator[Metric]:
        page = _Page()
        for metrics in list(self._models.values()):
            _fill(page, metrics.now(), shown_bounds(metrics.deadline))
        yield from page.families
        dropped = CounterMetricFamily("traceship_log_lines_dropped_total", "Lines of the log that were lost.")
        dropped.add_metric([], self._dropped())
        refused = CounterMetricFamily(
            "traceship_refused_connections_total",
            "Connections ended for bad or slow HTTP.",
            labels=["reason"],
        )
        for reason, times in sorted(self._refused().items()):
            refused.add_metric([reason], times)
        threads = sum(1 for _ in Path("/proc/self/task").iterdir())
        yield from (dropped, refused)
        yield GaugeMetricFamily("process_threads", "Number of OS threads in the process.", value=threads)


class _Page:
    """Every family that has a model, by the name that its samples begin with."""

    def __init__(self) -> None:
        self.counters = {
            name: CounterMetricFamily(name, text, labels=["model", *labels])
            for name, text, *labels in _COUNTERS
        }
        self.gauges = {
            name: GaugeMetricFamily(name, text, labels=["model", *labels]) for name, text, *labels in _GAUGES
        }
        self.histograms = {
            name: HistogramMetricFamily(name, text, labels=["model", *labels])
            for name, text, *labels in _HISTOGRAMS
        }

    @property
    def families(self) -> list[Metric]:
        return [*self.counters.values(), *self.gauges.values(), *self.histograms.values()]


_COUNTERS = (
    ("traceship_requests_total", "Requests answered, by status.", "status"),
    ("traceship_rejected_requests_total", "Requests answered with an error, by its id.", "reason"),
    ("traceship_batches_total", "Batches run.", "bucket"),
    ("traceship_batch_failures_total", "Batches that raised, answered NaN, or whose worker died.", "bucket"),
    ("traceship_batch_rows_total", "Rows in the batches that were run.", "bucket"),
    ("traceship_batch_slots_total", "Rows that those batches had room for.", "bucket"),
    ("traceship_tokens_total", "Tokens in those batches, real ones and padding.", "bucket", "kind"),
    ("traceship_worker_busy_seconds_total", "Seconds in which a worker ran batches.", "worker"),
    ("traceship_worker_restarts_total", "Attempts to replace a worker that was lost.", "worker"),
    ("traceship_worker_checks_total", "Checks of a worker whose batches failed.", "worker"),
)
_GAUGES = (
    ("traceship_requests_in_flight", "Requests being read, run or answered."),
    ("traceship_queue_rows", "Rows that wait for a batch."),
    ("traceship_ready", "1 where /ping answers 200."),
    ("traceship_worker_up", "1 while the worker's process lives.", "worker"),
    ("traceship_worker_ready", "1 after it replayed the golden set.", "worker"),
    ("traceship_worker_resident_memory_bytes", "Memory of the worker's process.", "worker"),
    ("traceship_worker_selfcheck_seconds", "How long its last self-check took.", "worker"),
    ("traceship_build_info", "What is served, as labels; always 1."),
)
_HISTOGRAMS = (
    ("traceship_request_seconds", "Whole requests, by outcome.", "outcome"),
    ("traceship_request_stage_seconds", "Stages of requests.", "stage"),
    ("traceship_batch_seconds", "Batches in their graph.", "bucket"),
)


def _fill(page: _Page, now: Snapshot, shown: tuple[float, ...]) -> None:
    def count(name: str, value: float, *labels: str) -> None:
        page.counters[name].add_metric([now.model, *labels], value)

    def gauge(name: str, value: float, *labels: str) -> None:
        page.gauges[name].add_metric([now.model, *labels], value)

    def histogram(name: str, counts: Counts, label: str) -> None:
        buckets = _cumulated(counts, shown)
        page.histograms[name].add_metric([now.model, label], buckets=buckets, sum_value=counts.total)

    for status, requests in sorted(now.requests.items()):
        count("traceship_requests_total", requests, str(status))
    for reason, requests in sorted(now.rejected.items()):
        count("traceship_rejected_requests_total", requests, reason)
    for outcome, counts in now.seconds.items():
        histogram("traceship_request_seconds", counts, outcome)
    for stage, counts in now.stages.items():
        histogram("traceship_request_stage_seconds", counts, stage)
    for name, bucket in now.buckets.items():
        count("traceship_batches_total", bucket.batches, name)
        count("traceship_batch_failures_total", bucket.failures, name)
        count("traceship_batch_rows_total", bucket.rows, name)
        count("traceship_batch_slots_total", bucket.slots, name)
        count("traceship_tokens_total", bucket.real_tokens, name, "real")
        count("traceship_tokens_total", bucket.padding_tokens, name, "padding")
        histogram("traceship_batch_seconds", now.batch_seconds[name], name)
    for name, worker in now.workers.items():
        count("traceship_worker_busy_seconds_total", worker.busy_seconds, name)
        count("traceship_worker_restarts_total", worker.restarts, name)
        count("traceship_worker_checks_total", worker.checks, name)
        gauge("traceship_worker_up", worker.pid is not None, name)
        gauge("traceship_worker_ready", worker.ready, name)
        gauge("traceship_worker_selfcheck_seconds", worker.selfcheck_seconds, name)
        if worker.pid is not None:
            gauge("traceship_worker_resident_memory_bytes", _resident_bytes(worker.pid), name)
    gauge("traceship_requests_in_flight", now.in_flight)
    gauge("traceship_queue_rows", now.queue_rows)
    gauge("traceship_ready", now.ready)
    if now.build:
        labels = {"model": now.model, **now.build}
        page.gauges["traceship_build_info"].add_sample("traceship_build_info", labels, 1)


def _cumulated(counts: Counts, shown: tuple[float, ...]) -> list[tuple[str, float]]:
    """The ``shown`` bounds, a part of those that were counted, with everything at or below each."""
    below = dict(zip(counts.bounds, accumulate(counts.counts)))
    return [*((repr(bound), below[bound]) for bound in shown), ("+Inf", sum(counts.counts))]


def _resident_bytes(pid: int) -> int:
    """Of a process; 0 where it is just gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
