"""Rows in, outputs out: the bounded queue, batches, deadlines. One event loop runs all of it.

Rows of different requests share a batch; each row carries the job it belongs to and its place
in it, so an answer cannot reach another request. Where a batch is run is a ``Lane``: a worker in
a process of its own. A lane that idles gets what there is; a lane that works is handed its next
batch early only if that one is full, since no wait could make it better.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from artifact.errors import TraceshipError
from artifact.manifest import Bucket, bucket_name
from inference_code.admission import Admission
from inference_code.batching import AnyPlanner
from inference_code.errors import (
    DeadlinePassed,
    InferenceFailed,
    NeverStarted,
    NotReady,
    RequestError,
    TooManyInputs,
    TooManyRequests,
    WorkerLost,
)
from inference_code.lanes import Check, Lane, Lanes
from inference_code.log import logger
from inference_code.metrics import Metrics
from inference_code.patience import Patience
from inference_code.rows import NOT_FINITE, Outputs, Row
from inference_code.timer import Timer


@dataclass(frozen=True)
class Limits:
    """``queue`` in rows; seconds for the rest. ``[serve]`` of the settings, but for ``wait``.

    ``wait``: the longest that a row may have to wait for its turn, as far as one can tell. No request is
    refused for its own size by it.
    """

    queue: int = 256
    deadline: float = 20.0
    window: float = 0.002
    wait: float = 1.0


class Job:
    """The rows of one request. ``future`` gets one output per row, in order; see ``Engine.give_up``.

    ``began`` is when its first row was in a batch, ``ended`` when its last one was answered, 0.0 for
    not yet; ``buckets`` and ``workers`` are where they ran. ``trail.py`` tells them on.
    """

    def __init__(self, rows: Sequence[Row], now: float, deadline: float) -> None:
        self.future: asyncio.Future[list[Outputs]] = asyncio.get_running_loop().create_future()
        self.arrived = now
        self.deadline = deadline
        self.began = self.ended = 0.0
        self.buckets: set[str] = set()
        self.workers: set[str] = set()
        self._results: list[Outputs | None] = [None] * len(rows)
        self._missing = len(rows)

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.done()

    @property
    def started(self) -> bool:
        """Whether any of its rows was ever in a batch."""
        return self.began > 0.0

    def begin(self, now: float) -> None:
        """One of its rows is in a batch."""
        self.began = self.began or now

    def deliver(self, at: int, outputs: Outputs, now: float) -> None:
        """Take the output of row ``at``; complete the future with the last one."""
        self._results[at] = outputs
        self._missing -= 1
        if self._missing == 0 and not self.over:
            self.ended = now
            self.future.set_result([r for r in self._results if r is not None])

    def fail(self, error: RequestError) -> None:
        if not self.over:
            self.future.set_exception(error)


class _Waiting(msgspec.Struct, frozen=True):
    number: int
    row: Row
    job: Job
    at: int


class Engine:
    """A bounded queue in front of lanes."""

    def __init__(self, planner: AnyPlanner, limits: Limits, metrics: Metrics | None = None) -> None:
        self._planner = planner
        self._limits = limits
        self._metrics = metrics or Metrics()
        self._loop = asyncio.get_running_loop()
        self._patience = Patience(limits.window)
        self._admission = Admission(limits.wait, always=planner.largest_batch)
        self._lanes = Lanes()
        self._queues: list[deque[_Waiting]] = [deque() for _ in planner.lengths]
        # Weak, so that answers do not stay in memory behind an older job that a worker hangs on.
        self._jobs: deque[weakref.ref[Job]] = deque()
        self._handed_early: dict[Lane, Sequence[_Waiting]] = {}
        self._number = 0
        self._waiting = 0
        self._pump_is_due = False
        self._patience_over = Timer(self._loop, self._pump_soon)
        self._deadline = Timer(self._loop, self._expire)

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return self._waiting

    @property
    def lanes(self) -> Sequence[Lane]:
        """Those that were attached, and not detached."""
        return self._lanes.all

    def have_checked(self, check: Check) -> None:
        """Have ``check`` look at lanes whose batches fail, and call ``checked`` then."""
        self._lanes.have_checked(check)

    def checked(self, lane: Lane, *, well: bool, seconds: float) -> None:
        """See ``Lanes.checked``."""
        self._lanes.checked(lane, well=well, seconds=seconds)
        self._pump_soon()

    def attach(self, lane: Lane) -> None:
        """Give ``lane`` batches from now on."""
        self._lanes.add(lane)
        self._admission.expect(self._planner.row_seconds / len(self._lanes.all))
        self._pump_soon()

    def detach(self, lane: Lane) -> None:
        """Give ``lane`` nothing more; it still tells how its batches ended."""
        self._lanes.remove(lane)

    def full(self, rows: int = 1) -> bool:
        """Whether so many more rows would be refused now."""
        if not self._crowded(rows):
            return False
        self._forget_the_dead()
        return self._crowded(rows)

    def _crowded(self, rows: int) -> bool:
        if self._waiting + rows > self._limits.queue:
            return True
        running = sum(lane.load > 0 for lane in self._lanes.taking)
        return self._admission.refuses(self._waiting, time.monotonic(), running)

    def submit(self, rows: Sequence[Row]) -> Job:
        """Queue the rows of a request; all of them or none.

        Raises:
            TooManyInputs: more rows than the queue ever holds.
            TooManyRequests: no room now.
            NotReady: nothing runs batches.
        """
        now = time.monotonic()
        job = Job(rows, now, now + self._limits.deadline)
        if not rows:
            job.future.set_result([])
            return job
        if len(rows) > self._limits.queue:
            raise TooManyInputs(found=str(len(rows)), limit=self._limits.queue)
        if self.full(len(rows)):
            raise TooManyRequests(waiting=self._waiting)
        if not self._lanes.all:
            raise NotReady(state="without a worker")
        self._patience.arrived()
        for at, row in enumerate(rows):
            self._number += 1
            waiting = _Waiting(number=self._number, row=row, job=job, at=at)
            self._queues[self._planner.class_of(row.length)].append(waiting)
        self._waiting += len(rows)
        self._jobs.append(weakref.ref(job))
        self._watch_deadlines()
        self._pump_soon()
        return job

    def give_up(self, job: Job) -> None:
        """Nobody waits for ``job`` any more: what of it is in no batch yet leaves the queue."""
        job.future.cancel()
        self._forget_the_dead()

    def trouble(self) -> str | None:
        """Why an inference would not succeed now, or None."""
        return self._lanes.trouble()

    def _pump_soon(self) -> None:
        """After this turn of the loop, so that everything that arrived together goes together."""
        if not self._pump_is_due:
            self._pump_is_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_is_due = False
        self._hand_out()
        if self._waiting:
            self._admission.queued(time.monotonic())

    def _hand_out(self) -> None:
        while self._waiting:
            lane = min(
                (lane for lane in self._lanes.taking if lane.room), key=lambda lane: lane.load, default=None
            )
            if lane is None:
                return
            if lane.load == 0 and self._waiting < self._planner.largest_batch:
                until = self._patience.until(time.monotonic())
                if until is not None:
                    self._patience_over.set(until)
                    return
            if not self._run_one(lane):
                return

    def _run_one(self, lane: Lane) -> bool:
        """Hand ``lane`` a batch; False: what waits had better wait."""
        counts, head = self._counts()
        if not self._waiting:
            return True
        idle = sum(other.load == 0 for other in self._lanes.taking) or 1
        bucket, by_class = self._planner.pick(counts, head, -(-self._waiting // idle))
        if lane.load and (sum(by_class) < bucket.batch or bucket.batch < self._planner.largest_batch):
            return False
        taken = [row for queue, count in zip(self._queues, by_class) for row in self._take(queue, count)]
        if lane.load:
            self._handed_early[lane] = taken
        else:
            self._begin(taken)
        rows = [waiting.row for waiting in taken]
        shape = self._planner.shape(bucket, rows)
        lane.start(shape, rows, lambda found, seconds: self._finished(lane, shape, taken, found, seconds))
        return True

    def _take(self, queue: deque[_Waiting], count: int) -> Iterator[_Waiting]:
        while count and queue:
            waiting = queue.popleft()
            self._waiting -= 1
            if not waiting.job.over:
                count -= 1
                yield waiting

    def _counts(self) -> tuple[list[int], int]:
        """Rows by class, and the class of the oldest, of those that somebody waits for."""
        oldest, head = None, 0
        for at, queue in enumerate(self._queues):
            while queue and queue[0].job.over:
                queue.popleft()
                self._waiting -= 1
            if queue and (oldest is None or queue[0].number < oldest):
                oldest, head = queue[0].number, at
        return [len(queue) for queue in self._queues], head

    def _finished(
        self,
        lane: Lane,
        shape: Bucket,
        taken: Sequence[_Waiting],
        found: list[Outputs] | Exception,
        seconds: float,
    ) -> None:
        self._begin(self._handed_early.pop(lane, ()))
        now, name = time.monotonic(), bucket_name(shape.batch, shape.length)
        for waiting in taken:
            waiting.job.buckets.add(name)
            waiting.job.workers.add(lane.name)
        self._admission.finished(len(taken), now, waiting=self._waiting)
        well = not isinstance(found, Exception) and all(outputs.finite for outputs in found)
        if well:
            self._metrics.batch(shape, [waiting.row for waiting in taken], seconds, lane.name)
        else:
            self._metrics.batch_failed(shape, seconds, lane.name)
        if isinstance(found, Exception):
            self._failed(taken, found)
        else:
            self._answered(taken, found, now)
        if not isinstance(found, WorkerLost):
            self._lanes.ended(lane, shape, well=well)
        self._patience.answered(len({id(waiting.job) for waiting in taken}), now)
        self._pump_soon()

    def _begin(self, taken: Sequence[_Waiting]) -> None:
        now = time.monotonic()
        for waiting in taken:
            waiting.job.begin(now)

    def _answered(self, taken: Sequence[_Waiting], found: Sequence[Outputs], now: float) -> None:
        for waiting, outputs in zip(taken, found):
            if outputs.finite:
                waiting.job.deliver(waiting.at, outputs, now)
            else:
                # Its neighbours in the batch are none the worse for it.
                waiting.job.fail(InferenceFailed(why=NOT_FINITE))

    def _failed(self, taken: Sequence[_Waiting], error: Exception) -> None:
        if not isinstance(error, RequestError):
            # What a graph raises must reach its callers, but not its words.
            known = isinstance(error, TraceshipError)
            logger.error("inference failed", extra={"error": type(error).__name__}, exc_info=not known)
            error = InferenceFailed(why="its graph raised an error")
        for waiting in taken:
            waiting.job.fail(error)

    def _watch_deadlines(self) -> None:
        """Jobs expire in the order in which they came: one timer is enough."""
        while self._jobs:
            job = self._jobs[0]()
            if job is not None and not job.over:
                self._deadline.set(job.deadline)
                return
            self._jobs.popleft()

    def _expire(self) -> None:
        now = time.monotonic()
        for job in filter(None, (there() for there in self._jobs)):
            if job.deadline > now:
                break
            late = DeadlinePassed if job.started else NeverStarted
            job.fail(late(seconds=self._limits.deadline))
        self._forget_the_dead()
        self._watch_deadlines()

    def _forget_the_dead(self) -> None:
        for queue in self._queues:
            living = [waiting for waiting in queue if not waiting.job.over]
            self._waiting -= len(queue) - len(living)
            queue.clear()
            queue.extend(living)
