"""Which buckets a set of lengths should get: the least expected padded work under the limits.

    lengths.py         a file -> rows by length (`token_lengths.py` counts the tokens of texts)
    partition.py       the exact optimum for every number of buckets
    work.py            the work of a row and the memory of a bucket, from the model's config
    plan_plot.py       the plan as a picture

Only lengths that occur (rounded up to ``multiple``) can end a bucket of an optimum: a longer one
would be padding for every row. Device memory and compile time limit the *number* of buckets, each
counted as if it were the largest, so the optimum under all limits stays exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from artifact.errors import UsageError
from artifact.plan import (
    BucketPlan,
    Choice,
    Estimates,
    MarginalGain,
    PlannedBucket,
    Truncated,
    Work,
)
from compile.partition import Partition, best_partitions
from compile.preflight import BucketTooLong, OptionDoesNotFit
from compile.work import Encoder

LONGEST = 99_999
"""Longest bucket that `BxL` can name (``request.parse_shape``)."""

_MB = 1 << 20


class LengthsTooLong(UsageError):
    """A row is longer than any bucket can be, and no limit says that it may be cut."""

    id = "lengths-too-long"

    def __init__(self, *, longest: int) -> None:
        super().__init__(
            what="no bucket can hold the longest row",
            why=f"it has {longest} tokens, a bucket at most {LONGEST}",
            fix="give the longest bucket with `--max-length`; longer rows are reported as truncated",
        )


class NoBucketFits(UsageError):
    """Not even one bucket stays within the memory or the compile time."""

    id = "no-bucket-fits"

    def __init__(self, *, why: str, fix: str) -> None:
        super().__init__(what="no bucket stays within the limits", why=why, fix=fix)


@dataclass(frozen=True)
class Limits:
    """What a plan may use.

    Attributes:
        buckets: at most so many.
        max_length: longest bucket in tokens; the model's positions limit it too.
        memory_mb: device memory of one core, in units of 2^20 bytes, for all buckets together.
        compile_seconds: for all buckets one after another.
        bucket_seconds: of compiling one bucket. The default is an allowance, not measured:
            `traceship compile --json` prints the ``seconds`` of each bucket.
    """

    buckets: int
    max_length: int | None = None
    memory_mb: int | None = None
    compile_seconds: int | None = None
    bucket_seconds: int = 600


@dataclass(frozen=True)
class _Rows:
    """Rows by length, cut at ``limit``, rising; ``work`` of one row by length."""

    lengths: tuple[int, ...]
    counts: tuple[int, ...]
    work: Callable[[int], int]

    def choice(self, buckets: Sequence[int]) -> Choice:
        """These rows, each in the shortest of ``buckets`` that holds it."""
        used = [buckets[bisect_left(buckets, length)] for length in self.lengths]
        return Choice(
            lengths=tuple(buckets),
            padding_waste=_waste(self._total(used), self._total(self.lengths)),
            work=sum(self.work(bucket) * count for bucket, count in zip(used, self.counts)),
        )

    def tokens(self) -> int:
        return self._total(self.lengths)

    def within(self, above: int, up_to: int) -> tuple[int, int]:
        """Rows and tokens of lengths above ``above`` and up to ``up_to``."""
        inside = [(n, c) for n, c in zip(self.lengths, self.counts) if above < n <= up_to]
        return sum(count for _, count in inside), sum(length * count for length, count in inside)

    def _total(self, lengths: Sequence[int]) -> int:
        return sum(length * count for length, count in zip(lengths, self.counts))


def plan_buckets(
    histogram: Mapping[int, int],
    limits: Limits,
    *,
    batch: int = 1,
    multiple: int = 1,
    encoder: Encoder | None = None,
) -> BucketPlan:
    """Choose the buckets with the least expected padded work.

    Args:
        histogram: rows by length in tokens; lengths and counts above 0, at least one.
        batch: rows of every bucket. Rows are taken to come in full batches.
        multiple: buckets' lengths are multiples of it, or the longest allowed. 1 is exact.
        encoder: with it the work is FLOPs, without it padded tokens.

    Raises:
        LengthsTooLong, NoBucketFits: see there.
        BucketTooLong: ``max_length`` is beyond the model's positions.
        OptionDoesNotFit: ``memory_mb`` without ``encoder``.
    """
    limit = _longest_allowed(limits, encoder, batch, max(histogram))
    work = encoder.flops if encoder else _tokens
    rows = _Rows(*_grouped(histogram, lambda length: min(length, limit)), work)
    ends, counts = _grouped(dict(zip(rows.lengths, rows.counts)), _rounding(multiple, limit))
    allowed = _allowed(limits, encoder, batch, ends[-1])
    found = best_partitions(ends, counts, most=limits.buckets + 1, work=work)
    lengths = found[min(limits.buckets, allowed) - 1].lengths
    chosen = rows.choice(lengths)
    buckets = _buckets(rows, lengths, batch, encoder)
    shapes = [f"{batch}x{length}" for length in lengths]
    padded = sum(bucket.rows * bucket.length for bucket in buckets)
    real = sum(work(length) * count for length, count in zip(rows.lengths, rows.counts))
    return BucketPlan(
        rows=sum(rows.counts),
        longest=max(histogram),
        multiple=multiple,
        real_tokens=rows.tokens(),
        padded_tokens=padded,
        padding_waste=chosen.padding_waste,
        work=Work(
            unit="flops" if encoder else "tokens",
            real=real,
            padded=chosen.work,
            waste=_waste(chosen.work, real),
        ),
        buckets=buckets,
        marginal=tuple(_marginal(rows, k, best, allowed) for k, best in enumerate(found, start=1)),
        single_bucket=rows.choice(found[0].lengths),
        powers_of_two=_powers_of_two(rows, limit, len(lengths)),
        truncated=_truncated(histogram, limit if limits.max_length or encoder else None),
        estimates=_estimates(lengths, limits, encoder, batch),
        options=tuple(word for shape in shapes for word in ("--bucket", shape)),
        settings="buckets = [" + ", ".join(f'"{shape}"' for shape in shapes) + "]",
    )


def _tokens(length: int) -> int:
    """The work of a row where no model is known."""
    return length


def _longest_allowed(limits: Limits, encoder: Encoder | None, batch: int, longest: int) -> int:
    positions = encoder.positions if encoder else LONGEST
    if limits.max_length is not None and limits.max_length > positions:
        raise BucketTooLong(bucket=f"{batch}x{limits.max_length}", limit=positions)
    if limits.max_length is None and encoder is None and longest > LONGEST:
        raise LengthsTooLong(longest=longest)
    return limits.max_length or min(positions, LONGEST)


def _allowed(limits: Limits, encoder: Encoder | None, batch: int, longest: int) -> int:
    """How many buckets memory and compile time allow; at least 1, or ``limits.buckets`` + 1 if any."""
    found = [limits.buckets + 1]
    if limits.memory_mb is not None:
        if encoder is None:
            raise OptionDoesNotFit(
                option="--memory-mb",
                why="how much memory a bucket takes follows from the model",
                fix="add `--model` with the model's folder, or leave `--memory-mb` out",
            )
        needed = encoder.device_bytes(batch, longest)
        found.append(limits.memory_mb * _MB // needed)
        if found[-1] == 0:
            raise NoBucketFits(
                why=f"the bucket {batch}x{longest} takes about {-(-needed // _MB)} MB of device memory, "
                f"{limits.memory_mb} MB are allowed",
                fix="lower `--batch` or `--max-length`, or raise `--memory-mb`",
            )
    if limits.compile_seconds is not None:
        found.append(limits.compile_seconds // limits.bucket_seconds)
        if found[-1] == 0:
            raise NoBucketFits(
                why=f"one bucket is taken to compile for {limits.bucket_seconds} s, "
                f"{limits.compile_seconds} s are allowed",
                fix="raise `--compile-seconds`, or give a measured time with `--bucket-seconds`",
            )
    return min(found)


def _grouped(
    histogram: Mapping[int, int], onto: Callable[[int], int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Lengths, moved by ``onto`` and rising, and the rows of each."""
    counts: dict[int, int] = {}
    for length, count in histogram.items():
        counts[onto(length)] = counts.get(onto(length), 0) + count
    lengths = tuple(sorted(counts))
    return lengths, tuple(counts[length] for length in lengths)


def _rounding(multiple: int, limit: int) -> Callable[[int], int]:
    return lambda length: min(-(-length // multiple) * multiple, limit)


def _powers_of_two(rows: _Rows, limit: int, most: int) -> Choice:
    """The best of the powers of two (the last one cut at ``limit``), at most ``most`` of them."""
    ends, counts = _grouped(
        dict(zip(rows.lengths, rows.counts)), lambda length: min(1 << (length - 1).bit_length(), limit)
    )
    return rows.choice(best_partitions(ends, counts, most=most, work=rows.work)[-1].lengths)


def _buckets(
    rows: _Rows, lengths: Sequence[int], batch: int, encoder: Encoder | None
) -> tuple[PlannedBucket, ...]:
    total, found = sum(rows.counts), []
    for below, length in zip((0, *lengths), lengths):
        count, tokens = rows.within(below, length)
        found.append(
            PlannedBucket(
                batch=batch,
                length=length,
                rows=count,
                share=count / total,
                padding_waste=_waste(count * length, tokens),
                flops=batch * encoder.flops(length) if encoder else None,
            )
        )
    return tuple(found)


def _marginal(rows: _Rows, buckets: int, best: Partition, allowed: int) -> MarginalGain:
    choice = rows.choice(best.lengths)
    return MarginalGain(
        buckets=buckets,
        lengths=choice.lengths,
        padding_waste=choice.padding_waste,
        work=choice.work,
        fits=buckets <= allowed,
    )


def _truncated(histogram: Mapping[int, int], limit: int | None) -> Truncated:
    longer = {} if limit is None else {n: rows for n, rows in histogram.items() if n > limit}
    tokens = sum((length - (limit or 0)) * rows for length, rows in longer.items())
    return Truncated(limit=limit, rows=sum(longer.values()), tokens=tokens)


def _estimates(lengths: Sequence[int], limits: Limits, encoder: Encoder | None, batch: int) -> Estimates:
    """Memory counts every bucket as the largest, as the limit does."""
    needed = len(lengths) * encoder.device_bytes(batch, lengths[-1]) if encoder else None
    return Estimates(
        memory_mb=None if needed is None else -(-needed // _MB),
        compile_seconds=len(lengths) * limits.bucket_seconds,
    )


def _waste(padded: int, real: int) -> float:
    return (padded - real) / padded
