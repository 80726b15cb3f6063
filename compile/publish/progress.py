"""How far an upload is: bytes, files, rate and time left, told by a callback."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 10.0
"""The rate is that of the last so many seconds, so that a stall shows and an old burst does not."""


@dataclass(frozen=True)
class Progress:
    """``done_bytes`` holds what S3 had already; ``bytes_per_second`` only what was sent, and is None,
    as is ``seconds_left``, until something was."""

    done_bytes: int
    total_bytes: int
    done_files: int
    total_files: int
    bytes_per_second: float | None
    seconds_left: float | None


class Meter:
    """Counts from several threads and calls ``tell`` after each change, one call at a time."""

    def __init__(
        self,
        *,
        total_bytes: int,
        total_files: int,
        tell: Callable[[Progress], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total_bytes = total_bytes
        self._total_files = total_files
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._done = 0
        self._finished = 0
        self.sent_bytes = 0
        self.reused_files = 0

    def expect(self, more_bytes: int) -> None:
        """Correct the total, where a size was an estimate."""
        with self._lock:
            self._total_bytes += more_bytes

    def sent(self, size: int) -> None:
        """Bytes that S3 has confirmed."""
        with self._lock:
            self.sent_bytes += size
            self._done += size
            self._recent.append((self._clock(), self.sent_bytes))
            self._report()

    def skipped(self, size: int) -> None:
        """Bytes that S3 had already."""
        with self._lock:
            self._done += size
            self._report()

    def finished(self, *, reused: bool) -> None:
        """A file is there and right; ``reused``: it was before."""
        with self._lock:
            self._finished += 1
            self.reused_files += reused
            self._report()

    def _report(self) -> None:
        rate = self._rate()
        left = max(0, self._total_bytes - self._done)
        self._tell(
            Progress(
                done_bytes=self._done,
                total_bytes=max(self._total_bytes, self._done),
                done_files=self._finished,
                total_files=self._total_files,
                bytes_per_second=rate,
                seconds_left=None if not rate else left / rate,
            )
        )

    def _rate(self) -> float | None:
        now = self._clock()
        while len(self._recent) > 2 and self._recent[1][0] < now - WINDOW_SECONDS:
            self._recent.popleft()
        began, before = self._recent[0]
        seconds = now - began
        return (self.sent_bytes - before) / seconds if seconds > 0 and self.sent_bytes > before else None
