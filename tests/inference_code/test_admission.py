"""The queue's limit in time, as arithmetic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_code.admission import Admission


def _steady(admission: Admission, rows: int, seconds: float, batches: int = 30) -> float:
    """Batches one after the other, from 0 on; returns when the last one ended."""
    admission.queued(0.0)
    for at in range(1, batches + 1):
        admission.finished(rows, at * seconds, waiting=1)
    return batches * seconds


def test_nothing_is_refused_before_anything_is_known() -> None:
    """A server that has just begun takes what its limit in rows allows."""
    assert not Admission(1.0).refuses(10_000, now=0.0)


@given(seconds=st.floats(0.001, 10), batch=st.integers(1, 64), workers=st.integers(1, 16))
def test_a_row_waits_as_long_as_those_before_it_take(seconds: float, batch: int, workers: int) -> None:
    """On all workers together, whether they end one by one or all at once."""
    together, in_turn = Admission(1.0), Admission(1.0)
    now = _steady(in_turn, batch, seconds / workers, batches=30 * workers)
    together.queued(0.0)
    for at in range(1, 31):
        for _ in range(workers):
            together.finished(batch, at * seconds, waiting=1)

    expected = 100 * seconds / (batch * workers)
    assert 0.4 * expected < together.wait(100, now) < 2.5 * expected
    assert 0.9 * expected < in_turn.wait(100, now) < 1.1 * expected


def test_what_was_measured_at_boot_holds_until_batches_show_better() -> None:
    """A burst onto a server that has just become ready meets the same limit."""
    admission = Admission(1.0)
    admission.expect(0.1)
    assert not admission.refuses(10, now=0.0)
    assert admission.refuses(11, now=0.0)
    now = _steady(admission, 1, 0.01)
    admission.expect(0.1)
    assert not admission.refuses(50, now)


def test_idle_time_is_not_taken_for_slowness() -> None:
    """An hour without requests between two batches says nothing of either."""
    admission = Admission(1.0)
    admission.queued(0.0)
    admission.finished(4, 0.02, waiting=0)
    admission.queued(3600.0)
    admission.finished(4, 3600.02, waiting=4)

    assert admission.wait(4, now=3600.02) < 0.021


def test_a_model_that_becomes_slower_is_noticed_within_ten_batches() -> None:
    """By the batches that it ends."""
    admission = Admission(1.0)
    now = _steady(admission, 1, 0.01)
    assert not admission.refuses(50, now)
    for at in range(1, 11):
        admission.finished(1, now + 0.1 * at, waiting=1)
    assert admission.refuses(50, now + 1.0)


def test_a_burst_onto_many_workers_is_not_taken_for_slowness() -> None:
    """Their first batches begin together and end together, a little late while the host takes the burst."""
    admission = Admission(1.0, always=8)
    admission.expect(0.029 / 8 / 16)
    admission.queued(0.0)

    assert not admission.refuses(256, now=0.1, running=16)
    assert admission.refuses(256, now=0.1, running=1)


@given(running=st.integers(0, 16))
def test_a_model_that_hangs_on_every_worker_is_noticed_while_it_does(running: int) -> None:
    """Within seconds, however many they are."""
    admission = Admission(1.0, always=4)
    now = _steady(admission, 4, 0.02)

    assert not admission.refuses(40, now, running)
    assert admission.refuses(40, now + 5.0, running)


def test_a_model_that_hangs_is_noticed_while_it_does() -> None:
    """No batch ends any more: the queue must not fill up behind it."""
    admission = Admission(1.0, always=4)
    now = _steady(admission, 4, 0.02)

    assert not admission.refuses(100, now)
    assert admission.refuses(100, now + 2.0)
    assert admission.refuses(5, now + 20.0)


def test_the_next_batch_may_always_wait() -> None:
    """A model that takes ten seconds for a batch is not left without one."""
    admission = Admission(1.0, always=4)
    admission.expect(2.5)

    assert not admission.refuses(4, now=0.0)
    assert admission.refuses(5, now=0.0)
