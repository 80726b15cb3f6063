"""A deadline that moves with every request, for the price of a timer every now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_CUT_SECONDS = 0.001
"""uvloop's timers count whole milliseconds; without more, one would fire too soon and again at once."""


class Timer:
    """Calls ``passed`` once a deadline has passed. Moving it to a later time sets no new timer.

    The loop's own timer is left where it is and looks, when it fires, whether the deadline has moved
    on. Only one that comes sooner sets it anew. Times on the clock of
    ``time.monotonic``, which is the loop's, but not cut to milliseconds as uvloop does with it.
    """

    __slots__ = ("_armed", "_deadline", "_handle", "_loop", "_passed")

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self._loop = loop
        self._passed = passed
        self._deadline: float | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._armed = 0.0
        """What the loop's timer is set for; uvloop's own answer is rounded, and missing for what is due."""

    def set(self, deadline: float) -> None:
        """Call at ``deadline`` and at no earlier one that was set."""
        self._deadline = deadline
        if self._handle is not None:
            if self._armed <= deadline:
                return
            self._handle.cancel()
        self._armed = deadline
        self._handle = self._loop.call_at(deadline + _CUT_SECONDS, self._fire)

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
        if time.monotonic() < self._deadline:
            self.set(self._deadline)
            return
        self._deadline = None
        self._passed()
