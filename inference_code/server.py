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
from inference_code.emf import Emitter
from inference_code.log import RequestLog, logger
from inference_code.log_writer import LineWriter
from inference_code.options import ServeOptions
from inference_code.protocol import GuardedProtocol
from inference_code.recorder import Recorder
from inference_code.service import Service
from inference_code.workers.cores import allotted, neuron_cores, threads_asked
from inference_code.workers.process import PROGRAM

_BACKLOG = 2048
_WORKERS_END_SECONDS = 1.0
_EXIT_SECONDS = 1.0
"""What closing and the interpreter's own end may take of the time to drain."""


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


def serve(options: ServeOptions, lines: LineWriter, program: Sequence[str] = PROGRAM) -> None:
    """Serve until SIGTERM or SIGINT; return when everything accepted has been answered.

    Args:
        lines: where the log goes.
        program: what a worker's process runs; it gets the two arguments of ``workers/program.py``.

    Raises:
        PortInUse, CannotListen: before anything else happened.
        TraceshipError: whatever verification, load or self-check found (exit code 3).
    """
    listener = listen(options.host, options.port)
    recorder = Recorder(RequestLog(lines, one_in=options.log_one_in))
    services = [
        Service(
            served,
            recorder.metrics(served.name, deadline=served.limits.deadline),
            openai_route=options.openai,
        )
        for served in options.models
    ]
    application = Application(services, recorder)
    emitter = None
    if options.emf_seconds:
        models = recorder.exposition.models
        emitter = Emitter(models, lines, service=options.service, interval=options.emf_seconds)
    server = _Server(application, services, options, program)
    logger.info("listening", extra={"host": options.host, "port": listener.getsockname()[1]})
    server.run(sockets=[listener])
    application.close()
    if emitter is not None:
        emitter.close()
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
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host=host, port=port) from None
        raise CannotListen(host=host, port=port, why=error.strerror or str(error)) from None
    # What is accepted inherits it. asyncio sets it only on sockets that name their protocol, which these do
    # not; without it an answer's body waits 40 ms for the client's acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server with our signals: fail /ping first, close later, leave with 0."""

    def __init__(
        self,
        application: Application,
        services: Sequence[Service],
        options: ServeOptions,
        program: Sequence[str],
    ) -> None:
        super().__init__(_config(application, options))
        self._program = program
        self._services = services
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
        await asyncio.gather(*(service.close() for service in self._services))

    async def _load(self) -> None:
        """Verify every artifact, then start and prove the workers of each. All of them serve, or none."""
        started = time.monotonic()
        try:
            models = await asyncio.gather(*(service.verify() for service in self._services))
            mine = allotted(
                [(model.manifest, service.served.workers) for model, service in zip(models, self._services)],
                cores=neuron_cores(os.environ),
                here=Machine(),
                threads=threads_asked(os.environ),
            )
            starting = (service.start(own, self._program) for service, own in zip(self._services, mine))
            await asyncio.gather(*starting)
        except Exception as error:
            for service in self._services:
                service.failed()
            self.failure = error
            self.should_exit = True
            if not isinstance(error, TraceshipError):
                logger.exception("loading failed")
            return
        facts = {"models": len(models), "workers": sum(map(len, mine))}
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
        unseen = not self._application.started  # no balancer sends anything here yet
        patience = 0.0 if sig == signal.SIGINT or again or unseen else self._options.lame_duck
        self._closes_at = time.monotonic() + patience
        self._application.drain()

    async def on_tick(self, counter: int) -> bool:
        closing = self._closes_at is not None and time.monotonic() >= self._closes_at
        return await super().on_tick(counter) or closing


def _config(application: Application, options: ServeOptions) -> uvicorn.Config:
    class Protocol(GuardedProtocol):
        def refused(self, error: str) -> None:
            application.refused(error)

    reserved = _WORKERS_END_SECONDS + _EXIT_SECONDS
    return uvicorn.Config(
        application,
        http=Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, int(DRAIN_SECONDS - options.lame_duck - reserved)),
    )
