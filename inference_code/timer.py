"""A deadline that moves with every request, for the price of a timer every now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timer:
    """Calls ``passed`` once a deadline has passed. Moving it to a later time sets no new timer.

    The loop's own timer is left where it is and looks, when it fires, whether the deadline has moved
    on. Only one that comes sooner sets it anew. Times on the loop's clock.
    """

    __slots__ = ("_deadline", "_handle", "_loop", "_passed")

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self._loop = loop
        self._passed = passed
        self._deadline: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    def set(self, deadline: float) -> None:
        """Call at ``deadline`` and at no earlier one that was set."""
        self._deadline = deadline
        if self._handle is not None:
            if self._handle.when() <= deadline:
                return
            self._handle.cancel()
        self._handle = self._loop.call_at(deadline, self._fire)

    def unset(self) -> None:
        """Nothing is due, until ``set``."""
        self._deadline = None

    def stop(self) -> None:
        """Let go of the loop's timer."""
        self._deadline = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self.set(self._deadline)
            return
        self._deadline = None
        self._passed()
