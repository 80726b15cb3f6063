"""A batch forms exactly when it costs less than its parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from artifact.manifest import Bucket
from inference_code.batching import Planner

BUCKETS = [Bucket(batch=b, length=n, path="x") for b, n in ((1, 32), (1, 128), (8, 32), (8, 128))]
COSTS = {"b1_s32": 15.0, "b1_s128": 50.0, "b8_s32": 70.0, "b8_s128": 270.0}
"""Milliseconds of MiniLM on one core (shape of the measured figures, 1x128 rounded)."""


def _chosen(lengths: list[int]) -> tuple[int, int, tuple[int, ...]]:
    plan = Planner(BUCKETS, COSTS).choose(lengths)
    return plan.bucket.batch, plan.bucket.length, plan.positions


def test_one_row_runs_in_its_smallest_bucket() -> None:
    """No padding to the longest."""
    assert _chosen([20]) == (1, 32, (0,))
    assert _chosen([33]) == (1, 128, (0,))


def test_a_batch_forms_when_it_is_cheaper() -> None:
    """Five short rows alone cost 75, together 70; four cost 60."""
    assert _chosen([20] * 5) == (8, 32, (0, 1, 2, 3, 4))
    assert _chosen([20] * 4) == (1, 32, (0,))


def test_rows_of_unlike_length_are_not_padded_together() -> None:
    """One long and four short rows: the long bucket of eight would cost 270 against 110."""
    assert _chosen([20, 100, 20, 20, 20])[:2] == (1, 32)


def test_the_oldest_row_always_runs() -> None:
    """Even where the others would make a better batch without it."""
    assert 0 in _chosen([100, *[20] * 8])[2]


def test_places_go_to_the_rows_that_are_dearest_alone() -> None:
    """Nine long rows and short ones: the batch is filled with long ones."""
    lengths = [100, 20, 20, *[100] * 8]

    batch, length, positions = _chosen(lengths)

    assert (batch, length) == (8, 128)
    assert all(lengths[at] == 100 for at in positions)


def test_without_figures_the_padded_tokens_count() -> None:
    """Before anything is measured the smallest padded work wins."""
    plan = Planner(BUCKETS).choose([10])

    assert (plan.bucket.batch, plan.bucket.length) == (1, 32)


@given(st.lists(st.integers(1, 128), min_size=1, max_size=40))
def test_every_queue_is_emptied_and_never_dearer_than_alone(lengths: list[int]) -> None:
    """Whatever waits: every row runs once, fits, and batching never costs more than none."""
    planner = Planner(BUCKETS, COSTS)
    waiting, spent, ran = list(range(len(lengths))), 0.0, []
    while waiting:
        plan = planner.choose([lengths[at] for at in waiting])
        taken = [waiting[position] for position in plan.positions]
        assert len(taken) <= plan.bucket.batch
        assert all(lengths[at] <= plan.bucket.length for at in taken)
        assert taken[0] == waiting[0]
        spent += COSTS[f"b{plan.bucket.batch}_s{plan.bucket.length}"]
        ran += taken
        waiting = [at for at in waiting if at not in taken]

    assert sorted(ran) == list(range(len(lengths)))
    assert spent <= sum(15.0 if length <= 32 else 50.0 for length in lengths)
