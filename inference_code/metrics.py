"""What a server counts of one model while it serves. ``exposition.py`` and ``emf.py`` tell it on.

Counting is our own and not a library's: it happens several times for each request, and costs a tenth
(docs/decisions/0019-metrics.md). Safe for threads: the event loop, the pool's threads and whoever
reads share one lock, which nobody holds for longer than a few additions.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from artifact.manifest import Bucket, bucket_name
from artifact.serving import DEFAULT_MODEL
from inference_code.histogram import Counts, Histogram, fine_bounds
from inference_code.rows import Row
from inference_code.trail import STAGES, Trail

OUTCOMES = {2: "answered", 4: "refused", 5: "failed"}
"""By the first digit of the status: latency of refusals would hide that of answers."""


@dataclass
class Worker:
    """One process that runs graphs, on a NeuronCore group of its own; written by whoever runs it.

    ``restarts`` counts attempts to replace a process that was lost, ``checks`` the replays of golden cases
    because its batches failed. ``busy_seconds`` only ever rises, over all its processes.
    ``selfcheck_seconds`` of the last start.
    """

    pid: int | None = None
    ready: bool = False
    restarts: int = 0
    checks: int = 0
    busy_seconds: float = 0.0
    selfcheck_seconds: float = 0.0

    def started(self, pid: int) -> None:
        """A process of it runs now and is not ready yet."""
        self.pid, self.ready = pid, False

    def became_ready(self, selfcheck_seconds: float) -> None:
        """It replayed the golden set and takes batches."""
        self.ready, self.selfcheck_seconds = True, selfcheck_seconds

    def ended(self) -> None:
        """Its process is gone, for whatever reason."""
        self.pid, self.ready = None, False


@dataclass
class BucketCounts:
    """Sums over the batches of one bucket. ``slots``: rows they had room for. Tokens as in the graph."""

    batches: int = 0
    rows: int = 0
    slots: int = 0
    failures: int = 0
    real_tokens: int = 0
    padding_tokens: int = 0


@dataclass(frozen=True)
class Snapshot:
    """Everything of one model at one moment."""

    model: str
    requests: Mapping[int, int]
    rejected: Mapping[str, int]
    in_flight: int
    queue_rows: int
    ready: bool
    seconds: Mapping[str, Counts]
    """Of whole requests, by outcome."""
    stages: Mapping[str, Counts]
    batch_seconds: Mapping[str, Counts]
    buckets: Mapping[str, BucketCounts]
    workers: Mapping[str, Worker]
    build: Mapping[str, str]


@dataclass
class Sources:
    """What is asked for when somebody reads, because somebody else knows it."""

    queue_rows: Callable[[], int] = field(default=lambda: 0)
    ready: Callable[[], bool] = field(default=lambda: False)


class Metrics:
    """Of one model. ``deadline`` in seconds is a bound of every histogram."""

    def __init__(self, model: str = DEFAULT_MODEL, *, deadline: float = 20.0) -> None:
        self.model = model
        self.sources = Sources()
        self.deadline = deadline
        self._lock = threading.Lock()
        self._bounds = fine_bounds(deadline)
        self._requests: Counter[int] = Counter()
        self._rejected: Counter[str] = Counter()
        self._in_flight = 0
        # Every outcome and stage is there from the start: a rate needs a zero to begin from.
        self._seconds = {outcome: Histogram(self._bounds) for outcome in OUTCOMES.values()}
        self._stages = {stage: Histogram(self._bounds) for stage in STAGES}
        self._batch_seconds: dict[str, Histogram] = {}
        self._buckets: dict[str, BucketCounts] = {}
        self._workers: dict[str, Worker] = {}
        self._build: dict[str, str] = {}
        self._choices = 1
        self._known: list[Bucket] = []

    @property
    def digest(self) -> str:
        """Of what is served, once it is known; until then nothing."""
        return self._build.get("digest", "")

    def describe(self, build: Mapping[str, str], buckets: Sequence[Bucket], *, choices: int = 1) -> None:
        """Tell what is served, once it is known: labels of the build, and every bucket's zero.

        ``choices``: lines of tokens that stand beside each other in a row (multiple-choice).
        """
        with self._lock:
            self._build, self._choices = dict(build), choices
            self._known = sorted(buckets, key=lambda bucket: (bucket.batch * bucket.length, bucket.batch))
            for bucket in buckets:
                self._bucket(bucket_name(bucket.batch, bucket.length))

    def began(self) -> None:
        """A request for this model is being read."""
        with self._lock:
            self._in_flight += 1

    def finished(self, status: int, trail: Trail, ended: float) -> None:
        """Its answer was written, or nobody is there to read it. ``ended`` by ``time.monotonic``."""
        stages = trail.stages(ended)
        with self._lock:
            self._in_flight -= 1
            self._requests[status] += 1
            self._seconds[OUTCOMES[status // 100]].add(ended - trail.started)
            for stage, seconds in stages:
                self._stages[stage].add(seconds)
            if trail.error:
                self._rejected[trail.error] += 1

    def batch(self, bucket: Bucket, rows: Sequence[Row], seconds: float, worker: str = "0") -> None:
        """A batch was run in the shape of ``bucket`` by ``worker``, and took ``seconds`` in its graph.

        It counts in the smallest of the artifact's buckets that holds that shape: a CPU runs batches
        in the shape of their rows, which would be far too many names.
        """
        real = sum(row.tokens for row in rows)
        with self._lock:
            name = self._holding(bucket)
            counts = self._bucket(name)
            counts.batches += 1
            counts.rows += len(rows)
            counts.slots += bucket.batch
            counts.real_tokens += real
            counts.padding_tokens += bucket.batch * self._choices * bucket.length - real
            self._batch_seconds[name].add(seconds)
            self._worker(worker).busy_seconds += seconds

    def batch_failed(self, bucket: Bucket, seconds: float, worker: str = "0") -> None:
        """A batch raised, answered with NaN or infinity, or its worker died after ``seconds``."""
        with self._lock:
            self._bucket(self._holding(bucket)).failures += 1
            self._worker(worker).busy_seconds += seconds

    def worker(self, name: str) -> Worker:
        """The worker of that name; made, and shown as not alive, the first time."""
        with self._lock:
            return self._worker(name)

    def now(self) -> Snapshot:
        """A copy of everything."""
        queue_rows, ready = self.sources.queue_rows(), self.sources.ready()
        with self._lock:
            return Snapshot(
                model=self.model,
                requests=dict(self._requests),
                rejected=dict(self._rejected),
                in_flight=self._in_flight,
                queue_rows=queue_rows,
                ready=ready,
                seconds={name: found.now() for name, found in self._seconds.items()},
                stages={name: found.now() for name, found in self._stages.items()},
                batch_seconds={name: found.now() for name, found in self._batch_seconds.items()},
                buckets={name: BucketCounts(**vars(found)) for name, found in self._buckets.items()},
                workers={name: Worker(**vars(found)) for name, found in self._workers.items()},
                build=dict(self._build),
            )

    def _holding(self, shape: Bucket) -> str:
        for known in self._known:
            if known.batch >= shape.batch and known.length >= shape.length:
                return bucket_name(known.batch, known.length)
        return "other" if self._known else bucket_name(shape.batch, shape.length)

    def _bucket(self, name: str) -> BucketCounts:
        if name not in self._buckets:
            self._buckets[name] = BucketCounts()
            self._batch_seconds[name] = Histogram(self._bounds)
        return self._buckets[name]

    def _worker(self, name: str) -> Worker:
        return self._workers.setdefault(name, Worker())
