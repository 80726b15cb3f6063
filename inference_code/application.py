"""The routes as a bare ASGI application: GET /ping, POST /invocations and POST /, GET /metrics."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from artifact.serving import MAX_BODY_BYTES, METRICS, PING
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
)
from inference_code.load import Model
from inference_code.log import logger
from inference_code.metrics import CONTENT_TYPE, Metrics

_JSON = b"application/json"
_LARGE_BODY = 16_384
_LARGE_ANSWER = 16_384
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")

T = TypeVar("T")


@dataclass(frozen=True)
class Response:
    """What goes back. ``inputs`` is how many were answered, for the log."""

    status: int
    body: bytes = b""
    content_type: bytes = _JSON
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())
    inputs: int = 0


class Application:
    """Answers 503 until ``become_ready``; ``state`` is what /ping tells."""

    def __init__(self, limits: Limits, *, openai_route: bool = False) -> None:
        self.state = "starting"
        self.metrics = Metrics()
        self._limits = limits
        self._dialects = dialects(openai_route=openai_route)
        self._model: Model | None = None
        self._engine: Engine | None = None
        # Large bodies are read and tokenised beside the event loop, which must answer /ping.
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bodies")

    def become_ready(self, model: Model, engine: Engine) -> None:
        """Serve ``model``, which passed its self-check, through ``engine``."""
        self._model, self._engine = model, engine
        self._dialects = {path: one for path, one in self._dialects.items() if one.spoken(model.manifest)}
        if self.state == "starting":
            self.state = "ready"

    def drain(self) -> None:
        """Fail /ping from now on; requests are still answered."""
        self.state = "draining"

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        response = await self._answered(scope, receive)
        request_id = _request_id(scope)
        await self._send(response, request_id, send)
        self._record(scope, response, request_id, time.perf_counter() - started)

    async def _answered(self, scope: HTTPScope, receive: ASGIReceiveCallable) -> Response:
        try:
            return await self._routed(scope, receive)
        except RequestError as error:
            refusal = error
        except Exception:
            # A fault of ours: the client learns that, the log learns why.
            logger.exception("internal error")
            refusal = ServerMistake()
        dialect = self._dialects.get(scope["path"], PIPELINE)
        return error_response(refusal, dialect.error_body(refusal))

    async def _routed(self, scope: HTTPScope, receive: ASGIReceiveCallable) -> Response:
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
            waiting = self._engine.waiting if self._engine else 0
            text = self.metrics.text(waiting=waiting, ready=self.trouble() is None)
            return Response(status=200, body=text, content_type=CONTENT_TYPE)
        return await self._invocations(dialect, scope, receive)

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
        self, dialect: Dialect, scope: HTTPScope, receive: ASGIReceiveCallable
    ) -> Response:
        model, engine = self._model, self._engine
        if model is None or engine is None:
            raise NotReady(state=self.state)
        content = media.content_of(
            _all(scope, b"content-type"), _all(scope, b"content-encoding"), readable=dialect.readable
        )
        body = await _read(dict(scope["headers"]), receive)
        most = self._limits.queue
        asked = await self._aside(
            len(body) > _LARGE_BODY, lambda: dialect.prepared(body, model, most, content)
        )
        form = media.chosen(_all(scope, b"accept"), dialect.offered(asked, model))
        outputs = await engine.submit(asked.rows).future
        large = sum(array.size for row in outputs for array in row.arrays) > _LARGE_ANSWER
        data = await self._aside(large, lambda: dialect.written(outputs, asked, model, form))
        return Response(status=200, body=data, content_type=form.encode(), inputs=len(asked.rows_of))

    async def _aside(self, large: bool, work: Callable[[], T]) -> T:
        if not large:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _send(self, response: Response, request_id: bytes, send: ASGISendCallable) -> None:
        headers = [
            (b"content-length", str(len(response.body)).encode()),
            (b"x-request-id", request_id),
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

    def _record(self, scope: HTTPScope, response: Response, request_id: bytes, seconds: float) -> None:
        known = scope["path"] in {PING, METRICS, *self._dialects}
        if scope["path"] in self._dialects:
            self.metrics.request(response.status, seconds)
        elif response.status == 200:
            return
        logger.info(
            "request",
            extra={
                "id": request_id.decode("ascii"),
                "method": scope["method"],
                "route": scope["path"] if known else "other",
                "status": response.status,
                "ms": round(seconds * 1000, 2),
                "inputs": response.inputs,
            },
        )


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


def _request_id(scope: HTTPScope) -> bytes:
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
