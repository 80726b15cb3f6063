"""Which waiting rows run together, and in which bucket: a pure function of lengths and costs.

The oldest row always leads, so nobody starves. Among the buckets that hold it, the one wins
that saves most against running each of its rows alone in that row's cheapest bucket; a batch
forms only when it costs less than its parts (naive batching of mixed lengths loses a third of
the throughput).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from artifact.manifest import Bucket, bucket_name


@dataclass(frozen=True)
class Plan:
    """Run the rows at ``positions`` of the queue in ``bucket``."""

    bucket: Bucket
    positions: tuple[int, ...]


class Planner:
    """Knows the buckets and what one run of each costs."""

    def __init__(self, buckets: Sequence[Bucket], costs: Mapping[str, float] | None = None) -> None:
        """
        Args:
            costs: seconds of one run by bucket name, measured on this machine. Without it the
                padded tokens stand for the cost.
        """
        self._buckets = sorted(buckets, key=lambda b: (b.batch * b.length, b.batch))
        self._cost = {b: costs[_name(b)] if costs else float(b.batch * b.length) for b in buckets}
        longest = max(b.length for b in buckets)
        self._alone = [0.0] + [
            min(self._cost[b] for b in buckets if b.length >= length) for length in range(1, longest + 1)
        ]
        self.largest_batch = max(b.batch for b in buckets)

    def choose(self, lengths: Sequence[int]) -> Plan:
        """Return what to run next of a queue of ``lengths``, oldest first, none over the limit."""
        plans = [self._best_of(bucket, lengths) for bucket in self._buckets if bucket.length >= lengths[0]]
        return max(plans, key=lambda plan: (self._saved(plan, lengths), len(plan.positions)))

    def _best_of(self, bucket: Bucket, lengths: Sequence[int]) -> Plan:
        followers = [at for at, length in enumerate(lengths) if at > 0 and length <= bucket.length]
        followers.sort(key=lambda at: -self._alone[lengths[at]])
        return Plan(bucket=bucket, positions=(0, *followers[: bucket.batch - 1]))

    def _saved(self, plan: Plan, lengths: Sequence[int]) -> float:
        return sum(self._alone[lengths[at]] for at in plan.positions) - self._cost[plan.bucket]


def _name(bucket: Bucket) -> str:
    return bucket_name(bucket.batch, bucket.length)
