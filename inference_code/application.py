"""The routes: GET /ping, POST /invocations and POST /, GET /metrics."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from artifact.serving import INVOCATIONS, MAX_BODY_BYTES, METRICS, MODELS, PING, TARGET_MODEL
from inference_code import media
from inference_code.allowance import Allowance
from inference_code.answering import Prepared
from inference_code.aside import Aside, Writers
from inference_code.dialects import PIPELINE, Dialect
from inference_code.engine import Engine, Job
from inference_code.errors import (
    ClientGone,
    DeadlinePassed,
    MethodNotAllowed,
    ModelUnknown,
    ModelUnnamed,
    NeverStarted,
    NotFound,
    NotReady,
    RequestError,
    ServerMistake,
    TooManyRequests,
)
from inference_code.exchange import Exchange, Response
from inference_code.identity import identity_in
from inference_code.log import logger
from inference_code.recorder import Recorder
from inference_code.service import Service
from inference_code.trail import Trail

_TARGET_MODEL = TARGET_MODEL.lower().encode()
_INVOKE = "/invoke"
"""What SageMaker's multi-model platform calls /invocations."""
_LARGE_BODY = 16_384
_SLOW_SECONDS = 0.01
"""What reading a body may add to the time that the queue gives a request, without a clock of its own."""


class _Asked(msgspec.Struct, frozen=True):
    """What a request is for. ``route``: as the log names it; ``refusal``: why it is for nothing."""

    route: str
    service: Service | None = None
    dialect: Dialect | None = None
    refusal: RequestError | None = None


class Application:
    """Answers 503 until its services have started; ``draining`` fails every ping from then on.

    One model is asked at ``/invocations`` and the other dialects' routes. Any model, and each of
    several, is asked at the same routes below ``/models/NAME``.
    """

    def __init__(self, services: Sequence[Service], recorder: Recorder) -> None:
        self._services = {service.name: service for service in services}
        self._recorder = recorder
        self.draining = False
        # What is long is done beside the event loop, which must answer /ping. No kind of work waits for
        # another, and /metrics for no client's.
        self._bodies = Aside("bodies", threads=2)
        self._writers = Writers(threads=2)
        self._pages = Aside("metrics", threads=1)
        self._reading: Counter[str] = Counter()

    def refused(self, reason: str) -> None:
        """HTTP was refused before it was a request."""
        self._recorder.refused(reason)

    @property
    def started(self) -> bool:
        """Whether every model was proven: from then on a balancer may send something here."""
        return all(service.started for service in self._services.values())

    def drain(self) -> None:
        """Fail /ping from now on; requests are still answered."""
        self.draining = True

    def close(self) -> None:
        """End the threads."""
        for threads in (self._bodies, self._writers, self._pages):
            threads.close()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a request, and have it counted and logged."""
        trail, identity, asked = Trail(), identity_in(exchange.headers), self._asked(exchange)
        metrics = asked.service.metrics if asked.service is not None and asked.dialect is not None else None
        if metrics is not None:
            metrics.began()
        status = 500
        try:
            response = await self._answered(asked, exchange, trail)
            status = response.status
            if self.draining:
                exchange.keep_alive = False
            await exchange.answer(response.with_headers(identity.headers()))
        finally:
            self._recorder.request(
                metrics, identity, trail, method=exchange.method, route=asked.route, status=status
            )

    def _asked(self, exchange: Exchange) -> _Asked:
        """Which model, and which of its routes."""
        path = exchange.path
        if path in (METRICS, MODELS):
            return _Asked(route=path)
        name, below = _below(path)
        if name is None:
            named = exchange.all(_TARGET_MODEL)
            name = named[0].decode("latin-1") if len(named) == 1 else None
            if path == PING:
                return _Asked(route=path)
        if name is not None or len(self._services) > 1:
            service = self._services.get(name or "")
            refusal = None if service else self._unclear(name)
        else:
            (service,) = self._services.values()
            refusal = None
        routes = service.routes if service is not None else {}
        dialect = routes.get(INVOCATIONS if below == _INVOKE else below)
        known = dialect is not None or below == PING
        route = below if known else "other"
        return _Asked(route=route, service=service, dialect=dialect, refusal=refusal)

    def _unclear(self, name: str | None) -> RequestError:
        names = list(self._services)
        return ModelUnnamed(names=names) if name is None else ModelUnknown(names=names)

    async def _answered(self, asked: _Asked, exchange: Exchange, trail: Trail) -> Response:
        try:
            return await self._routed(asked, exchange, trail)
        except RequestError as error:
            trail.error = error.id
            refusal = error
        except Exception:
            # A fault of ours: the client learns that, the log learns why.
            trail.error = "internal-error"
            logger.exception("internal error")
            refusal = ServerMistake()
        return error_response(refusal, (asked.dialect or PIPELINE).error_body(refusal))

    async def _routed(self, asked: _Asked, exchange: Exchange, trail: Trail) -> Response:
        if asked.refusal is not None:
            raise asked.refusal
        if asked.route == "other":
            raise NotFound(routes=self._routes())
        allowed = "GET" if asked.dialect is None else "POST"
        if exchange.method != allowed:
            raise MethodNotAllowed(allow=allowed)
        if asked.route == METRICS:
            accept = (exchange.all(b"accept") or (b"",))[-1]
            text, content_type = await self._pages.run(
                lambda: self._recorder.exposition.page(accept), until=math.inf, late=ServerMistake
            )
            return Response(status=200, body=text, content_type=content_type)
        if asked.route == MODELS:
            return Response(status=200, body=msgspec.json.encode(self._models()))
        if asked.dialect is None or asked.service is None:
            return self._ping(asked.service)
        return await self._invocations(asked.service, asked.dialect, exchange, trail)

    def _routes(self) -> list[str]:
        dialects = dict.fromkeys(path for service in self._services.values() for path in service.routes)
        return [f"GET {path}" for path in (PING, METRICS, MODELS)] + [f"POST {path}" for path in dialects]

    def _models(self) -> list[dict[str, str]]:
        return [
            {"name": name, "state": self._trouble(service) or "ready"}
            for name, service in self._services.items()
        ]

    def _trouble(self, service: Service) -> str | None:
        return "draining" if self.draining else service.trouble()

    def _ping(self, service: Service | None) -> Response:
        """Of one model, or of all of them."""
        for one in self._services.values() if service is None else (service,):
            trouble = self._trouble(one)
            if trouble is not None:
                raise NotReady(state=trouble)
        return Response(status=200)

    async def _invocations(
        self, service: Service, dialect: Dialect, exchange: Exchange, trail: Trail
    ) -> Response:
        engine, model = service.engine, service.model
        # Before the body is read and tokenised: past its capacity a server must refuse cheaply. Those
        # that are being read will need room in the queue, too.
        reading = self._reading[service.name]
        if engine.full(1 + reading):
            raise TooManyRequests(waiting=engine.waiting + reading)
        content = media.content_of(
            exchange.all(b"content-type"), exchange.all(b"content-encoding"), readable=dialect.readable
        )
        body = await exchange.body(MAX_BODY_BYTES)
        trail.read = time.monotonic()
        seconds = service.served.limits.deadline
        until = trail.read + seconds
        asked = await self._prepared(service, dialect, body, content, until)
        accept = exchange.all(b"accept")
        # Most clients take anything, and then the rest need not be found out.
        form = asked.form if media.takes_all(accept) else media.chosen(accept, dialect.offered(asked, model))
        trail.asked(asked.rows_of)
        with self._writers.booked(asked.extent.seconds) as booking:
            job = engine.submit(asked.rows)
            # What nobody waits for need not run: clients that give up ask again, and pile up else.
            exchange.when_lost(lambda: engine.give_up(job))
            try:
                with _ended_by(until, job, engine, seconds):
                    outputs = await job.future
            except asyncio.CancelledError:
                if exchange.lost:
                    raise ClientGone from None
                raise
            finally:
                # The connection keeps its last exchange; the exchange must not keep the answer.
                exchange.when_lost(None)
                trail.left_queue(job)
            allowance = Allowance(until if booking.aside else math.inf, seconds=seconds)
            data = await booking.write(
                lambda: dialect.written(outputs, asked, model, form, allowance),
                until=until,
                late=lambda: DeadlinePassed(seconds=seconds),
            )
        return Response(status=200, body=data, content_type=form.encode())

    async def _prepared(
        self, service: Service, dialect: Dialect, body: bytes, content: media.Content, until: float
    ) -> Prepared:
        model, limits = service.model, service.served.limits
        if len(body) <= _LARGE_BODY:
            return dialect.prepared(body, model, limits.queue, content)
        self._reading[service.name] += 1
        try:
            return await self._bodies.run(
                lambda: dialect.prepared(body, model, limits.queue, content),
                until=until,
                late=lambda: NeverStarted(seconds=limits.deadline),
            )
        finally:
            self._reading[service.name] -= 1


@contextlib.contextmanager
def _ended_by(until: float, job: Job, engine: Engine, seconds: float) -> Iterator[None]:
    """Have a job fail at the request's own deadline: the queue counts from when it was submitted.

    Where hardly any time lies between, that one will do: a timer for each request costs more.
    """
    if job.deadline - until < _SLOW_SECONDS:
        yield
        return

    def end() -> None:
        job.fail((DeadlinePassed if job.started else NeverStarted)(seconds=seconds))
        engine.give_up(job)

    handle = asyncio.get_running_loop().call_later(max(0.0, until - time.monotonic()), end)
    try:
        yield
    finally:
        handle.cancel()


def _below(path: str) -> tuple[str | None, str]:
    """``/models/NAME/ping`` to name and ``/ping``; any other path to itself, without a name."""
    start = f"{MODELS}/"
    if not path.startswith(start):
        return None, path
    name, slash, rest = path.removeprefix(start).partition("/")
    return (name, f"/{rest}") if slash else (None, path)


def error_response(error: RequestError, body: bytes) -> Response:
    """The answer to a request that gets none; ``body`` says so in the client's dialect."""
    headers = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    if error.allow is not None:
        headers.append((b"allow", error.allow.encode()))
    return Response(status=error.status, body=body, headers=tuple(headers))
