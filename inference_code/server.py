"""The server's life: listen, verify, load, prove, answer, drain.

It listens first, so that the platform sees a server that says 503 on /ping; verifying and proving
happen in threads of their own, and end the process with exit code 3 when anything is not right.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from types import FrameType

import uvicorn

from artifact.errors import Conflict, TraceshipError, UsageError
from artifact.machine import Machine
from artifact.serving import DRAIN_SECONDS, KEEP_ALIVE_SECONDS
from inference_code.application import Application
from inference_code.engine import Engine
from inference_code.load import verified
from inference_code.log import logger
from inference_code.options import ServeOptions
from inference_code.protocol import GuardedProtocol
from inference_code.threads import in_thread
from inference_code.workers.cores import neuron_cores, shares
from inference_code.workers.pool import Pool
from inference_code.workers.process import PROGRAM

_BACKLOG = 2048
_WORKERS_END_SECONDS = 1.0


class PortInUse(Conflict):
    """Another process listens on the port."""

    id = "port-in-use"

    def __init__(self, *, host: str, port: int) -> None:
        super().__init__(
            what=f"port {port} on {host} is taken",
            why="another process listens there",
            fix="stop that process, or choose another port with --port",
        )


class CannotListen(UsageError):
    """The address or the port is not ours to use."""

    id = "cannot-listen"

    def __init__(self, *, host: str, port: int, why: str) -> None:
        super().__init__(
            what=f"cannot listen on {host} port {port}",
            why=why,
            fix="choose an address of this machine with --host and a port above 1023 with --port",
        )


def serve(options: ServeOptions, program: Sequence[str] = PROGRAM) -> None:
    """Serve until SIGTERM or SIGINT; return when everything accepted has been answered.

    Args:
        program: what a worker's process runs; it gets the two arguments of ``workers/program.py``.

    Raises:
        PortInUse, CannotListen: before anything else happened.
        TraceshipError: whatever verification, load or self-check found (exit code 3).
    """
    listener = listen(options.host, options.port)
    application = Application(options.limits)
    server = _Server(application, options, program)
    logger.info("listening", extra={"host": options.host, "port": listener.getsockname()[1]})
    server.run(sockets=[listener])
    application.close()
    if server.failure is not None:
        raise server.failure
    logger.info("stopped")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        PortInUse, CannotListen: see there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host=host, port=port) from None
        raise CannotListen(host=host, port=port, why=error.strerror or str(error)) from None


class _Server(uvicorn.Server):
    """uvicorn's server with our signals: fail /ping first, close later, leave with 0."""

    def __init__(self, application: Application, options: ServeOptions, program: Sequence[str]) -> None:
        super().__init__(_config(application, options))
        self._program = program
        self._pool: Pool | None = None
        self._loading: asyncio.Task[None] | None = None
        self.failure: Exception | None = None
        self._application = application
        self._options = options
        self._closes_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loading = asyncio.create_task(self._load())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._loading is not None:
            self._loading.cancel()
        if self._pool is not None:
            await self._pool.close()

    async def _load(self) -> None:
        """Verify the artifact, start the workers and prove each of them."""
        started = time.monotonic()
        options = self._options
        try:
            model = await in_thread(
                lambda: verified(
                    options.path, digest=options.digest, keys=options.keys, signature=options.signature
                )
            )
            mine = shares(model.manifest, options.workers, cores=neuron_cores(os.environ), here=Machine())
            self._pool = Pool(model, mine, deadline=options.limits.deadline, program=self._program)
            planner = await self._pool.start()
        except Exception as error:
            self._application.state = "failed"
            self.failure = error
            self.should_exit = True
            if not isinstance(error, TraceshipError):
                logger.exception("loading failed")
            return
        engine = Engine(planner, options.limits, observe=self._application.metrics.batch)
        self._pool.serve(engine)
        self._application.become_ready(model, engine)
        facts = {
            "digest": model.artifact.digest,
            "task": model.manifest.task,
            "built_with_torch": model.manifest.requires.torch,
            "workers": len(mine),
            "threads": mine[0].threads,
        }
        logger.info("ready", extra={**facts, "seconds": round(time.monotonic() - started, 2)})

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again at the end, which turns a clean stop into -15.
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn's signature)
        again = self._closes_at is not None
        unseen = self._application.state != "ready"  # no balancer sends anything here yet
        patience = 0.0 if sig == signal.SIGINT or again or unseen else self._options.lame_duck
        self._closes_at = time.monotonic() + patience
        self._application.drain()

    async def on_tick(self, counter: int) -> bool:
        closing = self._closes_at is not None and time.monotonic() >= self._closes_at
        return await super().on_tick(counter) or closing


def _config(application: Application, options: ServeOptions) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=GuardedProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, int(DRAIN_SECONDS - options.lame_duck - _WORKERS_END_SECONDS)),
    )
