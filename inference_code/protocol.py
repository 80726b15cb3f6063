"""Bytes of a connection to exchanges, and the limits: sizes, slow clients, doubtful framing.

httptools refuses most ambiguous body framing by itself; heads without a limit, a missing or second
Host, codings that nobody undoes, chunks of little but extensions, and bodies that trickle in for ever
are closed here. One request of a connection is answered at a time, in their order.
tests/inference_code/test_protocol.py holds each limit.
"""

from __future__ import annotations

import asyncio
import functools
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import httptools
import msgspec

from artifact.serving import KEEP_ALIVE_SECONDS
from inference_code.exchange import Exchange, Response, rendered
from inference_code.lingering import LingeringTransport
from inference_code.log import logger
from inference_code.timer import Timer

MAX_HEAD_BYTES = 16_384
MAX_HEADERS = 100
MAX_URL_BYTES = 4_096
MAX_FRAMING = 16
"""Bytes on the wire for each byte of a body. A chunk of one byte is framed by five; extensions, which nobody
reads, could go on for ever."""
MAX_UNFINISHED_BYTES = 268_435_456
"""Of all bodies that have not arrived whole, on all connections: each may take 30 s."""
_UNASKED_BYTES = 65_536
"""Of a body that are taken before anybody wants them."""
_PATHS = 256
"""Targets of which the path is kept: clients send the same ones again and again."""

Handler = Callable[[Exchange], Coroutine[Any, Any, None]]


@dataclass(eq=False)
class Connections:
    """What all connections of a server share.

    handler: answers an exchange; refused: told the id of whatever never became one.
    keep_alive: seconds that a connection may idle. most_unfinished: see ``MAX_UNFINISHED_BYTES``.
    """

    handler: Handler
    refused: Callable[[str], None] = lambda _error: None
    keep_alive: float = KEEP_ALIVE_SECONDS
    most_unfinished: int = MAX_UNFINISHED_BYTES
    unfinished: int = 0
    """Bytes of bodies that have not arrived whole."""
    open: set[GuardedProtocol] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a connection or an answer has come to its end."""


class GuardedProtocol(asyncio.Protocol):
    """One connection. Times in seconds from the first byte of each request."""

    head_seconds: ClassVar[float] = 10.0
    request_seconds: ClassVar[float] = 30.0
    linger_seconds: ClassVar[float] = 2.0
    """How long a client that is still sending has to read a refusal; nginx gives it 5 s."""

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        # So that the first of two requests in a packet is answered though it asks to close.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._timer = Timer(self._loop, self._too_long)
        self._receiving = "nothing"
        self._head_bytes = self._url_bytes = self._counted = self._unfinished = 0
        self._wire_bytes = self._body_bytes = 0
        self._began = 0.0
        self._url = b""
        self._headers: dict[bytes, list[bytes]] = {}
        self._header_lines = 0
        self._latest: Exchange | None = None
        self._running: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._reading_paused = False
        self._writable: asyncio.Future[None] | None = None
        self._offered_left: int | None = None
        self._refusal: tuple[int, str, str] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by their methods, not by inheritance.
        self._transport = LingeringTransport(
            cast(asyncio.Transport, transport), self._loop, seconds=self.linger_seconds, idle=self._idle
        )
        self._shared.open.add(self)
        # A connection that never says anything is closed like an idle one.
        self._timer.set(time.monotonic() + self._shared.keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        self._timer.stop()
        self._transport.lost()
        self._finish_body()
        self._shared.open.discard(self)
        self._shared.changed.set()
        for exchange in (self._running, self._latest, *self._waiting):
            if exchange is not None:
                exchange.end(lost=True)
        self.resume_writing()

    def pause_writing(self) -> None:
        """The client does not read: the next answer waits."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def close_soon(self) -> None:
        """Close it now if it idles, else after the answer that it waits for."""
        if self._latest is None or self._latest.answered:
            self._transport.close()
        else:
            self._latest.keep_alive = False

    def abort(self) -> None:
        """Close it whatever it does."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._receiving == "nothing":
            self._begin()
        if self._receiving == "head":
            self._head_bytes += len(data)
        elif self._receiving == "body":
            self._wire_bytes += len(data)
        self._feed(data)
        # The parser keeps an unfinished line to itself, so its callbacks cannot count it.
        if self._receiving == "head" and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, "head-too-large", f"The request's head is larger than {MAX_HEAD_BYTES} bytes.")
        if self._receiving == "body" and self._wire_bytes > MAX_HEAD_BYTES + MAX_FRAMING * self._body_bytes:
            self._refuse(400, "bad-http", "The chunks of the body hold little but their framing.")

    def on_message_begin(self) -> None:
        if self._receiving != "head":
            self._begin()
        self._url, self._headers = b"", {}
        self._url_bytes = self._counted = self._header_lines = 0

    def on_url(self, url: bytes) -> None:
        self._url_bytes += len(url)
        self._counted += len(url)
        if self._url_bytes > MAX_URL_BYTES:
            self._fail(414, "uri-too-long", f"The request's target is longer than {MAX_URL_BYTES} bytes.")
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._counted += len(name) + len(value) + 4
        if self._counted > MAX_HEAD_BYTES:
            self._fail(431, "head-too-large", f"The request's head is larger than {MAX_HEAD_BYTES} bytes.")
        self._header_lines += 1
        if self._header_lines > MAX_HEADERS:
            self._fail(431, "too-many-headers", f"The request has more than {MAX_HEADERS} headers.")
        self._headers.setdefault(name.lower(), []).append(value)

    def on_headers_complete(self) -> None:
        headers, version = self._headers, self._parser.get_http_version()
        hosts = len(headers.get(b"host", ()))
        if hosts > 1 or (hosts == 0 and version != "1.0"):
            self._fail(400, "bad-host", "The request must have exactly one Host header.")
        if b"transfer-encoding" in headers:
            self._check_codings(version)
        expects = any(value.lower() == b"100-continue" for value in headers.get(b"expect", ()))
        exchange = Exchange(
            self,
            self._parser.get_method().decode("ascii"),
            _path(self._url),
            headers,
            keep_alive=version != "1.0" and self._parser.should_keep_alive(),
            expects_continue=expects,
        )
        before, self._latest = self._latest, exchange
        if before is None or before.answered:
            self._start(exchange)
        else:
            self._pause_reading()
            self._waiting.append(exchange)
        self._receiving = "body"
        self._finish_body()
        self._wire_bytes = self._body_bytes = 0
        self._timer.set(self._began + self.request_seconds)

    def on_body(self, body: bytes) -> None:
        assert self._latest is not None, "a body follows a head"
        self._body_bytes += len(body)
        if not self._latest.answered:  # else it is dropped
            self._unfinished += len(body)
            self._shared.unfinished += len(body)
        if self._shared.unfinished > self._shared.most_unfinished:
            self._fail(429, "too-many-bodies", "The server is reading as many bytes of bodies as it may.")
        self._latest.feed(body)
        if self._latest.size > _UNASKED_BYTES and not (self._latest.awaited or self._latest.answered):
            self._pause_reading()

    def on_message_complete(self) -> None:
        assert self._latest is not None, "an end follows a head"
        if self._parser.should_upgrade() and self._offered_left is None:
            self._offered_left = int((self._latest.all(b"content-length") or (b"0",))[0])
            if self._offered_left:
                return
        self._receiving = "nothing"
        self._head_bytes = 0
        self._finish_body()
        self._latest.end()
        # Until the answer only the answer has a limit, which is the application's.
        self._timer.unset()
        if self._latest.answered:
            self._timer.set(time.monotonic() + self._shared.keep_alive)

    def wanted(self, exchange: Exchange) -> None:
        """See ``exchange.Connection``."""
        if exchange.expects_continue and not self._transport.is_closing():
            exchange.expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._resume_reading()

    async def send(self, exchange: Exchange, response: Response) -> None:
        """See ``exchange.Connection``."""
        while self._writable is not None:
            await self._writable
        if exchange.lost:
            return
        data = rendered(response, keep_alive=exchange.keep_alive, bodyless=exchange.method == "HEAD")
        exchange.answered = True
        self._transport.write(data)
        if not exchange.keep_alive:
            self._transport.close()
        if self._transport.is_closing():
            return
        self._resume_reading()
        if self._waiting:
            self._start(self._waiting.popleft())
        elif self._receiving == "nothing":
            self._timer.set(time.monotonic() + self._shared.keep_alive)

    def _start(self, exchange: Exchange) -> None:
        self._running = exchange
        task = self._loop.create_task(self._answer(exchange))
        self._shared.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._shared.tasks.discard(task)
        self._shared.changed.set()

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._shared.handler(exchange)
        except asyncio.CancelledError:
            # The drain's time is over. Who does not read what was written before gets nothing more.
            if self._writable is not None:
                self._transport.abort()
                return
        except Exception:
            logger.exception("internal error")
        if not exchange.answered and not exchange.lost:
            exchange.keep_alive = False
            await self.send(exchange, _error(500, "internal-error", "The server failed."))

    def _check_codings(self, version: str) -> None:
        """The parser takes "gzip, chunked" for chunked, and chunks in HTTP/1.0, where a proxy reads none."""
        if self._parser.should_upgrade():
            self._fail(400, "bad-http", "An offer to upgrade cannot carry a chunked body.")
        codings = [value.strip().lower() for value in self._headers[b"transfer-encoding"]]
        if codings != [b"chunked"] or version == "1.0":
            self._fail(400, "bad-http", "The only transfer coding is chunked, in HTTP/1.1.")

    def _feed(self, data: bytes) -> None:
        if self._offered_left is not None:
            self._feed_offered(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            # An offer to switch protocols (Java's client makes one by default) may be ignored, but
            # the parser stops at it: the body is counted here and no second request may follow.
            assert self._latest is not None, "an offer is in a head"
            self._latest.keep_alive = False
            self._feed_offered(data[offer.args[0] :])
        except httptools.HttpParserError:
            # Our own refusals included, which are raised in its callbacks.
            refusal = self._refusal or (400, "bad-http", "The request is not valid HTTP/1.1.")
            self._refuse(*refusal)

    def _feed_offered(self, data: bytes) -> None:
        if not self._offered_left:
            return
        part = data[: self._offered_left]
        self._offered_left -= len(part)
        try:
            self.on_body(part)
        except ConnectionAbortedError:  # not in a callback of the parser here, which would hand it on
            assert self._refusal is not None, "it says why"
            self._refuse(*self._refusal)
            return
        if self._offered_left == 0:
            self.on_message_complete()

    def _finish_body(self) -> None:
        """None of this connection is unfinished any more."""
        self._shared.unfinished -= self._unfinished
        self._unfinished = 0

    def _begin(self) -> None:
        self._receiving = "head"
        self._head_bytes = 0
        self._began = time.monotonic()
        self._timer.set(self._began + self.head_seconds)

    def _too_long(self) -> None:
        if self._receiving == "nothing":
            self._transport.close()
        else:
            self._refuse(408, "request-too-slow", "The request did not arrive in time.")

    def _fail(self, status: int, error: str, message: str) -> None:
        """Make the parser stop; it raises an error of its own, and ``_feed`` answers."""
        self._refusal = (status, error, message)
        raise ConnectionAbortedError(message)

    def _refuse(self, status: int, error: str, message: str) -> None:
        self._timer.unset()
        self._finish_body()
        if self._transport.is_closing():
            return
        self._shared.refused(error)
        if self._may_write():
            self._transport.write(rendered(_error(status, error, message)))
        self._transport.linger()

    def _idle(self) -> bool:
        """Whether no request is on its way, and the client did not expect this connection's end."""
        return self._receiving == "nothing" and (self._latest is None or self._latest.keep_alive)

    def _may_write(self) -> bool:
        """Whether a refusal would not land inside, or in place of, another request's answer."""
        if self._receiving == "body":
            return self._latest is not None and not self._latest.answered and not self._waiting
        return self._latest is None or self._latest.answered

    def _pause_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()


@functools.lru_cache(maxsize=_PATHS)
def _path(url: bytes) -> str:
    path = httptools.parse_url(url).path.decode("ascii")
    return urllib.parse.unquote(path) if "%" in path else path


def _error(status: int, error: str, message: str) -> Response:
    body = msgspec.json.encode({"error": error, "message": message})
    return Response(status, body, headers=((b"retry-after", b"1"),) if status == 429 else ())
