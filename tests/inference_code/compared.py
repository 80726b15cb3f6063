"""How answers are compared: words exactly, scores nearly."""

from __future__ import annotations

from typing import Any


def close(expected: Any, found: Any, tolerance: float = 1e-5) -> bool:
    """Equal in every text and place, and near in every number that is a score."""
    if isinstance(expected, dict):
        return expected.keys() == found.keys() and all(close(expected[k], found[k]) for k in expected)
    if isinstance(expected, (list, tuple)):
        return len(expected) == len(found) and all(close(e, f) for e, f in zip(expected, found))
    if isinstance(expected, (str, int)):
        return bool(expected == found)
    return abs(float(expected) - float(found)) <= tolerance
