"""Bounds and a load → how many instances run, and how many requests they answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from infra.cost.schedule import HOURS_A_MONTH, Bounds
from infra.throughput import HEADROOM

SECONDS_AN_HOUR = 3600
TARGET = Fraction(HEADROOM).limit_denominator(100)
"""The share of its throughput at which scaling adds an instance."""


@dataclass(frozen=True)
class Load:
    """What a service gets.

    Args:
        per_second: requests a second, all month, also while a schedule keeps the service small. None: each
            instance of the fewest is used to ``utilization``.
        utilization: share of the measured throughput, above 0 and at most 1.
        request_bytes: of a request and its answer together.
    """

    per_second: Fraction | None = None
    utilization: Fraction = TARGET
    request_bytes: int = 4096

    def spoken(self) -> str:
        """For a person."""
        if self.per_second is not None:
            return f"{float(self.per_second):g} requests/s to each service, {self.request_bytes} bytes each"
        share = f"{float(100 * self.utilization):g} % of what they can do"
        return f"the fewest instances, used to {share}, {self.request_bytes} bytes a request"


@dataclass(frozen=True)
class Work:
    """A month of a service: instance-hours at each number of instances, and requests."""

    hours: Mapping[int, Fraction]
    requests: Fraction
    refused: Fraction

    @property
    def instance_hours(self) -> Fraction:
        return sum((count * hours for count, hours in self.hours.items()), Fraction())

    @property
    def instances(self) -> Fraction:
        """Mean over the month."""
        return self.instance_hours / HOURS_A_MONTH

    @property
    def per_second(self) -> Fraction:
        """Requests answered, mean over the month."""
        return self.requests / (HOURS_A_MONTH * SECONDS_AN_HOUR)

    @property
    def unserved(self) -> Fraction:
        """Share of the load that found too few instances."""
        asked = self.requests + self.refused
        return self.refused / asked if asked else Fraction()


def work(hours: Mapping[Bounds, Fraction], load: Load, throughput: Fraction) -> Work:
    """A month under ``load``.

    Scaling adds an instance when each has ``TARGET`` of its throughput, so that many run, within the
    bounds; more than all of them can do is not answered.

    Args:
        throughput: requests a second of one instance.
    """
    counts: dict[int, Fraction] = {}
    requests = refused = Fraction()
    for bounds, time in hours.items():
        count = _instances(bounds, load, throughput)
        counts[count] = counts.get(count, Fraction()) + time
        asked = count * throughput * load.utilization if load.per_second is None else load.per_second
        served = min(asked, count * throughput)
        requests += served * time * SECONDS_AN_HOUR
        refused += (asked - served) * time * SECONDS_AN_HOUR
    return Work(hours=counts, requests=requests, refused=refused)


def at_most(hours: Mapping[Bounds, Fraction], load: Load, throughput: Fraction) -> Work:
    """The same with every instance that the bounds allow, each used to ``load.utilization``."""
    full = {Bounds(bounds.most, bounds.most): Fraction() for bounds in hours}
    for bounds, time in hours.items():
        full[Bounds(bounds.most, bounds.most)] += time
    everywhere = Load(utilization=load.utilization, request_bytes=load.request_bytes)
    return work(full, everywhere, throughput)


def _instances(bounds: Bounds, load: Load, throughput: Fraction) -> int:
    if load.per_second is None:
        return bounds.least
    needed = math.ceil(load.per_second / (throughput * TARGET))
    return min(max(needed, bounds.least), bounds.most)
