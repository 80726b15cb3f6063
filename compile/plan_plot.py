"""A bucket plan as one SVG file: the rows by length with the buckets' ends, and the gain of each bucket.

Self-contained: no script, no font and no style from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from artifact.plan import BucketPlan

_WIDTH, _HEIGHT = 960, 400
_TOP, _BOTTOM = 64, 340
_LEFT_PANEL, _RIGHT_PANEL = (64, 600), (690, 930)
_BARS = 120
"""At most so many bars; more would be thinner than the gap between them."""

_STYLE = """\
text{font:12px sans-serif;fill:#222}.title{font-size:14px;font-weight:bold}.small{font-size:11px;fill:#555}
.bar{fill:#7b93b8}.end{stroke:#b3410e;stroke-width:1.5}.axis{stroke:#555}.curve{fill:none;stroke:#2f6f4f;
stroke-width:2}.dot{fill:#2f6f4f}.chosen{fill:#b3410e}.beyond{fill:#bbb}"""


def plot_svg(plan: BucketPlan, histogram: Mapping[int, int]) -> str:
    """The picture. ``histogram`` holds the rows by length that were planned for, uncut."""
    longest = plan.buckets[-1].length
    cut: dict[int, int] = {}
    for length, count in histogram.items():
        cut[min(length, longest)] = cut.get(min(length, longest), 0) + count
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img">',
        f"<title>{escape(_summary(plan))}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(_LEFT_PANEL[0], 24, _summary(plan), "title"),
        *_histogram(plan, cut, longest),
        *_curve(plan),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _summary(plan: BucketPlan) -> str:
    lengths = ", ".join(str(bucket.length) for bucket in plan.buckets)
    return f"{plan.rows} rows in buckets of {lengths}: {plan.padding_waste:.1%} padding"


def _histogram(plan: BucketPlan, rows: Mapping[int, int], longest: int) -> Iterator[str]:
    left, right = _LEFT_PANEL
    width = -(-longest // _BARS)
    bars: dict[int, int] = {}
    for length, count in rows.items():
        bar = (length - 1) // width
        bars[bar] = bars.get(bar, 0) + count
    highest, scale = max(bars.values()), (right - left) / (-(-longest // width) * width)
    yield _text(left, 50, f"rows by length ({_span(width)} a bar), and the end of each bucket", "small")
    for bar, count in sorted(bars.items()):
        height = (_BOTTOM - _TOP) * count / highest
        x = left + bar * width * scale
        yield (
            f'<rect class="bar" x="{x:.1f}" y="{_BOTTOM - height:.1f}" '
            f'width="{max(width * scale - 0.6, 0.4):.1f}" height="{height:.1f}"/>'
        )
    shown = left - 100.0
    for bucket in plan.buckets:
        x = left + bucket.length * scale
        yield f'<line class="end" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_BOTTOM}"/>'
        if x - shown > 26:  # names of close buckets would lie over each other
            yield _text(x, _BOTTOM + 16, str(bucket.length), anchor="middle")
            shown = x
    yield _axis(left, right)
    yield _text((left + right) / 2, _BOTTOM + 36, "tokens", "small", "middle")
    yield _text(left - 6, _TOP + 10, str(highest), "small", "end")
    yield _text(left - 6, _BOTTOM, "0", "small", "end")


def _span(width: int) -> str:
    return "one length" if width == 1 else f"{width} lengths"


def _curve(plan: BucketPlan) -> Iterator[str]:
    left, right = _RIGHT_PANEL
    steps = plan.marginal
    across = (right - left) / max(len(steps) - 1, 1)
    worst = max(step.padding_waste for step in steps) or 1.0
    points = [
        (left + index * across, _BOTTOM - (_BOTTOM - _TOP) * step.padding_waste / worst)
        for index, step in enumerate(steps)
    ]
    yield _text(left, 50, "padding with at most so many buckets", "small")
    yield f'<polyline class="curve" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'
    every = -(-len(steps) // 10)
    for index, ((x, y), step) in enumerate(zip(points, steps)):
        kind = "chosen" if step.buckets == len(plan.buckets) else "dot" if step.fits else "beyond"
        yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        if index % every == 0:
            yield _text(x, _BOTTOM + 16, str(step.buckets), anchor="middle")
    yield _axis(left, right)
    yield _text((left + right) / 2, _BOTTOM + 36, "buckets", "small", "middle")
    yield _text(left - 6, _TOP + 10, f"{worst:.0%}", "small", "end")
    yield _text(left - 6, _BOTTOM, "0", "small", "end")


def _axis(left: float, right: float) -> str:
    return f'<line class="axis" x1="{left}" x2="{right}" y1="{_BOTTOM}" y2="{_BOTTOM}"/>'


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(words)}</text>'
