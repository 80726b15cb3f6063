"""Work beside the event loop: given up in time, never begun too late, and no more than is done soon."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from inference_code.aside import _BOOKED_SECONDS, LONG_SECONDS, Aside, Writers
from inference_code.errors import DeadlinePassed, TooMuchToWrite

LATE = DeadlinePassed(seconds=1.0)


def _soon() -> float:
    return time.monotonic() + 0.05


def test_work_that_nobody_waits_for_any_more_is_never_begun() -> None:
    """The one thread is at something else until then; what it is at is left alone."""
    go_on, done = threading.Event(), []

    async def run() -> list[str]:
        threads = Aside("test", threads=1)
        first = asyncio.ensure_future(
            threads.run(lambda: done.append(go_on.wait(30)), until=_soon() + 60, late=lambda: LATE)
        )
        await asyncio.sleep(0)  # it takes the thread
        with pytest.raises(DeadlinePassed):
            await threads.run(lambda: done.append(False), until=_soon(), late=lambda: LATE)
        go_on.set()
        await first
        last = await threads.run(lambda: "after it", until=_soon() + 60, late=lambda: LATE)
        threads.close()
        return [last]

    assert asyncio.run(run()) == ["after it"]
    assert done == [True]


def test_an_error_of_the_work_is_its_own() -> None:
    """Also one that comes when nobody waits any more is nobody's trouble."""
    go_on, told = threading.Event(), []

    def fail() -> None:
        go_on.wait(30)
        raise KeyError("a mistake")

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        threads = Aside("test", threads=1)
        with pytest.raises(DeadlinePassed):
            await threads.run(fail, until=_soon(), late=lambda: LATE)
        go_on.set()
        with pytest.raises(KeyError):
            await threads.run(fail, until=_soon() + 60, late=lambda: LATE)
        threads.close()

    asyncio.run(run())

    assert told == []


def test_what_is_short_is_written_at_once_and_never_refused() -> None:
    """On the event loop's own thread."""

    async def run() -> None:
        writers = Writers(threads=1)
        with (
            writers.booked(10 * _BOOKED_SECONDS),
            writers.booked(LONG_SECONDS) as short,
        ):
            thread = await short.write(threading.get_ident, until=0.0, late=lambda: LATE)
            assert thread == threading.get_ident()
        with writers.booked(2 * LONG_SECONDS) as long:
            assert await long.write(threading.get_ident, until=_soon() + 60, late=lambda: LATE) != thread
        writers.close()

    asyncio.run(run())


def test_a_place_lasts_until_the_answer_is_written_whoever_gave_up() -> None:
    """One of any size has a place alone; two that are longer than the threads' time together have not."""
    go_on = threading.Event()

    async def run() -> None:
        writers = Writers(threads=1)
        most = _BOOKED_SECONDS
        with (
            writers.booked(0.6 * most),
            writers.booked(0.4 * most),
            pytest.raises(TooMuchToWrite, match="2 large answers"),
            writers.booked(0.1 * most),
        ):
            pass
        with writers.booked(5 * most) as place:
            with pytest.raises(TooMuchToWrite), writers.booked(0.1 * most):
                pass
            with pytest.raises(DeadlinePassed):
                await place.write(lambda: go_on.wait(30), until=_soon(), late=lambda: LATE)
        with pytest.raises(TooMuchToWrite), writers.booked(0.1 * most):
            pass
        go_on.set()
        while True:
            try:
                with writers.booked(most):
                    break
            except TooMuchToWrite:
                await asyncio.sleep(0.01)
        writers.close()

    asyncio.run(run())


def test_places_of_requests_that_fail_are_given_back() -> None:
    """Before anything was written."""

    async def run() -> None:
        writers = Writers(threads=1)
        for _ in range(5):
            with pytest.raises(KeyError), writers.booked(_BOOKED_SECONDS):
                raise KeyError
        writers.close()

    asyncio.run(run())
