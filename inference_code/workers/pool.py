"""All workers of one artifact: started together, each proven, replaced when one ends, hangs or falls ill."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace

from artifact.errors import TraceshipError
from artifact.manifest import Bucket, Manifest, bucket_name
from inference_code.batching import AnyPlanner, Planner
from inference_code.engine import Engine
from inference_code.errors import WorkerLost
from inference_code.lanes import Lane
from inference_code.load import Model
from inference_code.log import logger
from inference_code.metrics import Metrics
from inference_code.rows import Outputs, Row
from inference_code.selfcheck import SelfCheckFailed, costs, selfcheck
from inference_code.shapes import FreePlanner, any_shape
from inference_code.threads import in_thread
from inference_code.workers.beginning import PROGRAM, Begun, Starter
from inference_code.workers.cores import Share
from inference_code.workers.faults import WorkerHangs
from inference_code.workers.fork_server import ForkServer, ForksUnsafe
from inference_code.workers.process import WorkerProcess
from inference_code.workers.programs import Programs
from inference_code.workers.supply import Supply

_LOADING_SECONDS = 900.0
"""Until the graphs are loaded; minutes are normal for large ones on Inf1."""
_WATCH_SECONDS = 0.5
_BEAT_SECONDS = 5.0
_PROVING_SECONDS = 120.0
_OF_DEADLINE = 0.75
"""So the requests of a worker that hangs fail as such, and in time."""
_OF_COST = 10
"""A batch may take so many times as long as the slowest one did when it was measured."""
_LATE_SECONDS = 2.0
"""No batch is late before: so long a host may stand still and not be ill (a container that used up its share
of the processors, time that a hypervisor took, a page that comes from a disk). Balancers ask every few
seconds, and want to hear it several times."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0


def bearable_seconds(shape: Bucket, manifest: Manifest, planner: AnyPlanner | None, *, hangs: float) -> float:
    """Seconds after which a batch of that shape is late; ``hangs``: after which its worker is ended."""
    if planner is None or manifest.generation is not None:
        # How long a translation takes depends on what was asked, and nobody may turn /ping by that.
        return hangs
    return max(_LATE_SECONDS, _OF_COST * planner.seconds(shape))


class WorkerRunner:
    """A worker as a ``Runner`` for a thread of its own: waits for each batch."""

    def __init__(self, worker: WorkerProcess, loop: asyncio.AbstractEventLoop) -> None:
        self._worker = worker
        self._loop = loop

    def run(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:
        return self._on_loop(bucket, rows, encode=False)

    def encode(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:
        return self._on_loop(bucket, rows, encode=True)

    def _on_loop(self, bucket: Bucket, rows: Sequence[Row], *, encode: bool) -> list[Outputs]:
        asked = self._worker.run(bucket, rows, encode=encode)
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()


class Pool:
    """Workers by number. Use on one event loop, in the main thread."""

    def __init__(
        self,
        model: Model,
        shares: Sequence[Share],
        *,
        deadline: float,
        metrics: Metrics | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._model = model
        self._shares = shares
        self._deadline = deadline
        self._metrics = metrics or Metrics()
        self._batch_seconds = _PROVING_SECONDS
        self._planner: AnyPlanner | None = None
        self._supply = Supply(model.artifact)
        self._programs = Programs(model.manifest, self._supply, program)
        self._starter: Starter = self._programs
        if model.manifest.requires.target == "cpu":
            self._starter = ForkServer(model.manifest, self._supply, program)
        self._loop = asyncio.get_running_loop()
        self._workers: dict[int, WorkerProcess] = {}
        self._engine: Engine | None = None
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def workers(self) -> list[WorkerProcess]:
        """Those that serve now, or are being started."""
        return list(self._workers.values())

    @property
    def threads(self) -> list[int]:
        """Of each worker's torch."""
        return [worker.threads for worker in self.workers]

    async def start(self) -> AnyPlanner:
        """Start and prove every worker; return the planner with the buckets' measured costs.

        Raises:
            WorkerHangs, WorkerRefused, WorkerEnded: a worker could not load the graphs.
            GoldenUnusable, SelfCheckFailed, GraphRaised: it does not answer as it should.
            WorkerLost: it ended while it was proven.
        """
        self._keep(self._watched())
        try:
            started = await self._started()
        except SelfCheckFailed as error:
            if not any(share.pack for share in self._shares):
                raise
            logger.warning("weights are not packed", extra={"why": f"with packed ones {error}"})
            await asyncio.gather(*(worker.close() for worker in self.workers))
            self._shares = [replace(share, pack=False) for share in self._shares]
            started = await self._started()
        # One after the other: side by side they would slow each other down.
        first = WorkerRunner(started[0], self._loop)
        measured = await in_thread(lambda: costs(self._model, first))
        self._batch_seconds = max(_OF_DEADLINE * self._deadline, _OF_COST * max(measured.values()))
        buckets = self._model.manifest.buckets
        free = any_shape(self._model.manifest)
        self._planner = FreePlanner(buckets, measured) if free else Planner(buckets, measured)
        return self._planner

    async def _started(self) -> list[WorkerProcess]:
        started = await self._begun(self._shares)
        await asyncio.gather(*(self._proven(worker) for worker in started))
        return started

    def serve(self, engine: Engine) -> None:
        """Have the workers run what ``engine`` is given."""
        self._engine = engine
        engine.have_checked(self._suspected)
        for share in self._shares:
            worker = self._workers.get(share.number)
            if worker is not None:
                engine.attach(worker)
            else:
                # It ended after its own proof, while others were proven or measured.
                logger.error("worker lost", extra={"worker": share.number})
                self._keep(self._replaced(share))

    async def close(self) -> None:
        """Let the workers finish what they have, then end them."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(worker.close() for worker in self.workers))
        await self._starter.close()
        self._supply.close()

    async def _begun(self, shares: Sequence[Share]) -> list[WorkerProcess]:
        try:
            begun = await self._starter.start(shares, _LOADING_SECONDS)
        except ForksUnsafe as error:
            logger.warning("workers are not forked", extra={"why": error.why})
            self._starter = self._programs
            begun = await self._starter.start(shares, _LOADING_SECONDS)
        return [self._worker(share, one) for share, one in zip(shares, begun)]

    def _worker(self, share: Share, begun: Begun) -> WorkerProcess:
        worker = WorkerProcess(self._model.manifest, share, begun, self._lost, self._bearable)
        self._workers[share.number] = worker
        self._metrics.worker(worker.name).started(worker.pid)
        return worker

    async def _proven(self, worker: WorkerProcess) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(worker.ready), _LOADING_SECONDS)
        except asyncio.TimeoutError:
            worker.end()
            raise WorkerHangs(number=worker.share.number, seconds=_LOADING_SECONDS) from None
        runner = WorkerRunner(worker, self._loop)
        began = time.monotonic()
        await in_thread(lambda: selfcheck(self._model, runner))
        self._metrics.worker(worker.name).became_ready(time.monotonic() - began)

    def _bearable(self, shape: Bucket) -> float:
        return bearable_seconds(shape, self._model.manifest, self._planner, hangs=self._batch_seconds)

    def _suspected(self, lane: Lane, shape: Bucket) -> None:
        self._keep(self._checked(next(worker for worker in self.workers if worker is lane), shape))

    async def _checked(self, worker: WorkerProcess, shape: Bucket) -> None:
        """Replay the golden cases of the bucket in which its batches failed; end it if they fail, too."""
        assert self._engine is not None
        facts = {"worker": worker.share.number, "pid": worker.pid}
        logger.warning("worker suspected", extra={**facts, "bucket": bucket_name(shape.batch, shape.length)})
        self._metrics.worker(worker.name).checks += 1
        runner, began = WorkerRunner(worker, self._loop), time.monotonic()
        bucket = self._bucket_of(shape)
        try:
            await in_thread(lambda: selfcheck(self._model, runner, [bucket]))
        except Exception as error:
            # Whatever it was: what is not proven must not serve. If it is lost, that was noticed elsewhere.
            known = isinstance(error, TraceshipError)
            logger.error("worker ill", extra={**facts, "why": str(error)}, exc_info=not known)
            self._engine.checked(worker, well=False, seconds=time.monotonic() - began)
            worker.end()
        else:
            seconds = time.monotonic() - began
            logger.info("worker cleared", extra={**facts, "seconds": round(seconds, 3)})
            self._engine.checked(worker, well=True, seconds=seconds)

    def _bucket_of(self, shape: Bucket) -> Bucket:
        """The one that ``shape`` is; of graphs that fit any shape, the smallest that holds it."""
        buckets = self._model.manifest.buckets
        holding = [b for b in buckets if b.batch >= shape.batch and b.length >= shape.length]
        return shape if shape in buckets else min(holding, key=lambda b: b.batch * b.length)

    def _lost(self, worker: WorkerProcess) -> None:
        if self._workers.get(worker.share.number) is worker:
            del self._workers[worker.share.number]
            self._metrics.worker(worker.name).ended()
        if self._engine is None or self._closing:
            return
        code = worker.gone.result()
        logger.error("worker lost", extra={"worker": worker.share.number, "pid": worker.pid, "code": code})
        if worker in self._engine.lanes:
            self._engine.detach(worker)
            self._keep(self._replaced(worker.share))

    async def _replaced(self, share: Share) -> None:
        """Try until there is another; what fails is logged, and the pause grows."""
        assert self._engine is not None
        pause = _FIRST_PAUSE
        while True:
            worker = None
            self._metrics.worker(str(share.number)).restarts += 1
            try:
                (worker,) = await self._begun([share])
                await self._proven(worker)
                if worker not in self.workers:
                    # It ended after its last answer; nobody else replaces one that never served.
                    raise WorkerLost
            except Exception as error:
                # Whatever it was: nobody else would try again.
                facts = {"worker": share.number, "why": str(error)}
                known = isinstance(error, (TraceshipError, OSError))
                logger.error("worker not replaced", extra=facts, exc_info=not known)
                if worker is not None:
                    worker.end()
                    # Cancelled by ``close``, this must not cancel what the end is told by.
                    await asyncio.shield(worker.gone)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                logger.info("worker replaced", extra={"worker": share.number, "pid": worker.pid})
                self._engine.attach(worker)
                return

    async def _watched(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for worker in self.workers:
                if worker.serves and worker.hangs(self._batch_seconds, _BEAT_SECONDS):
                    logger.error("worker hangs", extra={"worker": worker.share.number, "pid": worker.pid})
                    worker.end()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
