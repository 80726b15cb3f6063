"""golden.json: requests with the answers of the untraced model, and how answers are compared.

Written by ``compile/golden.py``; replayed by ``inference_code/selfcheck.py`` at every boot.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from artifact.manifest import Record

SCHEMA: Literal["traceship.golden/1"] = "traceship.golden/1"


class Case(Record, frozen=True, kw_only=True):
    """A request in serving shape, run in one bucket. ``expected`` has one answer per input."""

    bucket: str
    request: dict[str, Any]
    expected: list[Any]


class Golden(Record, frozen=True, kw_only=True):
    """At least one case per bucket; ``tolerance`` is absolute, on every number."""

    schema: Literal["traceship.golden/1"] = SCHEMA
    tolerance: float
    cases: tuple[Case, ...]


def largest_difference(expected: Any, found: Any) -> float:
    """Largest absolute difference between two JSON answers of one shape.

    Returns ``inf`` where the shapes, keys or texts differ or a number is not finite, so that
    a comparison of unlike things can never pass.
    """
    if isinstance(expected, dict):
        if not isinstance(found, dict) or expected.keys() != found.keys():
            return math.inf
        return max((largest_difference(expected[k], found[k]) for k in expected), default=0.0)
    if isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(expected) != len(found):
            return math.inf
        return max((largest_difference(e, f) for e, f in zip(expected, found)), default=0.0)
    if isinstance(expected, float) or isinstance(found, float):
        if not isinstance(expected, (int, float)) or not isinstance(found, (int, float)):
            return math.inf
        difference = abs(expected - found)
        return difference if math.isfinite(difference) else math.inf
    return 0.0 if type(expected) is type(found) and expected == found else math.inf
