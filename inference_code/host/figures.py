"""What was reported, counted: totals since the start for Prometheus, intervals for CloudWatch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from inference_code.host.reports import Report

MAX_SAMPLES = 100
"""Most numbers in a value of CloudWatch's embedded metric format."""


@dataclass
class Interval:
    """Between two lines. Lists are samples: of each core and report, of each report."""

    reports: int = 0
    core_use: list[float] = field(default_factory=list)
    latency: dict[str, list[float]] = field(default_factory=dict)


class Figures:
    """Everything that is told of an instance. For one thread; ``latest`` may be read by others."""

    def __init__(self) -> None:
        self.latest = Report()
        self.reports = 0
        self.unreadable = 0
        self.executions: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.ecc: Counter[tuple[int, str]] = Counter()
        self.devices = 0
        self.faulty = False
        self.refused = 0
        """Replacements that were asked for in vain."""
        self.interval = Interval()

    def add(self, report: Report) -> None:
        """Count a report."""
        self.latest = report
        self.reports += 1
        self.executions.update(report.executions)
        self.errors.update(report.errors)
        self.ecc.update(report.ecc)
        interval = self.interval
        interval.reports += 1
        interval.core_use.extend(report.cores.values())
        for name, seconds in report.latency.items():
            interval.latency.setdefault(name, []).append(seconds)

    def silent(self) -> None:
        """neuron-monitor reports no more: what it said last is no longer true."""
        self.latest = Report()

    def ecc_events(self, *, corrected: bool) -> int:
        """Events of all chips since the start."""
        ending = "_corrected" if corrected else "_uncorrected"
        return sum(events for (_, kind), events in self.ecc.items() if kind.endswith(ending))

    def begin_interval(self) -> Interval:
        """End the running interval and return it."""
        ended, self.interval = self.interval, Interval()
        return ended
