"""Graphs that fit any shape: batches without empty rows and without padding to a bucket.

Inf1 compiles a graph for one shape. On the CPU a trace often asks its inputs for their shape, and
the graphs of all buckets are then the same bytes: what was traced does not depend on the shape. Such
a graph may be run with just the rows that there are, padded to the longest of them. It stays within
what was traced: no row is shorter or longer than the buckets, no batch larger than that of a bucket
with room for it. The self-check replays the golden set at such shapes too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from artifact.manifest import Bucket, Manifest, bucket_name
from inference_code.rows import Row


def any_shape(manifest: Manifest) -> bool:
    """Whether the artifact's graphs are one and the same for at least two batches and two lengths."""
    digest = {file.path: file.sha256 for file in manifest.files}
    buckets = manifest.buckets
    return (
        manifest.requires.target == "cpu"
        and manifest.generation is None
        and len({digest[bucket.path] for bucket in buckets}) == 1
        and len({bucket.batch for bucket in buckets}) > 1
        and len({bucket.length for bucket in buckets}) > 1
    )


def fitted(rows: Sequence[Row], buckets: Sequence[Bucket]) -> Bucket:
    """The shape of just these rows, as a bucket of its own."""
    shortest = min(bucket.length for bucket in buckets)
    length = max(shortest, *(row.length for row in rows))
    return Bucket(batch=len(rows), length=length, path=buckets[0].path)


class FreePlanner:
    """A ``Planner`` for graphs that fit any shape: like lengths go together, as many as pay.

    What a batch of n rows of l tokens costs is fitted to the buckets' measured costs: a share for
    the call, one for each token, and one for attention, which grows with n times l squared.
    """

    def __init__(self, buckets: Sequence[Bucket], costs: Mapping[str, float]) -> None:
        self._buckets = sorted(buckets, key=lambda bucket: bucket.length)
        longest = self._buckets[-1].length
        self._shortest = self._buckets[0].length
        self.lengths = list(range(self._shortest, longest + 1))
        """Tokens that a row of each class has at most, ascending."""
        self.largest_batch = max(bucket.batch for bucket in buckets)
        self.row_seconds = min(costs[bucket_name(b.batch, b.length)] / b.batch for b in buckets)
        """What a row takes in a full batch."""
        self._measured = dict(costs)
        self._coefficients = _fit(buckets, costs)
        self._alone = [self._cost(1, length) for length in self.lengths]
        self._room = [
            max(bucket.batch for bucket in buckets if bucket.length >= length) for length in self.lengths
        ]

    def class_of(self, length: int) -> int:
        """The class of a row of that many tokens, none over the limit."""
        return max(0, length - self._shortest)

    def pick(self, counts: Sequence[int], head: int, most: int) -> tuple[Bucket, list[int]]:
        """Return a bucket that holds what to run next, and how many rows of each class go along.

        The oldest row leads. Its neighbours in length join one by one, each time the one that costs
        less; of all the batches on that way the one that saves most is taken.

        Args:
            counts: rows that wait, by class.
            head: the class of the oldest.
            most: rows at the most.
        """
        there = [at for at, count in enumerate(counts) if count]
        low = high = there.index(head)
        left = dict(zip(there, (counts[at] for at in there)))
        left[head] -= 1
        order, alone = [head], self._alone[head]
        best, most_saved = 1, alone - self._cost(1, self.lengths[head])
        while len(order) < most:
            while low > 0 and not left[there[low]]:
                low -= 1
            while high < len(there) - 1 and not left[there[high]]:
                high += 1
            longest = max(order)
            ways = {there[at] for at in (low, high) if left[there[at]]}
            ways = {at for at in ways if len(order) < self._room[max(longest, at)]}
            if not ways:
                break
            saved, at = max(
                (alone + self._alone[at] - self._cost(len(order) + 1, self.lengths[max(longest, at)]), at)
                for at in ways
            )
            order.append(at)
            left[at] -= 1
            alone += self._alone[at]
            if saved >= most_saved:
                best, most_saved = len(order), saved
        chosen = order[:best]
        by_class = [0] * len(counts)
        for at in chosen:
            by_class[at] += 1
        return self._holding(best, self.lengths[max(chosen)]), by_class

    def shape(self, bucket: Bucket, rows: Sequence[Row]) -> Bucket:  # noqa: ARG002
        """What to run ``rows`` as."""
        return fitted(rows, self._buckets)

    def seconds(self, shape: Bucket) -> float:
        """What one run of that shape takes at the most: what was measured of the bucket that holds it."""
        holding = self._holding(shape.batch, shape.length)
        return self._measured[bucket_name(holding.batch, holding.length)]

    def _holding(self, rows: int, length: int) -> Bucket:
        fitting = [b for b in self._buckets if b.batch >= rows and b.length >= length]
        return min(fitting, key=lambda bucket: bucket.batch * bucket.length)

    def _cost(self, rows: int, length: int) -> float:
        call, token, attention = self._coefficients
        return call + token * rows * length + attention * rows * length * length


def _fit(buckets: Sequence[Bucket], costs: Mapping[str, float]) -> tuple[float, float, float]:
    """Least squares over the relative errors. A negative share is noise: the figure is left out."""
    import numpy as np

    seconds = np.array([costs[bucket_name(bucket.batch, bucket.length)] for bucket in buckets])
    shapes = [(bucket.batch, bucket.length) for bucket in buckets]
    features = np.array([[1.0, n * length, n * length * length] for n, length in shapes])
    kept = [0, 1, 2]
    while True:
        weighed = features[:, kept] / seconds[:, None]
        found, *_ = np.linalg.lstsq(weighed, np.ones(len(seconds)), rcond=None)
        if (found >= 0).all() or kept == [1]:
            break
        kept = [at for at, share in zip(kept, found) if share >= 0] or [1]
    shares = dict(zip(kept, (float(share) for share in found)))
    return shares.get(0, 0.0), shares.get(1, 0.0), shares.get(2, 0.0)
