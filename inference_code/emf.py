"""The same figures for CloudWatch: a line of the log every minute, in its embedded metric format.

CloudWatch Logs makes metrics of such lines by itself, so the server needs no credentials, no agent and
no network for it. Counts and distributions are those of the interval; gauges are sampled every second,
and every sample is sent, so that average and maximum over all replicas are right.

Sources: CloudWatch user guide, "Specification: Embedded metric format" (at most 100 metrics in a
directive, 100 numbers in a value, 30 dimensions, 1 MB). That page knows numbers and lists of numbers; a
distribution as ``Values`` and ``Counts`` is what AWS's own exporter writes
(open-telemetry/opentelemetry-collector-contrib:exporter/awsemfexporter/metric_translator.go), with the
limit of 100 too (pull request 36336 there).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from artifact.serving import METRICS_DIMENSIONS, METRICS_NAMESPACE
from inference_code.histogram import Counts
from inference_code.log import origin
from inference_code.log_writer import LineWriter
from inference_code.metrics import Metrics, Snapshot

MAX_INTERVAL_SECONDS = 60
"""One sample a second must fit into a list of at most 100 numbers."""

_MILLISECONDS = 1000

UNITS = {
    "Requests": "Count",
    "RefusedRequests": "Count",
    "FailedRequests": "Count",
    "ShedRequests": "Count",
    "RequestLatency": "Milliseconds",
    "ReadLatency": "Milliseconds",
    "PrepareLatency": "Milliseconds",
    "QueueLatency": "Milliseconds",
    "RunLatency": "Milliseconds",
    "WriteLatency": "Milliseconds",
    "RequestsInFlight": "Count",
    "QueueRows": "Count",
    "BatchRows": "Count",
    "BatchSlots": "Count",
    "RealTokens": "Count",
    "PaddingTokens": "Count",
    "CoreUse": "Percent",
    "ReadyWorkers": "Count",
    "WorkerRestarts": "Count",
    "Ready": "Count",
}
"""Every metric that may be in a line; one without a value in the interval is left out of it."""


@dataclass
class Window:
    """An interval of one model: where it began, and the samples of its gauges."""

    before: Snapshot
    began: float
    in_flight: list[int] = field(default_factory=list)
    queue_rows: list[int] = field(default_factory=list)

    def sample(self, now: Snapshot) -> None:
        """Take the gauges of ``now``."""
        self.in_flight.append(now.in_flight)
        self.queue_rows.append(now.queue_rows)


def document(
    window: Window, now: Snapshot, *, service: str, seconds: float, timestamp: float
) -> dict[str, object]:
    """One line: what happened between the window's begin and ``now``.

    Args:
        service: the fleet or endpoint that this server is a replica of.
        seconds: length of the interval.
        timestamp: seconds since 1970.
    """
    values = {name: value for name, value in _values(window, now, seconds).items() if value is not None}
    directive = {
        "Namespace": METRICS_NAMESPACE,
        "Dimensions": [list(METRICS_DIMENSIONS)],
        "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in values],
    }
    return {
        "_aws": {"Timestamp": int(timestamp * _MILLISECONDS), "CloudWatchMetrics": [directive]},
        "event": "metrics",
        **dict(zip(METRICS_DIMENSIONS, (service, now.model))),
        "Digest": now.build.get("digest", ""),
        **values,
    }


def _values(window: Window, now: Snapshot, seconds: float) -> Mapping[str, object]:
    before = window.before
    requests = {status: n - before.requests.get(status, 0) for status, n in now.requests.items()}
    buckets = [(found, before.buckets.get(name)) for name, found in now.buckets.items()]

    def batches(attribute: str) -> int:
        return sum(
            getattr(found, attribute) - (getattr(old, attribute) if old else 0) for found, old in buckets
        )

    workers = [(found, before.workers.get(name)) for name, found in now.workers.items()]
    busy = [found.busy_seconds - (old.busy_seconds if old else 0.0) for found, old in workers]
    restarts = sum(found.restarts - (old.restarts if old else 0) for found, old in workers)
    stages = {
        f"{stage.capitalize()}Latency": _distribution(counts.since(before.stages.get(stage)))
        for stage, counts in now.stages.items()
    }
    return {
        "Requests": sum(requests.values()),
        "RefusedRequests": sum(n for status, n in requests.items() if 400 <= status < 500),
        "FailedRequests": sum(n for status, n in requests.items() if status >= 500),
        "ShedRequests": sum(n for status, n in requests.items() if status in {429, 503}),
        "RequestLatency": _distribution(now.seconds["answered"].since(before.seconds["answered"])),
        **stages,
        "RequestsInFlight": window.in_flight or None,
        "QueueRows": window.queue_rows or None,
        "BatchRows": batches("rows"),
        "BatchSlots": batches("slots"),
        "RealTokens": batches("real_tokens"),
        "PaddingTokens": batches("padding_tokens"),
        "CoreUse": [round(100 * spent / seconds, 2) for spent in busy] or None,
        "ReadyWorkers": sum(found.ready for found, _ in workers),
        "WorkerRestarts": restarts,
        "Ready": int(now.ready),
    }


def _distribution(counts: Counts) -> Mapping[str, object] | None:
    """Milliseconds, each bucket by its middle; the last, which has no end, by its begin."""
    bounds = (0.0, *counts.bounds)
    ends = (*counts.bounds, counts.bounds[-1])
    middles = [round((low + high) / 2 * _MILLISECONDS, 3) for low, high in zip(bounds, ends)]
    found = [(middle, count) for middle, count in zip(middles, counts.counts) if count]
    if not found:
        return None
    values, numbers = zip(*found)
    return {
        "Values": values,
        "Counts": numbers,
        "Max": values[-1],
        "Min": values[0],
        "Count": sum(numbers),
        "Sum": round(counts.total * _MILLISECONDS, 3),
    }


class Emitter:
    """Writes a line for each model every ``interval`` seconds, and a last one when it is closed.

    ``sample``: seconds between two looks at the gauges.
    """

    def __init__(
        self,
        models: Callable[[], Sequence[Metrics]],
        lines: LineWriter,
        *,
        service: str,
        interval: float,
        sample: float = 1.0,
    ) -> None:
        self._models = models
        self._lines = lines
        self._service = service
        self._interval = interval
        self._sample = sample
        self._began = time.monotonic()
        self._windows: dict[Metrics, Window] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="emf", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what the running interval has so far."""
        self._closing.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing.wait(self._sample):
            self._look(self._models())
        self._look([])

    def _look(self, models: Sequence[Metrics]) -> None:
        """Sample ``models``; write for those whose interval is over, and for those that are gone."""
        moment = time.monotonic()
        for metrics in {*models, *self._windows}:
            now = metrics.now()
            window = self._windows.get(metrics) or self._first(metrics)
            window.sample(now)
            seconds = moment - window.began
            if seconds >= self._interval or metrics not in models:
                line = document(window, now, service=self._service, seconds=seconds, timestamp=time.time())
                self._lines.put(msgspec.json.encode({**line, **origin()}) + b"\n")
                window = Window(before=now, began=moment)
            self._windows[metrics] = window
        for gone in self._windows.keys() - set(models):
            del self._windows[gone]

    def _first(self, metrics: Metrics) -> Window:
        """From nothing: what was counted before anybody looked belongs to the first interval."""
        return Window(before=Metrics(metrics.model, deadline=metrics.deadline).now(), began=self._began)
