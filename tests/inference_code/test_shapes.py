"""Graphs that fit any shape are run in the shape of their rows, and only those graphs."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.manifest import Bucket, File, Manifest
from inference_code.load import LoadedModel
from inference_code.rows import Row
from inference_code.shapes import FreePlanner, any_shape, fitted
from tests.kit.folders import manifest_of
from tests.kit.handmade import Recipe

BUCKETS = [Bucket(batch=b, length=n, path="x") for b, n in ((1, 8), (8, 8), (1, 64), (4, 64), (2, 128))]


def _cost(rows: int, length: int) -> float:
    """Milliseconds of MiniLM on one core, as they were measured."""
    return 2.4 + 0.215 * rows * length + 0.0004 * rows * length * length


COSTS = {f"b{b.batch}_s{b.length}": _cost(b.batch, b.length) for b in BUCKETS}


def _picked(lengths: list[int], most: int = 100) -> list[int]:
    """The lengths that go together, the oldest first in ``lengths``."""
    planner = FreePlanner(BUCKETS, COSTS)
    counts = [0] * len(planner.lengths)
    for length in lengths:
        counts[planner.class_of(length)] += 1
    bucket, by_class = planner.pick(counts, planner.class_of(lengths[0]), most)
    found = [planner.lengths[at] for at, count in enumerate(by_class) for _ in range(count)]
    assert len(found) <= bucket.batch
    assert max(found) <= bucket.length
    return found


def test_the_shape_is_that_of_the_rows() -> None:
    """No empty rows, no padding but to the longest; never shorter than what was traced."""
    rows = [Row(ids=[1] * n, types=[0] * n) for n in (9, 30, 12)]

    assert fitted(rows, BUCKETS) == Bucket(batch=3, length=30, path="x")
    assert fitted(rows[:1], BUCKETS) == Bucket(batch=1, length=9, path="x")
    assert fitted([Row(ids=[1], types=[0])], BUCKETS).length == 8


def test_like_lengths_go_together_and_others_do_not() -> None:
    """A long row among short ones would pad each of them to its length."""
    assert _picked([10, 100, 11, 12, 120]) == [10, 11, 12]
    assert _picked([100, 10, 11, 12]) == [100]


def test_the_oldest_row_always_runs() -> None:
    """Even where the others would make a better batch without it."""
    assert 100 in _picked([100, *[10] * 8])


def test_a_worker_takes_its_share_only() -> None:
    """What waits is split between those that idle."""
    assert _picked([10] * 8, most=4) == [10] * 4


def test_no_batch_is_larger_than_what_was_traced_for_its_length() -> None:
    """Eight rows of 8 tokens, four of 64, two of 128."""
    assert len(_picked([8] * 20)) == 8
    assert len(_picked([60] * 20)) == 4
    assert len(_picked([128] * 20)) == 2


@given(st.lists(st.integers(1, 128), min_size=1, max_size=40))
def test_every_queue_is_emptied_and_never_dearer_than_alone(lengths: list[int]) -> None:
    """Whatever waits: each row runs once, and together costs no more than one by one."""
    waiting, ran, spent = list(lengths), [], 0.0
    while waiting:
        taken = _picked(waiting)
        for length in taken:
            waiting.remove(next(w for w in waiting if max(w, 8) == length))
        spent += _cost(len(taken), max(taken))
        ran += taken

    assert sorted(ran) == sorted(max(length, 8) for length in lengths)
    assert spent <= sum(_cost(1, max(length, 8)) for length in lengths) + 1e-6


@given(st.lists(st.floats(1e-4, 10.0), min_size=5, max_size=5))
def test_costs_that_make_no_sense_still_make_a_plan(costs: list[float]) -> None:
    """Figures of a busy machine: no negative shares, and every row still runs."""
    planner = FreePlanner(BUCKETS, dict(zip(COSTS, costs)))
    counts = [1] * len(planner.lengths)

    _, by_class = planner.pick(counts, 50, 100)

    assert by_class[50] == 1
    assert all(taken <= there for taken, there in zip(by_class, counts))


def _manifest(digests: list[str], target: str = "cpu") -> Manifest:
    paths = [f"graphs/{at}.pt" for at in range(len(BUCKETS))]
    plain = manifest_of({})
    return msgspec.structs.replace(
        plain,
        requires=msgspec.structs.replace(plain.requires, target=target),
        buckets=tuple(msgspec.structs.replace(b, path=path) for b, path in zip(BUCKETS, paths)),
        files=tuple(File(path=path, size=1, sha256=digest) for path, digest in zip(paths, digests)),
    )


def test_only_one_graph_for_several_batches_and_lengths_fits_any_shape() -> None:
    """Two graphs differ in something that came from their shapes; Inf1 graphs have one shape."""
    same, other = "a" * 64, "b" * 64

    assert any_shape(_manifest([same] * 5))
    assert not any_shape(_manifest([same] * 4 + [other]))
    assert not any_shape(_manifest([same] * 5, target="inf1"))


@pytest.mark.parametrize("buckets", [((1, 8), (1, 16)), ((1, 8), (4, 8)), ((1, 8),)])
def test_one_batch_or_one_length_proves_nothing(
    buckets: tuple[tuple[int, int], ...], models: Callable[..., LoadedModel]
) -> None:
    """What was traced once, or along one axis, may depend on the other."""
    assert not any_shape(models(Recipe(buckets=buckets)).manifest)
