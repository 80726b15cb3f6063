"""What a process and its children hold, from /proc: memory, descriptors, threads; and how it grows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Held:
    """Sums over a process tree. ``rss`` in bytes; shared pages count in every process that has them."""

    rss: int
    descriptors: int
    threads: int


def held(pid: int) -> Held:
    """What process ``pid`` and all below it hold now."""
    found = [_of_one(each) for each in tree(pid)]
    return Held(*(sum(values) for values in zip(*found)))


def tree(pid: int) -> list[int]:
    """``pid`` and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    return list(_below(pid, children))


def _below(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, []):
        yield from _below(child, children)


def _of_one(pid: int) -> tuple[int, int, int]:
    root = Path("/proc") / str(pid)
    with contextlib.suppress(OSError):
        threads = int((root / "status").read_text().partition("Threads:")[2].split()[0])
        rss = int((root / "statm").read_text().split()[1]) * _PAGE
        return rss, len(list((root / "fd").iterdir())), threads
    return 0, 0, 0


@dataclass(frozen=True)
class Trend:
    """Growth of a value: the median slope of all pairs of samples (Theil-Sen), and its 95 % interval."""

    slope: float
    low: float
    high: float


def trend(samples: Sequence[tuple[float, float]]) -> Trend:
    """Of (x, y) samples; outliers hardly move it. Source of the interval: P. K. Sen, JASA 63 (1968)."""
    slopes = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(samples, 2) if x1 != x2)
    n = len(samples)
    reach = 1.96 * (n * (n - 1) * (2 * n + 5) / 18) ** 0.5
    low = max(0, round((len(slopes) - reach) / 2))
    high = min(len(slopes) - 1, round((len(slopes) + reach) / 2))
    return Trend(median(slopes), slopes[low], slopes[high])
