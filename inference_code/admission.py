"""Whether a row that comes now would wait too long: a pure function of how fast rows are answered.

A limit in rows alone is a short queue for a fast model and a long one for a slow model: past its
capacity a server would answer everybody late. So the queue is also limited in time, by the rate at
which batches end while others wait, on all workers together. A batch that takes longer than those
before it counts as soon as it does, so that a model that hangs does not gather a queue.
"""

from __future__ import annotations

_KEPT = 0.9
"""Share that a new batch leaves of what was known: the last ten or so count."""


class Admission:
    """Times in seconds, on any clock that only goes forward."""

    def __init__(self, longest: float, *, always: int = 1) -> None:
        """
        Args:
            longest: the wait that is still bearable.
            always: rows of a full batch. So many may wait however long that takes: a model that takes
                seconds for a batch must still have its next one ready.
        """
        self._longest = longest
        self._always = always
        self._last = always
        self._seconds = 0.0
        self._rows = 0.0
        self._learned = False
        self._since: float | None = None

    def expect(self, row_seconds: float) -> None:
        """What one row takes in full batches, as measured before the first request, on all workers together.

        It holds until batches have shown better.
        """
        if not self._learned:
            self._seconds, self._rows = row_seconds * self._always, float(self._always)

    def queued(self, now: float) -> None:
        """Rows wait from now on, if none did before."""
        if self._since is None:
            self._since = now

    def finished(self, rows: int, now: float, *, waiting: int) -> None:
        """A batch of ``rows`` ended, and ``waiting`` rows were left in the queue.

        Only the time between two ends tells a rate, and only if the queue was never empty between them.
        """
        if self._since is not None:
            self._seconds = self._seconds * _KEPT + (now - self._since)
            self._rows = self._rows * _KEPT + rows
            self._learned = True
        self._since = now if waiting else None
        self._last = rows

    def wait(self, waiting: int, now: float, running: int = 1) -> float:
        """Seconds until the turn of a row behind ``waiting`` others; 0 where nothing is known yet.

        Args:
            running: batches that run now, side by side.
        """
        known = self._seconds / self._rows if self._rows else 0.0
        if self._since is None:
            return waiting * known
        # As if the batches that run ended now: what is known then, if it is worse.
        ended = self._last * max(1, running)
        soon = (self._seconds * _KEPT + now - self._since) / (self._rows * _KEPT + ended)
        return waiting * max(known, soon)

    def refuses(self, waiting: int, now: float, running: int = 1) -> bool:
        """Whether that is too long. An empty queue takes anything."""
        return waiting > self._always and self.wait(waiting, now, running) > self._longest
