"""Long work beside the event loop, which must answer /ping: few threads, and only what they get done soon."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from inference_code.errors import RequestError, TooMuchToWrite

LONG_SECONDS = 0.002
"""What takes longer is not done on the event loop: about what a thread's turns cost it."""
_BOOKED_SECONDS = 1.0
"""Of each thread: nobody waits longer for his turn, as far as one can tell (docs/decisions/0017)."""

T = TypeVar("T")


class Aside:
    """Threads for one kind of work. Use on one event loop."""

    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)

    async def run(self, work: Callable[[], T], *, until: float, late: Callable[[], RequestError]) -> T:
        """What ``work`` returns. Errors are its own, and what ``late`` makes once it is ``until``.

        Work that has begun is not stopped by that, work that has not is dropped.

        Args:
            until: by ``time.monotonic``; infinity: for as long as it takes.
        """
        return await self._within(self._begun(work, until, late), until, late)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begun(
        self, work: Callable[[], T], until: float, late: Callable[[], RequestError]
    ) -> asyncio.Future[T]:
        def in_time() -> T:
            if time.monotonic() >= until:
                raise late()
            return work()

        future = asyncio.get_running_loop().run_in_executor(self._pool, in_time)
        # Nobody may be there any more to take its error.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    async def _within(self, future: asyncio.Future[T], until: float, late: Callable[[], RequestError]) -> T:
        patience = None if until == math.inf else max(0.0, until - time.monotonic())
        await asyncio.wait((future,), timeout=patience)
        if not future.done():
            raise late()
        return future.result()


class Booking:
    """A place for an answer that will be written in a thread; it lasts until it is written, or not needed."""

    def __init__(self, writers: Writers, seconds: float) -> None:
        self._writers = writers
        self._seconds = seconds
        self._handed = False

    @property
    def aside(self) -> bool:
        """Whether the answer is to be written in a thread."""
        return self._seconds > LONG_SECONDS

    async def write(self, work: Callable[[], T], *, until: float, late: Callable[[], RequestError]) -> T:
        """As ``Aside.run``, at once if it does not take long."""
        if not self.aside:
            return work()
        future = self._writers._begun(work, until, late)
        self._handed = True
        # Not before: what was given up may still be written.
        future.add_done_callback(lambda _: self._writers.give_back(self._seconds))
        return await self._writers._within(future, until, late)

    def end(self) -> None:
        """It is not needed any more."""
        if self.aside and not self._handed:
            self._writers.give_back(self._seconds)


class Writers(Aside):
    """Threads that write answers. Places are booked before the model runs: what it ran for is written."""

    def __init__(self, threads: int) -> None:
        super().__init__("answers", threads)
        self._most = threads * _BOOKED_SECONDS
        self._booked = 0.0
        self._waiting = 0

    @contextlib.contextmanager
    def booked(self, seconds: float) -> Iterator[Booking]:
        """A place for what takes about ``seconds`` to write.

        Raises:
            TooMuchToWrite: others take all the threads' time. Alone any answer has a place.
        """
        booking = Booking(self, seconds)
        if booking.aside:
            if self._waiting and self._booked + seconds > self._most:
                raise TooMuchToWrite(waiting=self._waiting)
            self._booked += seconds
            self._waiting += 1
        try:
            yield booking
        finally:
            booking.end()

    def give_back(self, seconds: float) -> None:
        """The time of one that was booked."""
        self._waiting -= 1
        self._booked = self._booked - seconds if self._waiting else 0.0
