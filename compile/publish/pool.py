"""A few threads with a bounded queue: whoever submits waits while everyone is busy.

Daemon threads, and not those of ``concurrent.futures``, which Python joins at exit: Ctrl-C must
end the command at once even while S3 leaves a request without an answer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

WORKERS = 24
"""Small objects take a round trip each, so many must be under way; of large parts the budget
lets fewer be."""
BUDGET_BYTES = 96 * 1024**2
"""What tasks may hold in memory between them: twelve parts under way or waiting for a thread."""
_DESCRIPTORS_EACH = 2
"""A connection and an open file."""
_DESCRIPTORS_SPARE = 12
"""For what Python and its libraries open meanwhile: time zones, certificates, pipes."""
_PATIENCE_SECONDS = 2.0
"""How long a failed run waits for requests that are under way."""

Task = Callable[[], None]


class Pool:
    """Runs tasks in threads. The first one that fails stops the rest; its error is raised to the owner."""

    def __init__(self, workers: int, *, budget: int = BUDGET_BYTES) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Task, int]] = deque()
        self._unfinished = 0
        self._held = 0
        self._budget = budget
        self._room = workers + max(1, workers // 4)
        self._closed = False
        self._error: BaseException | None = None
        self.stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task, *, holds: int = 0) -> None:
        """Queue ``task``; wait while too many are unfinished, or hold too much.

        Args:
            holds: bytes in memory until the task is done; alone, it may hold any number.

        Raises:
            Whatever an earlier task raised.
        """
        with self._changed:
            while self._error is None and self._is_full(holds):
                self._changed.wait()
            self._raise()
            self._waiting.append((task, holds))
            self._unfinished += 1
            self._held += holds
            self._changed.notify_all()

    def check(self) -> None:
        """Go no further once a task has failed.

        Raises:
            Whatever it raised.
        """
        with self._changed:
            self._raise()

    def drain(self) -> None:
        """Wait until every task has run.

        Raises:
            Whatever one of them raised.
        """
        with self._changed:
            while self._error is None and self._unfinished > 0:
                self._changed.wait()
            self._raise()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._closed = True
            if error is not None:
                self._unfinished -= len(self._waiting)
                self._waiting.clear()
                self.stopping.set()
            self._changed.notify_all()
        if isinstance(error, KeyboardInterrupt):
            return
        for thread in self._threads:
            thread.join(timeout=None if error is None else _PATIENCE_SECONDS / len(self._threads))

    def _is_full(self, more: int) -> bool:
        if self._unfinished >= self._room:
            return True
        return self._held > 0 and self._held + more > self._budget

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (found := self._next()) is not None:
            task, holds = found
            error: BaseException | None = None
            try:
                task()
            except BaseException as failed:  # the owner raises it
                error = failed
            del task, found  # and the body that it holds, before another may be made
            with self._changed:
                self._unfinished -= 1
                self._held -= holds
                if error is not None and self._error is None:
                    self._error = error
                    self.stopping.set()
                self._changed.notify_all()

    def _next(self) -> tuple[Task, int] | None:
        with self._changed:
            while not self._waiting and not self._closed and self._error is None:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting and self._error is None else None


def workers_for(free_descriptors: int) -> int:
    """How many threads the process may run: fewer where it may open few files, one at least."""
    return max(1, min(WORKERS, (free_descriptors - _DESCRIPTORS_SPARE) // _DESCRIPTORS_EACH))


def free_descriptors() -> int:
    """How many more files this process may open."""
    import resource
    from pathlib import Path

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(list(Path("/dev/fd").iterdir()))
    except OSError:  # none to list the list with
        used = 16
    return (limit if limit != resource.RLIM_INFINITY else 1 << 16) - used
