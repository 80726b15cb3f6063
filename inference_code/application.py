"""The three routes as a bare ASGI application: GET /ping, POST /invocations, GET /metrics."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from artifact.serving import INVOCATIONS, MAX_BODY_BYTES, PING
from inference_code import media
from inference_code.answering import error_body, prepared, written
from inference_code.engine import Engine, Limits
from inference_code.errors import (
    BodyIncomplete,
    BodyTooLarge,
    MethodNotAllowed,
    NotFound,
    NotReady,
    RequestError,
    TooManyRequests,
)
from inference_code.load import Model
from inference_code.log import logger
from inference_code.metrics import CONTENT_TYPE, Metrics

METRICS = "/metrics"
_ALLOWED = {PING: "GET", INVOCATIONS: "POST", METRICS: "GET"}
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

    def __init__(self, limits: Limits) -> None:
        self.state = "starting"
        self.metrics = Metrics()
        self._limits = limits
        self._model: Model | None = None
        self._engine: Engine | None = None
        # Large bodies are read and tokenised beside the event loop, which must answer /ping.
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bodies")

    def become_ready(self, model: Model, engine: Engine) -> None:
        """Serve ``model``, which passed its self-check, through ``engine``."""
        self._model, self._engine = model, engine
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
            return error_response(error)
        except Exception:
            # A fault of ours: the client learns that, the log learns why.
            logger.exception("internal error")
            body = {"error": "internal-error", "message": "The server made a mistake; its log says which."}
            return Response(status=500, body=msgspec.json.encode(body))

    async def _routed(self, scope: HTTPScope, receive: ASGIReceiveCallable) -> Response:
        allowed = _ALLOWED.get(scope["path"])
        if allowed is None:
            raise NotFound
        if scope["method"] != allowed:
            raise MethodNotAllowed(allow=allowed)
        if scope["path"] == PING:
            return self._ping()
        if scope["path"] == METRICS:
            waiting = self._engine.waiting if self._engine else 0
            text = self.metrics.text(waiting=waiting, ready=self.trouble() is None)
            return Response(status=200, body=text, content_type=CONTENT_TYPE)
        return await self._invocations(scope, receive)

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

    async def _invocations(self, scope: HTTPScope, receive: ASGIReceiveCallable) -> Response:
        model, engine = self._model, self._engine
        if model is None or engine is None:
            raise NotReady(state=self.state)
        if engine.full():
            # Before the body is read and tokenised: past its capacity a server must refuse cheaply.
            raise TooManyRequests(waiting=engine.waiting)
        headers = dict(scope["headers"])
        media.check_content(headers.get(b"content-type"), headers.get(b"content-encoding"))
        media.check_accept(headers.get(b"accept"))
        body = await _read(headers, receive)
        most = self._limits.queue
        asked = await self._aside(len(body) > _LARGE_BODY, lambda: prepared(body, model, most=most))
        outputs = await engine.submit(asked.rows).future
        large = sum(array.size for row in outputs for array in row.arrays) > _LARGE_ANSWER
        data = await self._aside(large, lambda: written(outputs, asked, model))
        return Response(status=200, body=data, inputs=len(asked.rows_of))

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
        known = scope["path"] in _ALLOWED
        if scope["path"] == INVOCATIONS:
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


def error_response(error: RequestError) -> Response:
    """The JSON form of an error: its id and one plain sentence."""
    headers = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    if error.allow is not None:
        headers.append((b"allow", error.allow.encode()))
    return Response(status=error.status, body=error_body(error), headers=tuple(headers))


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


def _request_id(scope: HTTPScope) -> bytes:
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
