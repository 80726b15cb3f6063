"""What ``traceship plan --json`` prints, as types. Made by ``compile/planning.py``.

Lengths are in tokens, special tokens included. A share or a waste is from 0 to 1. The *work* is
what was minimised: padded tokens, or floating point operations where the model is known.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from artifact.manifest import NonNegative, Positive, Record

SCHEMA: Literal["traceship.plan/1"] = "traceship.plan/1"

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class PlannedBucket(Record, frozen=True, kw_only=True):
    """One bucket. ``rows``: texts that land in it; ``flops``: of one run of the whole bucket."""

    batch: Positive
    length: Positive
    rows: NonNegative
    share: Share
    padding_waste: Share
    flops: NonNegative | None


class Choice(Record, frozen=True, kw_only=True):
    """Another set of buckets over the same rows, for comparison."""

    lengths: tuple[Positive, ...]
    padding_waste: Share
    work: NonNegative


class MarginalGain(Record, frozen=True, kw_only=True):
    """The best plan with at most ``buckets`` buckets. ``fits``: memory and compile time allow as many."""

    buckets: Positive
    lengths: tuple[Positive, ...]
    padding_waste: Share
    work: NonNegative
    fits: bool


class Work(Record, frozen=True, kw_only=True):
    """What was minimised, over all rows: ``real`` without any padding, ``padded`` in the buckets."""

    unit: Literal["tokens", "flops"]
    real: NonNegative
    padded: NonNegative
    waste: Share


class Truncated(Record, frozen=True, kw_only=True):
    """Rows longer than ``limit``, counted in the largest bucket; ``tokens`` would be cut off."""

    limit: Positive | None
    rows: NonNegative
    tokens: NonNegative


class Estimates(Record, frozen=True, kw_only=True):
    """Not measured. ``memory_mb``: all buckets on one core, in units of 2^20 bytes."""

    memory_mb: NonNegative | None
    compile_seconds: NonNegative


class BucketPlan(Record, frozen=True, kw_only=True):
    """``padding_waste`` = (``padded_tokens`` - ``real_tokens``) / ``padded_tokens``.

    ``powers_of_two`` are the best powers of two, as many as there are ``buckets``. ``options`` is
    for `traceship compile`, ``settings`` the line for ``[compile]`` of traceship.toml.
    """

    schema: Literal["traceship.plan/1"] = SCHEMA
    rows: Positive
    longest: Positive
    multiple: Positive
    real_tokens: NonNegative
    padded_tokens: NonNegative
    padding_waste: Share
    work: Work
    buckets: tuple[PlannedBucket, ...]
    marginal: tuple[MarginalGain, ...]
    single_bucket: Choice
    powers_of_two: Choice
    truncated: Truncated
    estimates: Estimates
    options: tuple[str, ...]
    settings: str
