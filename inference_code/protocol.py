"""HTTP limits that uvicorn and its parser leave open: head size, slow clients, doubtful framing.

httptools refuses most ambiguous body framing by itself; heads without a limit, a missing or second
Host, codings that nobody undoes, chunks of little but extensions, and bodies that trickle in for ever
are closed here. Subclasses uvicorn's protocol, whose
version is pinned for that reason; tests/inference_code/test_protocol.py holds each limit.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from inference_code.lingering import LingeringTransport

MAX_HEAD_BYTES = 16_384
MAX_HEADERS = 100
MAX_URL_BYTES = 4_096
MAX_FRAMING = 16
"""Bytes on the wire for each byte of a body. A chunk of one byte is framed by five; extensions, which nobody
reads, could go on for ever."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Times in seconds from the first byte of each request."""

    head_seconds: ClassVar[float] = 10.0
    request_seconds: ClassVar[float] = 30.0
    linger_seconds: ClassVar[float] = 2.0
    """How long a client that is still sending has to read a refusal; nginx gives it 5 s."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._lingering = LingeringTransport(
            transport, self.loop, seconds=self.linger_seconds, idle=self._idle
        )
        super().connection_made(self._lingering)
        self._receiving = "nothing"
        self._head_bytes = 0
        self._url_bytes = 0
        self._wire_bytes = 0
        self._body_bytes = 0
        self._began = 0.0
        self._clock: asyncio.TimerHandle | None = None
        self._offered_left: int | None = None
        self._refusal: tuple[int, str, str] | None = None
        # A connection that never says anything is closed like an idle one.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        self._lingering.lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
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
        self._url_bytes = 0
        self._counted = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._url_bytes += len(url)
        self._counted += len(url)
        if self._url_bytes > MAX_URL_BYTES:
            self._fail(414, "uri-too-long", f"The request's target is longer than {MAX_URL_BYTES} bytes.")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._counted += len(name) + len(value) + 4
        if self._counted > MAX_HEAD_BYTES:
            self._fail(431, "head-too-large", f"The request's head is larger than {MAX_HEAD_BYTES} bytes.")
        if len(self.headers) >= MAX_HEADERS:
            self._fail(431, "too-many-headers", f"The request has more than {MAX_HEADERS} headers.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0"):
            self._fail(400, "bad-host", "The request must have exactly one Host header.")
        if self.parser.should_upgrade() and b"transfer-encoding" in dict(self.headers):
            self._fail(400, "bad-http", "An offer to upgrade cannot carry a chunked body.")
        self._check_codings()
        super().on_headers_complete()
        self._receiving = "body"
        self._wire_bytes = self._body_bytes = 0
        self._start_clock(self.request_seconds)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade() and self._offered_left is None:
            self._offered_left = int(dict(self.headers).get(b"content-length", b"0"))
            if self._offered_left:
                return
        self._receiving = "nothing"
        self._head_bytes = 0
        self._stop_clock()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's signature)
        """uvicorn calls this for whatever its parser refuses, our own refusals included."""
        status, error, message = self._refusal or (400, "bad-http", "The request is not valid HTTP/1.1.")
        self._refuse(status, error, message)

    def refused(self, error: str) -> None:
        """Called with the id of whatever is refused here, for a subclass that counts."""

    def _check_codings(self) -> None:
        """The parser takes "gzip, chunked" for chunked, and chunks in HTTP/1.0, where a proxy reads none."""
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (codings != [b"chunked"] or self.parser.get_http_version() == "1.0"):
            self._fail(400, "bad-http", "The only transfer coding is chunked, in HTTP/1.1.")

    def _feed(self, data: bytes) -> None:
        if self._offered_left is not None:
            self._feed_offered(data)
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            # An offer to switch protocols (Java's client makes one by default) may be ignored, but
            # the parser stops at it: the body is counted here and no second request may follow.
            self.cycle.keep_alive = False
            self._feed_offered(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")

    def _feed_offered(self, data: bytes) -> None:
        if not self._offered_left:
            return
        part = data[: self._offered_left]
        self._offered_left -= len(part)
        self.on_body(part)
        if self._offered_left == 0:
            self.on_message_complete()

    def _begin(self) -> None:
        self._receiving = "head"
        self._head_bytes = 0
        self._began = self.loop.time()
        self._start_clock(self.head_seconds)

    def _start_clock(self, seconds: float) -> None:
        self._stop_clock()
        self._clock = self.loop.call_at(self._began + seconds, self._too_slow)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _too_slow(self) -> None:
        self._refuse(408, "request-too-slow", "The request did not arrive in time.")

    def _fail(self, status: int, error: str, message: str) -> None:
        """Make the parser stop; it answers by calling ``send_400_response``."""
        self._refusal = (status, error, message)
        raise ConnectionAbortedError(message)

    def _refuse(self, status: int, error: str, message: str) -> None:
        self._stop_clock()
        if self.transport.is_closing():
            return
        self.refused(error)
        if self._may_write():
            self.transport.write(_response(status, {"error": error, "message": message}))
        self._lingering.linger()

    def _idle(self) -> bool:
        """Whether no request is on its way, and the client did not expect this connection's end."""
        return self._receiving == "nothing" and (self.cycle is None or self.cycle.keep_alive)

    def _may_write(self) -> bool:
        """Whether a refusal would not land inside, or in place of, another request's answer."""
        if self._receiving == "body":
            return not self.cycle.response_started and not self.pipeline
        return self.cycle is None or self.cycle.response_complete


def _response(status: int, body: dict[str, Any]) -> bytes:
    data = msgspec.json.encode(body)
    head = STATUS_LINE[status] + b"content-type: application/json\r\nconnection: close\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(data) + data
