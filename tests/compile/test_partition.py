"""The partition is the best one: compared with every partition there is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.partition import Partition, best_partitions
from compile.work import Encoder

ENCODER = Encoder(layers=2, hidden=8, intermediate=16, heads=2, positions=512, parameters=1000)
WORKS: list[Callable[[int], int]] = [lambda length: length, ENCODER.flops]

histograms = st.dictionaries(st.integers(1, 60), st.integers(1, 1000), min_size=1, max_size=9)


def _work_of(ends: tuple[int, ...], histogram: dict[int, int], work: Callable[[int], int]) -> int:
    return sum(count * work(min(end for end in ends if end >= length)) for length, count in histogram.items())


def _brute_force(histogram: dict[int, int], most: int, work: Callable[[int], int]) -> int:
    """The least work over every set of at most ``most`` ends that holds the longest length."""
    longest = max(histogram)
    others = sorted(set(histogram) - {longest})
    choices = (
        (*some, longest) for size in range(min(most, len(histogram))) for some in combinations(others, size)
    )
    return min(_work_of(ends, histogram, work) for ends in choices)


def _best(histogram: dict[int, int], most: int, work: Callable[[int], int]) -> tuple[Partition, ...]:
    lengths = sorted(histogram)
    return best_partitions(lengths, [histogram[n] for n in lengths], most=most, work=work)


@settings(max_examples=400, deadline=None)
@given(histogram=histograms, most=st.integers(1, 6), work=st.sampled_from(WORKS))
def test_no_partition_is_better_than_the_one_found(
    histogram: dict[int, int], most: int, work: Callable[[int], int]
) -> None:
    """For every number of buckets up to the most, and the lengths found have the work that is told."""
    for buckets, found in enumerate(_best(histogram, most, work), start=1):
        assert found.work == _brute_force(histogram, buckets, work)
        assert found.work == _work_of(found.lengths, histogram, work)
        assert len(found.lengths) == min(buckets, len(histogram))


@given(histogram=histograms, work=st.sampled_from(WORKS))
def test_one_more_bucket_never_costs_and_helps_until_each_length_has_its_own(
    histogram: dict[int, int], work: Callable[[int], int]
) -> None:
    """Strictly less work while there are more lengths than buckets, then no padding at all."""
    found = [partition.work for partition in _best(histogram, len(histogram) + 2, work)]
    distinct = found[: len(histogram)]

    assert all(more < fewer for fewer, more in pairwise(distinct))
    assert set(found[len(histogram) - 1 :]) == {_work_of(tuple(histogram), histogram, work)}


@pytest.mark.parametrize("scale", [1, 10**30])
def test_counts_beyond_any_machine_word_lose_no_unit(scale: int) -> None:
    """Whole numbers throughout: one row more or less decides between two cuts."""
    even = [scale, scale, scale]
    tipped = [scale, scale + 1, scale]

    assert best_partitions([1, 2, 3], tipped, most=2, work=lambda n: n)[1].lengths == (2, 3)
    assert best_partitions([1, 2, 3], even, most=2, work=lambda n: n)[1].work == 7 * scale
