"""The server's life: listen, verify, load, prove, answer, drain.

It listens first, so that the platform sees a server that says 503 on /ping; verifying and proving
happen in threads of their own, and end the process with exit code 3 when anything is not right.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
import time
from collections.abc import Sequence

import uvloop

from artifact.errors import Conflict, TraceshipError, UsageError
from artifact.machine import Machine
from artifact.serving import DRAIN_SECONDS
from inference_code.application import Application
from inference_code.emf import Emitter
from inference_code.http_server import BACKLOG, HttpServer
from inference_code.log import RequestLog, come_from, logger
from inference_code.log_writer import LineWriter
from inference_code.options import ServeOptions
from inference_code.protocol import Connections
from inference_code.recorder import Recorder
from inference_code.service import Service
from inference_code.workers.beginning import PROGRAM
from inference_code.workers.cores import allotted, neuron_cores, threads_asked

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
    if not options.named:
        come_from(digest=options.digest)
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
    _warn_of_deadlines(options)
    logger.info("listening", extra={"host": options.host, "port": listener.getsockname()[1]})
    uvloop.run(server.run(listener))
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
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host=host, port=port) from None
        raise CannotListen(host=host, port=port, why=error.strerror or str(error)) from None
    # What is accepted inherits it. asyncio sets it only on sockets that name their protocol, which these do
    # not; without it an answer's body waits 40 ms for the client's acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Server:
    """Listens, loads, and ends: fail /ping first, close later, leave with 0."""

    def __init__(
        self,
        application: Application,
        services: Sequence[Service],
        options: ServeOptions,
        program: Sequence[str],
    ) -> None:
        self._application = application
        self._services = services
        self._options = options
        self._program = program
        self.failure: Exception | None = None

    async def run(self, listener: socket.socket) -> None:
        """Serve until a signal or a failure to load; return when everything is closed."""
        loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._close_timer: asyncio.TimerHandle | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_end, number)
        server = HttpServer(Connections(self._application, self._application.refused))
        await server.start(listener)
        loading = asyncio.create_task(self._load())
        await self._closing.wait()
        if not await server.close(_drain_seconds(self._options)):
            logger.error("requests given up", extra={"after": _drain_seconds(self._options)})
        loading.cancel()
        await asyncio.gather(*(service.close() for service in self._services))

    async def _load(self) -> None:
        """Verify every artifact, then start and prove the workers of each. All of them serve, or none."""
        started = time.monotonic()
        try:
            models = await asyncio.gather(*(service.verify() for service in self._services))
            if len(models) == 1:
                come_from(digest=models[0].artifact.digest)
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
            self._closing.set()
            if not isinstance(error, TraceshipError):
                logger.exception("loading failed")
            return
        # What was loaded stays: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        facts = {"models": len(models), "workers": sum(map(len, mine))}
        logger.info("ready", extra={**facts, "seconds": round(time.monotonic() - started, 2)})

    def _asked_to_end(self, number: signal.Signals) -> None:
        again = self._close_timer is not None
        unseen = not self._application.started  # no balancer sends anything here yet
        patience = 0.0 if number == signal.SIGINT or again or unseen else self._options.lame_duck
        self._application.drain()
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._close_timer = asyncio.get_running_loop().call_later(patience, self._closing.set)


def _warn_of_deadlines(options: ServeOptions) -> None:
    """Say it at the start, not when the first request is lost: what is allowed cannot always be kept."""
    drain = _drain_seconds(options)
    for served in options.models:
        if served.limits.deadline > drain:
            facts = {"model": served.name, "deadline": served.limits.deadline, "drain": drain}
            fix = "a shorter deadline or lame duck, or a balancer that waits before it stops this process"
            logger.warning("requests may outlast a drain", extra={**facts, "fix": fix})


def _drain_seconds(options: ServeOptions) -> float:
    """For open requests, once the server closes."""
    return max(1.0, DRAIN_SECONDS - options.lame_duck - _WORKERS_END_SECONDS - _EXIT_SECONDS)
