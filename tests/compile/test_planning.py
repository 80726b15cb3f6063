"""A plan wastes least under its limits, says what it is compared with, and drops no row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact.plan import BucketPlan
from compile.plan_plot import plot_svg
from compile.planning import LONGEST, LengthsTooLong, Limits, NoBucketFits, plan_buckets
from compile.preflight import BucketTooLong, OptionDoesNotFit
from compile.request import parse_shape
from compile.work import Encoder

ENCODER = Encoder(layers=2, hidden=32, intermediate=64, heads=2, positions=64, parameters=100_000)
SPREAD = {length: 1 + length % 5 for length in range(3, 61)}

histograms = st.dictionaries(st.integers(1, 300), st.integers(1, 50), min_size=1, max_size=40)
encoders = st.sampled_from([None, ENCODER])


def _plan(histogram: Mapping[int, int], buckets: int = 4, **options: Any) -> BucketPlan:
    limited = {key: options.pop(key) for key in tuple(options) if key in Limits.__dataclass_fields__}
    return plan_buckets(histogram, Limits(buckets=buckets, **limited), **options)


def test_the_waste_is_the_padded_share_of_all_tokens() -> None:
    """(padded - real) / padded: here 100 rows of 10 in 12 and 50 of 12."""
    plan = _plan({10: 100, 12: 50, 40: 10}, buckets=2)

    assert [(b.length, b.rows, b.padding_waste) for b in plan.buckets] == [(12, 150, 200 / 1800), (40, 10, 0)]
    assert (plan.padded_tokens, plan.real_tokens) == (2200, 2000)
    assert plan.padding_waste == 200 / 2200
    assert plan.options == ("--bucket", "1x12", "--bucket", "1x40")
    assert plan.settings == 'buckets = ["1x12", "1x40"]'


@settings(deadline=None)
@given(histogram=histograms, buckets=st.integers(1, 8), encoder=encoders)
def test_a_plan_is_at_least_as_good_as_powers_of_two_and_as_one_bucket(
    histogram: dict[int, int], buckets: int, encoder: Encoder | None
) -> None:
    """The same number of buckets over the same rows, and the curve falls."""
    plan = _plan(histogram, buckets, encoder=encoder)
    works = [gain.work for gain in plan.marginal]

    assert plan.work.padded <= plan.powers_of_two.work
    assert plan.work.padded <= plan.single_bucket.work
    assert len(plan.powers_of_two.lengths) <= len(plan.buckets)
    assert works == sorted(works, reverse=True)
    assert [gain.buckets for gain in plan.marginal] == list(range(1, buckets + 2))


@settings(deadline=None)
@given(
    histogram=histograms,
    buckets=st.integers(1, 8),
    multiple=st.integers(1, 40),
    max_length=st.none() | st.integers(1, 64),
    encoder=encoders,
)
def test_every_row_is_in_exactly_one_bucket_that_holds_it(
    histogram: dict[int, int], buckets: int, multiple: int, max_length: int | None, encoder: Encoder | None
) -> None:
    """Whatever the limits: rows add up, lengths are allowed, and compile would take the shapes."""
    plan = _plan(histogram, buckets, multiple=multiple, max_length=max_length, encoder=encoder)
    limit = max_length or (ENCODER.positions if encoder else LONGEST)
    lengths = [bucket.length for bucket in plan.buckets]

    assert sum(bucket.rows for bucket in plan.buckets) == sum(histogram.values()) == plan.rows
    assert lengths == sorted(set(lengths))
    assert len(lengths) <= buckets
    assert all(length == limit or length % multiple == 0 for length in lengths)
    assert lengths[-1] >= min(max(histogram), limit)
    assert lengths[-1] <= limit
    assert plan.truncated.rows == sum(rows for length, rows in histogram.items() if length > limit)
    assert plan.truncated.tokens == sum((n - limit) * rows for n, rows in histogram.items() if n > limit)
    assert [parse_shape(shape).length for shape in plan.options[1::2]] == lengths


@settings(deadline=None)
@given(histogram=histograms, buckets=st.integers(1, 5), multiple=st.integers(2, 40))
def test_rounding_never_beats_the_exact_plan(histogram: dict[int, int], buckets: int, multiple: int) -> None:
    """Which is why 1 is the default."""
    assert _plan(histogram, buckets).work.padded <= _plan(histogram, buckets, multiple=multiple).work.padded


def test_with_a_model_the_work_is_the_flops_of_every_row() -> None:
    """Attention grows with the square of the length, so that long padding weighs more."""
    plan = _plan({10: 3, 20: 1}, buckets=1, batch=8, encoder=ENCODER)

    assert plan.work.unit == "flops"
    assert plan.work.padded == 4 * ENCODER.flops(20)
    assert plan.work.real == 3 * ENCODER.flops(10) + ENCODER.flops(20)
    assert plan.buckets[0].flops == 8 * ENCODER.flops(20)
    assert _plan({10: 3}).buckets[0].flops is None


def test_memory_limits_how_many_buckets_there_are() -> None:
    """Each is counted as the largest; the curve shows what lies beyond the limit."""
    one = ENCODER.device_bytes(1, 60)
    megabytes = -(-2 * one // (1 << 20))
    allowed = megabytes * (1 << 20) // one

    plan = _plan(SPREAD, buckets=8, encoder=ENCODER, memory_mb=megabytes)

    assert len(plan.buckets) == allowed < 8
    assert plan.estimates.memory_mb is not None
    assert plan.estimates.memory_mb <= megabytes
    assert [gain.fits for gain in plan.marginal] == [k <= allowed for k in range(1, 10)]


def test_compile_time_limits_how_many_buckets_there_are() -> None:
    """As many as fit one after another, and the best that many."""
    plan = _plan(SPREAD, buckets=8, compile_seconds=1000, bucket_seconds=300)

    assert len(plan.buckets) == 3
    assert plan.estimates.compile_seconds == 900
    assert plan.work == _plan(SPREAD, buckets=3).work


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"memory_mb": 1, "encoder": ENCODER, "batch": 64}, "--batch"),
        ({"compile_seconds": 100, "bucket_seconds": 101}, "--bucket-seconds"),
    ],
)
def test_limits_that_allow_no_bucket_at_all_are_refused(options: dict[str, Any], fix: str) -> None:
    """With what one bucket takes, and the option that would help."""
    with pytest.raises(NoBucketFits) as refused:
        _plan(SPREAD, **options)

    assert fix in refused.value.fix
    assert refused.value.exit_code == 2


def test_memory_without_a_model_is_refused() -> None:
    """Nothing says how much a bucket takes; ignoring the limit would be worse."""
    with pytest.raises(OptionDoesNotFit) as refused:
        _plan(SPREAD, memory_mb=2048)

    assert "--model" in refused.value.fix


def test_a_longest_bucket_beyond_the_models_positions_is_refused() -> None:
    """The limit itself is allowed."""
    with pytest.raises(BucketTooLong) as refused:
        _plan(SPREAD, max_length=65, encoder=ENCODER)

    assert refused.value.limit == 64
    assert _plan(SPREAD, max_length=64, encoder=ENCODER).buckets[-1].length == 60


def test_a_row_longer_than_any_bucket_needs_a_limit() -> None:
    """With one it is counted as truncated, never dropped."""
    with pytest.raises(LengthsTooLong) as refused:
        _plan({LONGEST + 1: 1})

    assert "--max-length" in refused.value.fix
    truncated = _plan({5: 1, LONGEST + 1: 2}, max_length=512).truncated
    assert (truncated.limit, truncated.rows, truncated.tokens) == (512, 2, 2 * (LONGEST + 1 - 512))
    assert _plan({LONGEST: 1}).buckets[0].length == LONGEST


def test_what_is_printed_fits_the_published_schema() -> None:
    """With and without a model."""
    schema = msgspec.json.schema(BucketPlan)

    for options in ({}, {"encoder": ENCODER, "memory_mb": 2048}):
        printed = msgspec.json.decode(msgspec.json.encode(_plan(SPREAD, **options)))
        jsonschema.validate(printed, schema)


@settings(deadline=None, max_examples=50)
@given(histogram=histograms, buckets=st.integers(1, 12), max_length=st.none() | st.integers(1, 300))
def test_the_picture_is_whole_and_needs_nothing_from_elsewhere(
    histogram: dict[int, int], buckets: int, max_length: int | None
) -> None:
    """Well-formed XML with a line for every bucket and a dot for every step of the curve."""
    from xml.etree import ElementTree

    plan = _plan(histogram, buckets, max_length=max_length)

    picture = plot_svg(plan, histogram)

    elements = list(ElementTree.fromstring(picture).iter())
    drawn = [element.get("class") for element in elements]
    bars = [element for element in elements if element.get("class") == "bar"]
    assert drawn.count("end") == len(plan.buckets)
    assert sum(drawn.count(kind) for kind in ("dot", "chosen", "beyond")) == len(plan.marginal)
    assert drawn.count("chosen") == 1
    assert all(float(bar.get("x", "nan")) + float(bar.get("width", "nan")) <= 601 for bar in bars)
    assert 0 < len(bars) <= 120
    assert "href" not in picture
    assert "url(" not in picture
