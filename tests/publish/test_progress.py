"""Bytes, rate and time left."""

from __future__ import annotations

from compile.publish.progress import WINDOW_SECONDS, Meter, Progress


class Clock:
    """Time that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def _meter(total: int) -> tuple[Meter, Clock, list[Progress]]:
    clock, seen = Clock(), []  # type: tuple[Clock, list[Progress]]
    return Meter(total_bytes=total, total_files=2, tell=seen.append, clock=clock), clock, seen


def test_rate_and_time_left_are_those_of_what_is_sent() -> None:
    """A hundred bytes a second, and three hundred to go."""
    meter, clock, seen = _meter(500)

    clock.now += 2
    meter.sent(200)

    assert (seen[-1].bytes_per_second, seen[-1].seconds_left) == (100, 3)
    assert (seen[-1].done_bytes, seen[-1].total_bytes) == (200, 500)


def test_what_was_there_counts_as_done_and_not_as_speed() -> None:
    """Else a rerun would promise to end at once."""
    meter, clock, seen = _meter(500)
    clock.now += 1
    meter.skipped(400)
    assert seen[-1].bytes_per_second is None
    assert seen[-1].seconds_left is None

    clock.now += 1
    meter.sent(20)

    assert (seen[-1].bytes_per_second, seen[-1].seconds_left) == (10, 8)


def test_an_old_burst_is_forgotten() -> None:
    """After the window only what is slow now counts."""
    meter, clock, seen = _meter(10**9)
    meter.sent(10**6)
    for _ in range(int(WINDOW_SECONDS) * 3):
        clock.now += 1
        meter.sent(10)

    assert seen[-1].bytes_per_second is not None
    assert seen[-1].bytes_per_second < 20


def test_a_corrected_total_and_files_are_told() -> None:
    """The archive's size is an estimate until it is written."""
    meter, _, seen = _meter(100)

    meter.expect(-40)
    meter.sent(60)
    meter.finished(reused=False)
    meter.finished(reused=True)

    assert (seen[-1].done_bytes, seen[-1].total_bytes, seen[-1].done_files) == (60, 60, 2)
    assert (meter.sent_bytes, meter.reused_files) == (60, 1)
