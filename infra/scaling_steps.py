"""How far a fleet grows or shrinks for how many replicas too few or too many. Imports no CDK.

Both are given in percent of the wanted replicas, as whole replicas that are missing or idle:

    growing    a band's upper end, so that one step is enough; never above ``max_out_factor``
    shrinking  a band's lower end, so that no step goes too far; never below ``max_in_factor``

Auto Scaling rounds a share of the fleet towards nothing, but moves one instance at least
(EC2 Auto Scaling API, PutScalingPolicy, ``PercentChangeInCapacity``). A band begins at a percent or
more, and in a fleet that has a replica of so small a share the rounded step is within the band.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from settings.fleet import Scaling

LEAST_PERCENT = 1.0
"""A change of capacity is a whole number of percent, so nothing smaller can be asked for."""
BANDS = 10
"""Most bands of a policy. Auto Scaling takes 20 steps."""


@dataclass(frozen=True)
class Step:
    """From ``lower`` percent on, below ``upper`` (None: no end), the fleet changes by ``change`` percent."""

    lower: float
    upper: float | None
    change: int


def growing(scaling: Scaling) -> tuple[Step, ...]:
    """Steps for missing replicas; the first begins at the tolerance."""
    most = max(1, math.floor(round((scaling.max_out_factor - 1) * 100, 6)))
    edges = _edges(_threshold(scaling.out_tolerance), most)
    inner = [Step(lower=low, upper=high, change=min(most, math.ceil(high))) for low, high in pairwise(edges)]
    return (*inner, Step(lower=edges[-1], upper=None, change=most))


def shrinking(scaling: Scaling) -> tuple[Step, ...]:
    """Steps for idle replicas; the first begins at the tolerance, the changes are negative."""
    most = max(1, math.floor(round((1 - scaling.max_in_factor) * 100, 6)))
    edges = _edges(_threshold(scaling.in_tolerance), most)
    inner = [Step(lower=low, upper=high, change=-min(most, math.floor(low))) for low, high in pairwise(edges)]
    return (*inner, Step(lower=edges[-1], upper=None, change=-min(most, math.floor(edges[-1]))))


def _threshold(tolerance: float) -> float:
    return max(LEAST_PERCENT, round(tolerance * 100, 6))


def _edges(threshold: float, most: int) -> list[float]:
    """Begins of the bands: the threshold, then whole percents up to ``most``."""
    width = max(1, math.ceil((most - threshold) / BANDS))
    later = range(math.floor(threshold) + width, most, width)
    return [threshold, *(float(edge) for edge in later), *([float(most)] if most > threshold else [])]
