"""The figures of an instance as lines of CloudWatch's embedded metric format (see inference_code/emf.py).

One dimension, the fleet: every instance writes to the same metrics, because one more dimension would
be paid for with each instance that ever ran. ``NeuronReports`` is the heartbeat: it is written, as 0,
while neuron-monitor is silent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from artifact.host import METRICS_DIMENSION
from artifact.serving import METRICS_NAMESPACE
from inference_code.host.figures import MAX_SAMPLES, Figures

UNITS = {
    "NeuronReports": "Count",
    "NeuronCoreUse": "Percent",
    "NeuronDeviceMemory": "Bytes",
    "NeuronLatencyP50": "Milliseconds",
    "NeuronLatencyP99": "Milliseconds",
    "NeuronExecutions": "Count",
    "NeuronFailedExecutions": "Count",
    "NeuronEccCorrected": "Count",
    "NeuronEccUncorrected": "Count",
    "NeuronDevices": "Count",
    "HostFault": "Count",
    "ReplacementsRefused": "Count",
}
"""Every metric that may be in a line; one without a value in the interval is left out of it."""

COMPLETED = "completed"
_MILLISECONDS = 1000


class Lines:
    """Makes a line of each interval."""

    def __init__(self, figures: Figures, *, service: str, digest: str) -> None:
        self._figures = figures
        self._service = service
        self._digest = digest
        self._before: Mapping[str, int] = dict.fromkeys(self._totals(), 0)

    def end_interval(self, timestamp: float) -> dict[str, object]:
        """The line of the interval that ends at ``timestamp``, seconds since 1970."""
        figures, interval = self._figures, self._figures.begin_interval()
        totals = self._totals()
        counts = {name: total - self._before[name] for name, total in totals.items()}
        self._before = totals
        found: dict[str, object] = {
            "NeuronReports": interval.reports,
            "NeuronCoreUse": _samples(interval.core_use),
            "NeuronDeviceMemory": figures.latest.device_bytes if interval.reports else None,
            "NeuronLatencyP50": _samples(interval.latency.get("p50", []), _MILLISECONDS),
            "NeuronLatencyP99": _samples(interval.latency.get("p99", []), _MILLISECONDS),
            **counts,
            "NeuronDevices": figures.devices,
            "HostFault": int(figures.faulty),
        }
        values = {name: value for name, value in found.items() if value is not None}
        directive = {
            "Namespace": METRICS_NAMESPACE,
            "Dimensions": [[METRICS_DIMENSION]],
            "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in values],
        }
        return {
            "_aws": {"Timestamp": int(timestamp * _MILLISECONDS), "CloudWatchMetrics": [directive]},
            "event": "host metrics",
            METRICS_DIMENSION: self._service,
            "Digest": self._digest,
            **values,
        }

    def _totals(self) -> Mapping[str, int]:
        figures = self._figures
        executions = figures.executions
        return {
            "NeuronExecutions": sum(executions.values()),
            "NeuronFailedExecutions": sum(executions.values()) - executions[COMPLETED],
            "NeuronEccCorrected": figures.ecc_events(corrected=True),
            "NeuronEccUncorrected": figures.ecc_events(corrected=False),
            "ReplacementsRefused": figures.refused,
        }


def _samples(values: Sequence[float], factor: float = 1) -> list[float] | None:
    """Every sample, or as many as the format takes, evenly chosen; None where there is none."""
    step = -(-len(values) // MAX_SAMPLES) or 1
    return [round(value * factor, 3) for value in values[::step]] or None
