"""Rows in, outputs out: the bounded queue, the inference thread, deadlines.

Rows of different requests share a batch; each row carries the job it belongs to and its place
in it, so an answer cannot reach another request. The thread never waits while it is idle: it
takes what there is. What runs a batch is one callable, so that workers in processes of their
own (one per NeuronCore group) can take the thread's place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from artifact.errors import TraceshipError
from artifact.manifest import Bucket
from inference_code.batching import Planner
from inference_code.errors import InferenceFailed, NeverStarted, TooManyInputs, TooManyRequests
from inference_code.log import logger
from inference_code.rows import Outputs, Row

Run = Callable[[Bucket, Sequence[Row]], "list[Outputs]"]
Observe = Callable[[Bucket, Sequence[Row], float], None]
"""Told of every finished batch: bucket, rows, seconds."""

_FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class Limits:
    """``queue`` in rows; seconds for the rest. ``[serve]`` of the settings."""

    queue: int = 256
    deadline: float = 20.0
    window: float = 0.002


class Job:
    """The rows of one request. ``future`` gets one output per row, in order."""

    def __init__(self, rows: Sequence[Row], deadline: float) -> None:
        self.future: Future[list[Outputs]] = Future()
        self.deadline = deadline
        self.started = False
        self.abandoned = False
        self._results: list[Outputs | None] = [None] * len(rows)
        self._missing = len(rows)

    def deliver(self, at: int, outputs: Outputs) -> None:
        """Take the output of row ``at``; complete the future with the last one."""
        self._results[at] = outputs
        self._missing -= 1
        if self._missing == 0 and not self.future.done():
            self.future.set_result([r for r in self._results if r is not None])

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def abandon(self) -> None:
        """Nobody waits for the answer any more: rows that still wait are dropped."""
        self.abandoned = True


@dataclass(frozen=True)
class _Waiting:
    row: Row
    job: Job
    at: int
    arrived: float = field(default_factory=time.monotonic)


class Engine:
    """One inference thread behind a bounded queue."""

    def __init__(
        self, run: Run, planner: Planner, limits: Limits, observe: Observe = lambda *_: None
    ) -> None:
        self._run = run
        self._planner = planner
        self._limits = limits
        self._observe = observe
        self._queue: list[_Waiting] = []
        self._condition = threading.Condition()
        self._closing = False
        self._failures = 0
        self._running_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return len(self._queue)

    def submit(self, rows: Sequence[Row]) -> Job:
        """Queue the rows of a request; all of them or none.

        Raises:
            TooManyInputs: more rows than the queue ever holds.
            TooManyRequests: no room now.
        """
        job = Job(rows, time.monotonic() + self._limits.deadline)
        if not rows:
            job.future.set_result([])
            return job
        if len(rows) > self._limits.queue:
            raise TooManyInputs(found=str(len(rows)), limit=self._limits.queue)
        with self._condition:
            if len(self._queue) + len(rows) > self._limits.queue:
                raise TooManyRequests(limit=self._limits.queue)
            self._queue.extend(_Waiting(row=row, job=job, at=at) for at, row in enumerate(rows))
            self._condition.notify()
        return job

    def trouble(self) -> str | None:
        """Why an inference would not succeed now, or None."""
        if not self._thread.is_alive():
            return "without its inference thread"
        since = self._running_since
        if since is not None and time.monotonic() - since > self._limits.deadline:
            return "stuck in an inference"
        if self._failures >= _FAILURES_IN_A_ROW:
            return "failing at every inference"
        return None

    def close(self, timeout: float) -> bool:
        """Finish what waits, then end the thread. False: it is stuck after ``timeout`` seconds."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._condition:
                self._await_rows()
                late = self._drop_dead()
                plan = self._planner.choose([w.row.length for w in self._queue]) if self._queue else None
                taken = [self._queue[at] for at in plan.positions] if plan else []
                gone = set(plan.positions) if plan else set()
                self._queue = [w for at, w in enumerate(self._queue) if at not in gone]
            for waiting in late:
                waiting.job.fail(NeverStarted(seconds=self._limits.deadline))
            if plan:
                self._run_batch(plan.bucket, taken)
            elif self._closing:
                return

    def _await_rows(self) -> None:
        idle = not self._queue
        while not self._queue and not self._closing:
            self._condition.wait()
        if idle or self._closing:
            return
        # These rows queued behind a batch: under load a little patience fills the next one.
        until = self._queue[0].arrived + self._limits.window
        while len(self._queue) < self._planner.largest_batch:
            left = until - time.monotonic()
            if left <= 0 or not self._condition.wait(left):
                return

    def _drop_dead(self) -> list[_Waiting]:
        """Take rows out that nobody waits for; return those that were never begun in time."""
        now = time.monotonic()
        self._queue = [w for w in self._queue if not w.job.abandoned and not w.job.future.done()]
        late = [w for w in self._queue if w.job.deadline <= now]
        self._queue = [w for w in self._queue if w.job.deadline > now]
        return late

    def _run_batch(self, bucket: Bucket, taken: Sequence[_Waiting]) -> None:
        rows = [waiting.row for waiting in taken]
        for waiting in taken:
            waiting.job.started = True
        self._running_since = started = time.monotonic()
        try:
            outputs = self._run(bucket, rows)
        except Exception as error:
            # Whatever a graph raises must reach its callers, and must not end the thread.
            self._failures += 1
            self._fail(taken, error)
            return
        finally:
            self._running_since = None
        self._failures = 0
        self._observe(bucket, rows, time.monotonic() - started)
        for waiting, found in zip(taken, outputs):
            waiting.job.deliver(waiting.at, found)

    def _fail(self, taken: Sequence[_Waiting], error: Exception) -> None:
        known = isinstance(error, TraceshipError)
        logger.error("inference failed", extra={"error": type(error).__name__}, exc_info=not known)
        for waiting in taken:
            waiting.job.fail(InferenceFailed(why="its graph raised an error"))
