"""The distribution of one output's differences as SVG: sizes and counts both on a log scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from compile.histogram import LOWEST, PER_DECADE, PLACES

_WIDTH, _HEIGHT = 420, 150
_LEFT, _BOTTOM, _TOP = 34, 128, 12
_ZERO_WIDTH = 22
"""The column of differences that are exactly 0, which no log scale has a place for."""

_START = _LEFT + _ZERO_WIDTH + 24
_STEP = (_WIDTH - _START - 14) / PLACES
_ROUNDING = 1e-6
"""Powers of ten are not exact; a place that begins at the tolerance lies beyond it."""

_DECADES = PLACES // PER_DECADE


def plot(counts: Sequence[int], tolerance: float, told: str) -> str:
    """An ``<svg>`` of ``counts`` (see ``histogram.count``) with a line at ``tolerance``.

    Args:
        told: what the picture shows, for people who cannot see it.
    """
    most = max(counts, default=0)
    limit = _position(tolerance)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(told)}">',
        f'<line class="axis" x1="{_LEFT}" y1="{_BOTTOM}" x2="{_WIDTH}" y2="{_BOTTOM}"/>',
        *_scale(most),
        *(_bar(index, number, most, tolerance) for index, number in enumerate(counts) if number),
        f'<text x="{_LEFT + _ZERO_WIDTH / 2}" y="{_BOTTOM + 14}" text-anchor="middle">0</text>',
        *(_tick(exponent) for exponent in range(LOWEST, LOWEST + _DECADES + 1, 2)),
        f'<line class="limit" x1="{limit:.1f}" y1="{_TOP - 6}" x2="{limit:.1f}" y2="{_BOTTOM}"/>',
        f'<text class="limit" x="{limit + 3:.1f}" y="{_TOP}">allowed {tolerance:g}</text>',
        "</svg>",
    ]
    return "".join(parts)


def _scale(most: int) -> list[str]:
    """Powers of ten of the count, up to the largest."""
    parts = []
    for power in range(0, int(math.log10(most)) + 1 if most else 0, 2):
        y = _BOTTOM - _height(10**power, most)
        parts.append(f'<line class="axis" x1="{_LEFT - 3}" y1="{y:.1f}" x2="{_LEFT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 3:.1f}" text-anchor="end">{_short(10**power)}</text>')
    return parts


def _bar(index: int, number: int, most: int, tolerance: float) -> str:
    height = _height(number, most)
    x, width = (_LEFT, _ZERO_WIDTH) if index == 0 else (_START + (index - 1) * _STEP, _STEP - 1)
    over = index > 0 and _position(_edge(index)) >= _position(tolerance) - _ROUNDING
    return (
        f'<rect class="{"over" if over else "within"}" x="{x:.1f}" y="{_BOTTOM - height:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}"><title>{_range(index)}: {number:,}</title></rect>'
    )


def _height(number: int, most: int) -> float:
    """Of a count, in the picture's units; one is still seen."""
    return (_BOTTOM - _TOP) * math.log10(1 + number) / math.log10(1 + most)


def _edge(index: int) -> float:
    """Lower edge of a place above 0."""
    return float(10 ** (LOWEST + (index - 1) / PER_DECADE))


def _range(index: int) -> str:
    if index == 0:
        return "exactly 0"
    if index == 1:
        return f"below {_edge(2):.1e}"
    return (
        f"{_edge(index):.1e} and more" if index == PLACES else f"{_edge(index):.1e} to {_edge(index + 1):.1e}"
    )


def _position(difference: float) -> float:
    places = (math.log10(difference) - LOWEST) * PER_DECADE
    return _START + min(max(places, 0.0), float(PLACES)) * _STEP


def _tick(exponent: int) -> str:
    x = _position(10.0**exponent)
    return f'<text x="{x:.1f}" y="{_BOTTOM + 14}" text-anchor="middle">1e{exponent}</text>'


def _short(number: int) -> str:
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number // size}{unit}"
    return str(number)
