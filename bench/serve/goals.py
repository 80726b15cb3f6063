"""What the server is to reach, beside what it reached in this run.

The ratios are within one run on one machine: MiniLM, float32, ``texts.mixed``, two workers of one
thread, one text a request. "The toolkit" is AWS's: sagemaker_hf.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.serve.figures import MIB, Limit, Point, ratio, share_of_limit, table

OURS, TOOLKIT, PADDED = "traceship", "sagemaker_hf", "sagemaker_hf_pad128"


@dataclass(frozen=True)
class Goal:
    """``found`` None: this run did not measure it. ``most``: the wanted figure is an upper bound."""

    what: str
    wanted: float
    found: float | None
    most: bool = False
    show: Callable[[float], str] = "{:.2f}x".format

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "not measured"
        met = self.found <= self.wanted if self.most else self.found >= self.wanted
        return "met" if met else "MISSED"


def goals(points: Sequence[Point], limits: Sequence[Limit]) -> list[Goal]:
    """Those that a run of servers and limits can tell."""

    def per_cpu(base: str, clients: int) -> float | None:
        return ratio(points, OURS, base, clients, lambda point: point.per_cpu_second)

    idle = [point.idle_bytes for point in points if point.server == OURS]
    p99 = ratio(points, OURS, TOOLKIT, 32, lambda point: point.p99_ms)
    percent, mib = "{:.0%}".format, "{:.0f} MiB".format
    return [
        Goal("32 clients, per CPU-s, of the toolkit", 2.2, per_cpu(TOOLKIT, 32)),
        Goal("32 clients, per CPU-s, of padding to 128", 4.5, per_cpu(PADDED, 32)),
        Goal(
            "32 clients, per CPU-s, of the limit", 0.9, share_of_limit(points, limits, OURS, 32), show=percent
        ),
        Goal("8 clients, per CPU-s, of the toolkit", 1.9, per_cpu(TOOLKIT, 8)),
        Goal("1 client, per CPU-s, of the toolkit", 1.6, per_cpu(TOOLKIT, 1)),
        Goal("32 clients, p99, of the toolkit's", 0.5, p99, most=True),
        Goal("idle memory (PSS)", 500, max(idle) / MIB if idle else None, most=True, show=mib),
    ]


def verdicts(found: Sequence[Goal]) -> str:
    """As a table."""
    rows = [
        [
            goal.what,
            ("at most " if goal.most else "at least ") + goal.show(goal.wanted),
            "" if goal.found is None else goal.show(goal.found),
            goal.verdict,
        ]
        for goal in found
    ]
    return table(["goal", "wanted", "found", ""], rows)
