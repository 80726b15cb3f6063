"""Which waiting rows run together, and in which bucket: a pure function of lengths and costs.

The oldest row always leads, so nobody starves. Among the buckets that hold it, the one wins
that saves most against running each of its rows alone in that row's cheapest bucket; a batch
forms only when it costs less than its parts (naive batching of mixed lengths loses a third of
the throughput).

Rows that fit the same buckets are alike to the plan. So the queue is counted by *class*, the
shortest bucket length that holds a row, and a plan costs the same however long the queue is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from artifact.manifest import Bucket, bucket_name
from inference_code.rows import Row


@dataclass(frozen=True)
class Plan:
    """Run the rows at ``positions`` of the queue in ``bucket``."""

    bucket: Bucket
    positions: tuple[int, ...]


class AnyPlanner(Protocol):
    """What the queue needs of a planner; the docstrings are ``Planner``'s."""

    lengths: list[int]
    largest_batch: int
    row_seconds: float

    def class_of(self, length: int) -> int: ...

    def pick(self, counts: Sequence[int], head: int, most: int) -> tuple[Bucket, list[int]]: ...

    def shape(self, bucket: Bucket, rows: Sequence[Row]) -> Bucket: ...

    def seconds(self, shape: Bucket) -> float: ...


@dataclass(frozen=True)
class _Choice:
    """A bucket with the longest class that it holds, and what one run of it costs."""

    bucket: Bucket
    reach: int
    cost: float


class Planner:
    """Knows the buckets and what one run of each costs."""

    def __init__(self, buckets: Sequence[Bucket], costs: Mapping[str, float] | None = None) -> None:
        """
        Args:
            costs: seconds of one run by bucket name, measured on this machine. Without it the
                padded tokens stand for the cost.
        """
        cost = {b: costs[_name(b)] if costs else float(b.batch * b.length) for b in buckets}
        self.lengths = sorted({b.length for b in buckets})
        """Tokens that a row of each class has at most, ascending."""
        self._seconds = {b: cost[b] if costs else 0.0 for b in buckets}
        self._alone = [min(cost[b] for b in buckets if b.length >= most) for most in self.lengths]
        self._choices = [
            _Choice(bucket=b, reach=self.lengths.index(b.length), cost=cost[b])
            for b in sorted(buckets, key=lambda b: (b.batch * b.length, b.batch))
        ]
        self.largest_batch = max(b.batch for b in buckets)
        self.row_seconds = min(cost[b] / b.batch for b in buckets) if costs else 0.0
        """What a row takes in a full batch; 0 where nothing was measured."""

    def class_of(self, length: int) -> int:
        """The class of a row of that many tokens, none over the limit."""
        return bisect_left(self.lengths, length)

    def pick(self, counts: Sequence[int], head: int, most: int) -> tuple[Bucket, list[int]]:
        """Return what to run next, and how many rows of each class go along.

        Args:
            counts: rows that wait, by class.
            head: the class of the oldest; at least one of its class is taken.
            most: rows at the most.
        """
        best: tuple[float, int] | None = None
        chosen: tuple[Bucket, list[int]] | None = None
        for choice in self._choices:
            if choice.reach < head:
                continue
            taken, saved = self._best_of(choice, counts, head, most)
            rank = (saved, sum(taken))
            if best is None or rank > best:
                best, chosen = rank, (choice.bucket, taken)
        assert chosen is not None, "a row is longer than every bucket"
        return chosen

    def shape(self, bucket: Bucket, rows: Sequence[Row]) -> Bucket:  # noqa: ARG002 - free planners need them
        """What to run rows as that were picked for ``bucket``: that bucket, whose graph is static."""
        return bucket

    def seconds(self, shape: Bucket) -> float:
        """What one run of that shape takes; 0 where nothing was measured."""
        return self._seconds[shape]

    def choose(self, lengths: Sequence[int]) -> Plan:
        """Return what to run next of a queue of ``lengths``, oldest first, none over the limit."""
        classes = [self.class_of(length) for length in lengths]
        counts = [classes.count(at) for at in range(len(self.lengths))]
        bucket, left = self.pick(counts, classes[0], len(lengths))
        positions = []
        for at, found in enumerate(classes):
            if left[found]:
                left[found] -= 1
                positions.append(at)
        return Plan(bucket=bucket, positions=tuple(positions))

    def _best_of(
        self, choice: _Choice, counts: Sequence[int], head: int, most: int
    ) -> tuple[list[int], float]:
        """The rows that are dearest alone, the head among them, and what they save together."""
        taken = [0] * len(counts)
        taken[head] = 1
        room = min(choice.bucket.batch, most) - 1
        saved = self._alone[head] - choice.cost
        for at in range(choice.reach, -1, -1):
            if not room:
                break
            more = min(room, counts[at] - taken[at])
            taken[at] += more
            room -= more
            saved += more * self._alone[at]
        return taken, saved


def _name(bucket: Bucket) -> str:
    return bucket_name(bucket.batch, bucket.length)
