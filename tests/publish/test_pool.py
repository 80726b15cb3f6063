"""Threads that work in bounds and stop at the first error."""

from __future__ import annotations

import threading

import pytest

from compile.publish.pool import WORKERS, Pool, workers_for


def test_every_task_runs_before_drain_returns() -> None:
    """Many more tasks than threads."""
    done: list[int] = []
    with Pool(3) as pool:
        for number in range(100):
            pool.submit(lambda number=number: done.append(number))  # type: ignore[misc]
        pool.drain()

        assert sorted(done) == list(range(100))


def test_whoever_submits_waits_while_everyone_is_busy() -> None:
    """What is queued holds memory, so the queue is short."""
    gate, submitted = threading.Event(), threading.Semaphore(0)
    with Pool(2) as pool:

        def submit_all() -> None:
            for _ in range(9):
                pool.submit(lambda: gate.wait() and None)  # type: ignore[func-returns-value]
                submitted.release()

        thread = threading.Thread(target=submit_all)
        thread.start()
        for _ in range(3):  # two at work and one behind them
            submitted.acquire()

        assert not submitted.acquire(timeout=0.2)
        gate.set()
        thread.join()
        pool.drain()


def test_tasks_that_hold_much_wait_for_each_other() -> None:
    """Memory is bounded by what they hold and not by how many they are; one alone may hold any amount."""
    gate, submitted = threading.Event(), threading.Semaphore(0)
    with Pool(8, budget=10) as pool:

        def submit_all() -> None:
            for holds in (5, 5, 1, 100):
                pool.submit(lambda: gate.wait() and None, holds=holds)  # type: ignore[func-returns-value]
                submitted.release()

        thread = threading.Thread(target=submit_all)
        thread.start()
        for _ in range(2):
            submitted.acquire()

        assert not submitted.acquire(timeout=0.2)
        gate.set()
        thread.join(timeout=10)
        assert not thread.is_alive()
        pool.drain()


def test_the_first_error_stops_the_rest_and_reaches_the_owner() -> None:
    """What waits is dropped, and whoever submits or drains is told."""
    ran: list[int] = []

    def fail() -> None:
        raise ValueError("the disk is on fire")

    with Pool(1) as pool:
        pool.submit(fail)
        with pytest.raises(ValueError, match="on fire"):
            pool.drain()
        with pytest.raises(ValueError, match="on fire"):
            pool.submit(lambda: ran.append(1))
        with pytest.raises(ValueError, match="on fire"):
            pool.check()

    assert ran == []
    assert pool.stopping.is_set()


def test_ctrl_c_does_not_wait_for_a_request_without_an_answer() -> None:
    """The thread that waits for S3 is left to itself."""
    never = threading.Event()

    def interrupted() -> None:
        with Pool(1) as pool:
            pool.submit(lambda: never.wait() and None)  # type: ignore[func-returns-value]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    never.set()


@pytest.mark.parametrize(("free", "workers"), [(-5, 1), (0, 1), (20, 4), (28, 8), (10**6, WORKERS)])
def test_fewer_descriptors_are_fewer_threads(free: int, workers: int) -> None:
    """One thread runs in any case: it may still work, and if not, the error says why."""
    assert workers_for(free) == workers
