"""How long an idle worker waits for company: a pure function of arrivals and answers.

Clients that got their answers send their next requests at once, so a little after a batch about as
many requests arrive as it answered. That is what is waited for, and for no longer than the window.
A request that comes to an idle server, or alone, never waits. Where waiting was in vain the window
shrinks, and it grows again where company came.
"""

from __future__ import annotations

_LEAST = 1 / 16


class Patience:
    """Times in seconds, on any clock that only goes forward."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._share = 1.0
        self._until = 0.0
        self._missing = 0
        self._waited_since: int | None = None
        self._arrivals = 0

    def answered(self, requests: int, now: float) -> None:
        """A batch is done: so many requests got their answers."""
        self._learn()
        self._missing = requests
        self._until = now + self._window * self._share

    def arrived(self) -> None:
        """A request came in."""
        self._arrivals += 1
        self._missing -= 1

    def until(self, now: float) -> float | None:
        """When to stop waiting, or None: run what there is."""
        if self._missing <= 0 or now >= self._until:
            self._learn()
            return None
        if self._waited_since is None:
            self._waited_since = self._arrivals
        return self._until

    def _learn(self) -> None:
        if self._waited_since is None:
            return
        came = self._arrivals > self._waited_since
        self._share = min(1.0, self._share * 2) if came else max(_LEAST, self._share / 2)
        self._waited_since = None
