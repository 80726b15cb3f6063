"""Lines out through a thread of their own, so that a reader who stalls never stalls a request.

A pipe that nobody reads is full after 64 KiB, and the next write then waits for ever. Here whoever
logs only appends to a bounded queue; the thread alone may wait. What does not fit is dropped and
counted, and the count goes out with the next lines that get through.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator

MAX_WAITING_BYTES = 4_194_304
"""About three seconds of a line for each of 4,000 requests a second."""

_PAUSE_SECONDS = 0.02
"""Between two writes: lines that come meanwhile share a write, and waking the thread for every line
would cost the requests more than the lines do."""


class LineWriter:
    """Writes lines to ``fd``. Every method may be called from any thread, and none waits but ``close``.

    ``notice`` makes the line that tells how many were dropped. Up to twice ``max_waiting`` bytes are
    held: what the thread is writing, and what waits meanwhile.
    """

    def __init__(
        self, fd: int, notice: Callable[[int], bytes], *, max_waiting: int = MAX_WAITING_BYTES
    ) -> None:
        self._fd = fd
        self._notice = notice
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._dropped = 0
        self._told = 0
        self._filled = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"lines-{fd}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were lost since the start."""
        return self._dropped

    def put(self, line: bytes) -> None:
        """Write ``line``, which ends with its only line feed, soon; or drop it."""
        with self._lock:
            if self._waiting + len(line) > self._max_waiting:
                self._dropped += 1
                return
            self._lines.append(line)
            self._waiting += len(line)
        # While it is set, the thread has yet to take what waits; setting it costs more than looking.
        if not self._filled.is_set():
            self._filled.set()

    def close(self, timeout: float) -> None:
        """Write what waits and end the thread; after ``timeout`` seconds of a stalled reader, give up."""
        self._closing.set()
        self._filled.set()
        self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            self._filled.wait()
            self._filled.clear()
            self._write(self._take())
            if self._closing.wait(_PAUSE_SECONDS):
                self._write(self._take())
                return

    def _take(self) -> list[bytes]:
        with self._lock:
            lines = list(self._lines)
            self._lines.clear()
            self._waiting = 0
        return lines

    def _write(self, lines: list[bytes]) -> None:
        for chunk in _chunks(lines):
            if not self._written(chunk):
                with self._lock:
                    self._dropped += chunk.count(b"\n")
        untold = self._dropped - self._told
        if untold and self._written(self._notice(untold)):
            self._told += untold

    def _written(self, chunk: bytes) -> bool:
        """Write it, however long that takes. False: nobody will ever read this again."""
        try:
            _write_all(self._fd, chunk)
        except OSError:
            return False
        return True


class WaitingWriter:
    """Writes each line to ``fd`` at once, however long that takes: no thread would come along in a fork."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def put(self, line: bytes) -> None:
        """Write ``line``; if nobody will ever read it, drop it."""
        with contextlib.suppress(OSError):
            _write_all(self._fd, line)

    def close(self, timeout: float) -> None:
        """Nothing waits."""


def _chunks(lines: list[bytes]) -> Iterator[bytes]:
    """Join lines up to the size that a pipe takes whole, so that processes do not cut each other's lines."""
    chunk = bytearray()
    for line in lines:
        if chunk and len(chunk) + len(line) > select.PIPE_BUF:
            yield bytes(chunk)
            chunk.clear()
        chunk += line
    if chunk:
        yield bytes(chunk)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        with contextlib.suppress(BlockingIOError):
            view = view[os.write(fd, view) :]
            continue
        # Somebody made the other end of our own stderr non-blocking.
        select.select([], [fd], [])
