"""Durations counted by size: fine steps for CloudWatch, a readable few of them for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

SHOWN = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    30.0,
    60.0,
)
"""Upper bounds in seconds on /metrics. 1 s is the stacks' alarm, 20 s the deadline's default, 60 s the
platform's own limit, so that a share of requests within any of them is counted, not interpolated."""

_STEPS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
"""Renard's R10 series: ten steps a decade, each at most 28 % above the one before."""

_FINE = tuple(round(step * 10.0**decade, 9) for decade in range(-4, 2) for step in _STEPS)


def fine_bounds(deadline: float) -> tuple[float, ...]:
    """Bounds that are counted, rising: at most 78 of them, the shown ones and ``deadline`` among them."""
    return tuple(sorted({*SHOWN, *(bound for bound in _FINE if bound <= SHOWN[-1]), deadline}))


def shown_bounds(deadline: float) -> tuple[float, ...]:
    """The bounds of /metrics, ``deadline`` among them."""
    return tuple(sorted({*SHOWN, deadline}))


@dataclass(frozen=True)
class Counts:
    """What a histogram held at one moment. One count more than bounds: the last is for what lies above."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def since(self, before: Counts | None) -> Counts:
        """What was added after ``before``, an earlier moment of the same histogram."""
        if before is None:
            return self
        counts = tuple(now - then for now, then in zip(self.counts, before.counts))
        return Counts(bounds=self.bounds, counts=counts, total=self.total - before.total)


class Histogram:
    """Not safe for threads by itself: ``metrics.Metrics`` holds its lock around every call."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count ``value`` in the first bucket whose bound is not below it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def now(self) -> Counts:
        return Counts(bounds=self._bounds, counts=tuple(self._counts), total=self._total)
