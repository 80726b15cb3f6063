"""The queue's limit in time, as arithmetic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_code.admission import Admission


def test_nothing_is_refused_before_anything_is_known() -> None:
    """A server that has just begun takes what its limit in rows allows."""
    assert not Admission(1.0).refuses(10_000)


@given(seconds=st.floats(0.001, 10), batch=st.integers(1, 64), workers=st.integers(1, 16))
def test_a_row_waits_as_long_as_those_before_it_take(seconds: float, batch: int, workers: int) -> None:
    """On all workers together, whether they end one by one or all at once."""
    together, in_turn = Admission(1.0), Admission(1.0)
    for at in range(20):
        for worker in range(workers):
            together.finished(batch, at * seconds, waiting=1)
            in_turn.finished(batch, (at + worker / workers) * seconds, waiting=1)

    expected = 100 * seconds / (batch * workers)
    assert 0.4 * expected < together.wait(100) < 2.5 * expected
    assert 0.9 * expected < in_turn.wait(100) < 1.1 * expected


def test_what_was_measured_at_boot_holds_until_batches_show_better() -> None:
    """A burst onto a server that has just become ready meets the same limit."""
    admission = Admission(1.0)
    admission.expect(0.1)
    assert not admission.refuses(10)
    assert admission.refuses(11)
    for at in range(20):
        admission.finished(1, 0.01 * at, waiting=1)
    admission.expect(0.1)
    assert not admission.refuses(50)


def test_idle_time_is_not_taken_for_slowness() -> None:
    """An hour without requests between two batches says nothing of either."""
    admission = Admission(1.0)
    admission.finished(4, 0.0, waiting=4)
    admission.finished(4, 0.02, waiting=0)
    admission.finished(4, 3600.0, waiting=4)
    admission.finished(4, 3600.02, waiting=4)

    assert admission.wait(4) < 0.021


def test_a_model_that_becomes_slower_is_noticed_within_ten_batches() -> None:
    """And one that becomes faster."""
    admission = Admission(1.0)
    for at in range(50):
        admission.finished(1, 0.01 * at, waiting=1)
    assert not admission.refuses(50)
    for at in range(10):
        admission.finished(1, 0.5 + at, waiting=1)
    assert admission.refuses(50)


def test_an_empty_queue_takes_anything() -> None:
    """However slow the model is, somebody must be served."""
    admission = Admission(1.0)
    for at in range(5):
        admission.finished(1, 60.0 * at, waiting=1)

    assert not admission.refuses(0)
    assert admission.refuses(1)


def test_the_next_batch_may_always_wait() -> None:
    """A model that takes ten seconds for a batch is not left without one."""
    admission = Admission(1.0, always=4)
    admission.expect(2.5)

    assert not admission.refuses(4)
    assert admission.refuses(5)
