"""Absolute differences counted by size, in places that never move, so that reports can be compared.

``tally.py`` counts, ``report.py`` draws; between them the counts are a list of numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LOWEST = -12
"""Decimal exponent of the lowest edge; a smaller difference is counted in the first place above it."""

PER_DECADE = 2
PLACES = 28
"""Up to 1e2; a larger difference is counted in the last place."""


def count(differences: torch.Tensor) -> list[int]:
    """How many of ``differences`` lie in each place: exactly 0 first, then ``PLACES`` rising ones.

    Args:
        differences: finite, not negative, of any shape; float64, or 1e-12 would be lost in rounding.
    """
    above = differences[differences > 0]
    places = ((above.log10() - LOWEST) * PER_DECADE).floor().clamp(0, PLACES - 1).long()
    counts: list[int] = places.bincount(minlength=PLACES).tolist()
    return [differences.numel() - above.numel(), *counts]


def add(counts: list[int], more: list[int]) -> list[int]:
    """Both together."""
    return [one + other for one, other in zip(counts, more)]


def empty() -> list[int]:
    """Nothing counted yet."""
    return [0] * (PLACES + 1)
