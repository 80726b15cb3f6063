"""One artifact behind the port: its state, its workers, its queue, its limits and its metrics."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

from inference_code.build import describe
from inference_code.dialects import Dialect, dialects
from inference_code.engine import Engine
from inference_code.errors import NotReady
from inference_code.load import Model, verified
from inference_code.log import logger
from inference_code.metrics import Metrics
from inference_code.served import ServedModel
from inference_code.threads import in_thread
from inference_code.workers.cores import Share
from inference_code.workers.pool import Pool


class Service:
    """Answers nothing until ``start`` has returned. Use on one event loop."""

    def __init__(self, served: ServedModel, metrics: Metrics, *, openai_route: bool = False) -> None:
        self.served = served
        self.metrics = metrics
        self.routes: Mapping[str, Dialect] = dialects(openai_route=openai_route)
        """In which dialects it can be asked, by path."""
        self._state = "starting"
        self._model: Model | None = None
        self._engine: Engine | None = None
        self._pool: Pool | None = None
        metrics.sources.ready = lambda: self.trouble() is None

    @property
    def name(self) -> str:
        return self.served.name

    @property
    def model(self) -> Model:
        """
        Raises:
            NotReady: it is not verified yet.
        """
        if self._model is None:
            raise NotReady(state=self._state)
        return self._model

    @property
    def engine(self) -> Engine:
        """
        Raises:
            NotReady: it is not proven yet.
        """
        if self._engine is None:
            raise NotReady(state=self._state)
        return self._engine

    @property
    def started(self) -> bool:
        """Whether it was proven."""
        return self._engine is not None

    def trouble(self) -> str | None:
        """Why an inference would not succeed now, or None."""
        return self._state if self._engine is None else self._engine.trouble()

    def failed(self) -> None:
        """It will not serve."""
        self._state = "failed"

    async def verify(self) -> Model:
        """Verify the artifact; errors are those of ``load.verified``."""
        served = self.served
        with self._named():
            model = await in_thread(
                lambda: verified(
                    served.path, digest=served.digest, keys=served.keys, signature=served.signature
                )
            )
        describe(self.metrics, model.artifact, served.release)
        self.routes = {path: one for path, one in self.routes.items() if one.spoken(model.manifest)}
        self._model = model
        return model

    async def start(self, shares: Sequence[Share], program: Sequence[str]) -> None:
        """Start a worker for each share, prove each, and serve; errors are those of ``Pool.start``."""
        started = time.monotonic()
        model, limits = self.model, self.served.limits
        pool = Pool(model, shares, deadline=limits.deadline, metrics=self.metrics, program=program)
        self._pool = pool
        with self._named():
            engine = Engine(await pool.start(), limits, self.metrics)
        self.metrics.sources.queue_rows = lambda: engine.waiting
        pool.serve(engine)
        self._engine = engine
        facts = {
            "model": self.name,
            "digest": model.artifact.digest,
            "task": model.manifest.task,
            "built_with_torch": model.manifest.requires.torch,
            "workers": len(shares),
            "threads": pool.threads,
            "pids": [worker.pid for worker in pool.workers],
        }
        logger.info("proven", extra={**facts, "seconds": round(time.monotonic() - started, 2)})

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Tell which model it is that fails: of several, the error itself may not say."""
        try:
            yield
        except Exception:
            logger.error("model failed", extra={"model": self.name, "path": str(self.served.path)})
            raise

    async def close(self) -> None:
        """End its workers."""
        if self._pool is not None:
            await self._pool.close()
