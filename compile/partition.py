"""The cheapest way to cut a sorted list of lengths into at most k buckets. Exact, in whole numbers.

A bucket holds a run of neighbouring lengths and is as long as its longest. With ``f(L)`` the work
of a row in a bucket of length L and ``C[j]`` the rows among the first j lengths, the least work
of the first j lengths in exactly k buckets is

    D[k][j] = min over i < j of D[k-1][i] + f(length[j]) * (C[j] - C[i])

For a fixed i the right side is, but for a term without i, a line in ``f`` with slope ``-C[i]``.
``C`` and ``f`` both rise, so the lower envelope of the lines is walked once, forwards (the convex
hull trick): O(n) a bucket count in place of the O(n^2) of the formula as written. Python's whole
numbers do not overflow, so there is no rounding and the minimum is the minimum.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Partition:
    """``work`` is the sum over all rows; ``lengths`` rise, the last one is the longest given."""

    lengths: tuple[int, ...]
    work: int


@dataclass(frozen=True)
class _Line:
    """The cost of starting a bucket after the first ``start`` lengths, as a function of ``f``."""

    start: int
    slope: int
    offset: int

    def at(self, x: int) -> int:
        return self.slope * x + self.offset


def best_partitions(
    lengths: Sequence[int], counts: Sequence[int], *, most: int, work: Callable[[int], int]
) -> tuple[Partition, ...]:
    """The best partition into at most 1, 2, … ``most`` buckets.

    Args:
        lengths: rising, each once, at least one.
        counts: rows of each length, each above 0.
        work: of one row in a bucket of that length, in any unit; must rise with the length.

    Returns:
        ``most`` partitions. With more buckets than lengths the last ones are equal: each length
        has its own bucket and one more cannot help.
    """
    below = [0, *accumulate(counts)]
    costs = [work(length) for length in lengths]
    starts: list[list[int]] = []
    least = [cost * rows for cost, rows in zip(costs, below[1:])]
    found = [Partition(lengths=(lengths[-1],), work=least[-1])]
    for used in range(2, min(most, len(lengths)) + 1):
        least, chosen = _one_more(least, costs, below, used)
        starts.append(chosen)
        found.append(Partition(lengths=_walk_back(starts, lengths), work=least[-1]))
    return tuple(found + [found[-1]] * (most - len(found)))


def _one_more(
    least: Sequence[int], costs: Sequence[int], below: Sequence[int], used: int
) -> tuple[list[int], list[int]]:
    """From the least work in ``used`` - 1 buckets to that in ``used``, and where the last one starts.

    Entry j of each list is about the first j + 1 lengths; entries of fewer lengths than buckets
    are never read and hold 0.
    """
    size = len(costs)
    better, chosen = [0] * size, [0] * size
    envelope: deque[_Line] = deque()
    for j in range(used - 1, size):
        line = _Line(start=j, slope=-below[j], offset=least[j - 1])
        while len(envelope) > 1 and _is_hidden(envelope[-2], envelope[-1], line):
            envelope.pop()
        envelope.append(line)
        while len(envelope) > 1 and envelope[1].at(costs[j]) <= envelope[0].at(costs[j]):
            envelope.popleft()
        better[j] = envelope[0].at(costs[j]) + costs[j] * below[j + 1]
        chosen[j] = envelope[0].start
    return better, chosen


def _is_hidden(first: _Line, middle: _Line, last: _Line) -> bool:
    """Whether ``middle`` is nowhere below both others; slopes fall from first to last."""
    return (last.offset - first.offset) * (first.slope - middle.slope) <= (middle.offset - first.offset) * (
        first.slope - last.slope
    )


def _walk_back(starts: Sequence[Sequence[int]], lengths: Sequence[int]) -> tuple[int, ...]:
    """The ends of the buckets: the last is the longest, each other ends before the next starts."""
    ends = [len(lengths) - 1]
    for chosen in reversed(starts):
        ends.append(chosen[ends[-1]] - 1)
    return tuple(lengths[end] for end in reversed(ends))
