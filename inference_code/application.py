"""The routes as a bare ASGI application: GET /ping, POST /invocations and POST /, GET /metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from artifact.serving import DEFAULT_MODEL, MAX_BODY_BYTES, METRICS, PING
from inference_code import media
from inference_code.dialects import PIPELINE, Dialect, dialects
from inference_code.engine import Engine, Limits
from inference_code.errors import (
    BodyIncomplete,
    BodyTooLarge,
    MethodNotAllowed,
    NotFound,
    NotReady,
    RequestError,
    ServerMistake,
    TooManyRequests,
)
from inference_code.identity import Identity, identity_of
from inference_code.load import Model
from inference_code.log import logger
from inference_code.recorder import Recorder
from inference_code.trail import Trail

_JSON = b"application/json"
_LARGE_BODY = 16_384
_LARGE_ANSWER = 16_384

T = TypeVar("T")


@dataclass(frozen=True)
class Response:
    """What goes back."""

    status: int
    body: bytes = b""
    content_type: bytes = _JSON
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


class Application:
    """Answers 503 until ``become_ready``; ``state`` is what /ping tells."""

    def __init__(self, limits: Limits, recorder: Recorder, *, openai_route: bool = False) -> None:
        self.state = "starting"
        self.metrics = recorder.metrics(DEFAULT_MODEL, deadline=limits.deadline)
        self.metrics.sources.ready = lambda: self.trouble() is None
        self._recorder = recorder
        self._limits = limits
        self._dialects = dialects(openai_route=openai_route)
        self._model: Model | None = None
        self._engine: Engine | None = None
        # Large bodies are read and tokenised beside the event loop, which must answer /ping.
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bodies")

    def become_ready(self, model: Model, engine: Engine) -> None:
        """Serve ``model``, which passed its self-check, through ``engine``."""
        self._model, self._engine = model, engine
        self.metrics.sources.queue_rows = lambda: engine.waiting
        self._dialects = {path: one for path, one in self._dialects.items() if one.spoken(model.manifest)}
        if self.state == "starting":
            self.state = "ready"

    def refused(self, reason: str) -> None:
        """HTTP was refused before it was a request."""
        self._recorder.refused(reason)

    def drain(self) -> None:
        """Fail /ping from now on; requests are still answered."""
        self.state = "draining"

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return
        trail, identity = Trail(), identity_of(scope["headers"])
        known = scope["path"] in {PING, METRICS, *self._dialects}
        metrics = self.metrics if scope["path"] in self._dialects else None
        if metrics is not None:
            metrics.began()
        status = 500
        try:
            response = await self._answered(scope, receive, trail)
            status = response.status
            await self._send(response, identity, send)
        finally:
            route = scope["path"] if known else "other"
            self._recorder.request(
                metrics, identity, trail, method=scope["method"], route=route, status=status
            )

    async def _answered(self, scope: HTTPScope, receive: ASGIReceiveCallable, trail: Trail) -> Response:
        try:
            return await self._routed(scope, receive, trail)
        except RequestError as error:
            trail.error = error.id
            refusal = error
        except Exception:
            # A fault of ours: the client learns that, the log learns why.
            trail.error = "internal-error"
            logger.exception("internal error")
            refusal = ServerMistake()
        dialect = self._dialects.get(scope["path"], PIPELINE)
        return error_response(refusal, dialect.error_body(refusal))

    async def _routed(self, scope: HTTPScope, receive: ASGIReceiveCallable, trail: Trail) -> Response:
        path = scope["path"]
        dialect = self._dialects.get(path)
        if dialect is None and path not in (PING, METRICS):
            raise NotFound(
                routes=[f"GET {PING}", f"GET {METRICS}", *(f"POST {one}" for one in self._dialects)]
            )
        allowed = "GET" if dialect is None else "POST"
        if scope["method"] != allowed:
            raise MethodNotAllowed(allow=allowed)
        if path == PING:
            return self._ping()
        if dialect is None:
            accept = dict(scope["headers"]).get(b"accept", b"")
            text, content_type = await self._aside(True, lambda: self._recorder.exposition.page(accept))
            return Response(status=200, body=text, content_type=content_type)
        return await self._invocations(dialect, scope, receive, trail)

    def trouble(self) -> str | None:
        """Why /ping must fail, or None."""
        if self.state != "ready" or self._engine is None:
            return self.state
        return self._engine.trouble()

    def _ping(self) -> Response:
        trouble = self.trouble()
        if trouble is not None:
            raise NotReady(state=trouble)
        return Response(status=200)

    async def _invocations(
        self, dialect: Dialect, scope: HTTPScope, receive: ASGIReceiveCallable, trail: Trail
    ) -> Response:
        model, engine = self._model, self._engine
        if model is None or engine is None:
            raise NotReady(state=self.state)
        if engine.full():
            # Before the body is read and tokenised: past its capacity a server must refuse cheaply.
            raise TooManyRequests(waiting=engine.waiting)
        content = media.content_of(
            _all(scope, b"content-type"), _all(scope, b"content-encoding"), readable=dialect.readable
        )
        body = await _read(dict(scope["headers"]), receive)
        trail.read = time.monotonic()
        most = self._limits.queue
        asked = await self._aside(
            len(body) > _LARGE_BODY, lambda: dialect.prepared(body, model, most, content)
        )
        form = media.chosen(_all(scope, b"accept"), dialect.offered(asked, model))
        trail.asked(asked.rows_of)
        job = engine.submit(asked.rows)
        try:
            outputs = await job.future
        finally:
            trail.left_queue(job)
        large = sum(array.size for row in outputs for array in row.arrays) > _LARGE_ANSWER
        data = await self._aside(large, lambda: dialect.written(outputs, asked, model, form))
        return Response(status=200, body=data, content_type=form.encode())

    async def _aside(self, large: bool, work: Callable[[], T]) -> T:
        if not large:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _send(self, response: Response, identity: Identity, send: ASGISendCallable) -> None:
        headers = [
            (b"content-length", str(len(response.body)).encode()),
            *identity.headers(),
            *response.headers,
        ]
        if response.body:
            headers.append((b"content-type", response.content_type))
        if self.state == "draining":
            headers.append((b"connection", b"close"))
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": headers,
                "trailers": False,
            }
        )
        await send({"type": "http.response.body", "body": response.body, "more_body": False})


def error_response(error: RequestError, body: bytes) -> Response:
    """The answer to a request that gets none; ``body`` says so in the client's dialect."""
    headers = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    if error.allow is not None:
        headers.append((b"allow", error.allow.encode()))
    return Response(status=error.status, body=body, headers=tuple(headers))


async def _read(headers: dict[bytes, bytes], receive: ASGIReceiveCallable) -> bytes:
    # httptools has checked that the length is a number.
    if int(headers.get(b"content-length", b"0")) > MAX_BODY_BYTES:
        raise BodyTooLarge(limit=MAX_BODY_BYTES)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise BodyIncomplete
        parts.append(message["body"])
        size += len(message["body"])
        if size > MAX_BODY_BYTES:
            raise BodyTooLarge(limit=MAX_BODY_BYTES)
        if not message["more_body"]:
            return b"".join(parts)


def _all(scope: HTTPScope, name: bytes) -> list[bytes]:
    """A header's values, one for each time that it stands there."""
    return [value for found, value in scope["headers"] if found == name]
