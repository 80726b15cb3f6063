"""One request and its answer: what the application sees of a connection. ``protocol.py`` makes them."""

from __future__ import annotations

import asyncio
import http
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import formatdate
from typing import Protocol

import msgspec

from inference_code.errors import BodyTooLarge, ClientGone

JSON = b"application/json"
Headers = Iterable[tuple[bytes, bytes]]

_STATUS_LINES = {
    int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n".encode("ascii") for status in http.HTTPStatus
}


class Response(msgspec.Struct, frozen=True):
    """What goes back. ``headers`` beside those of the body and the connection, names in lower case."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def with_headers(self, more: Headers) -> Response:
        """The same answer with more headers, which come first."""
        return Response(self.status, self.body, self.content_type, (*more, *self.headers))


class Connection(Protocol):
    """What an exchange needs of the connection that it is on."""

    def wanted(self, exchange: Exchange) -> None:
        """Somebody waits for the rest of its body."""

    async def send(self, exchange: Exchange, response: Response) -> None:
        """Write the answer, as soon as the client reads what was written before."""


class Exchange:
    """``path`` without query, its escapes undone; ``headers`` by their names in lower case, one value a line.

    ``keep_alive``: whether another request may follow on the connection; ``answered``: nothing more is
    written; ``lost``: nobody is there to read an answer.
    """

    __slots__ = (
        "_connection",
        "_lost",
        "_most",
        "_parts",
        "_waiter",
        "answered",
        "complete",
        "expects_continue",
        "headers",
        "keep_alive",
        "lost",
        "method",
        "path",
        "size",
    )

    def __init__(
        self,
        connection: Connection,
        method: str,
        path: str,
        headers: Mapping[bytes, Sequence[bytes]],
        *,
        keep_alive: bool,
        expects_continue: bool = False,
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.answered = self.complete = self.lost = False
        self.size = 0
        self._connection = connection
        self._parts: list[bytes] = []
        self._most: int | None = None
        self._lost: Callable[[], object] | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def awaited(self) -> bool:
        """Whether somebody reads its body."""
        return self._most is not None

    def all(self, name: bytes) -> Sequence[bytes]:
        """A header's values, one for each time that it stands there."""
        return self.headers.get(name, ())

    async def body(self, most: int) -> bytes:
        """All of the body, once.

        Raises:
            BodyTooLarge: it has, or says that it has, more than ``most`` bytes.
            ClientGone: the rest of it will not come.
        """
        # The parser has checked that the length is a number.
        if int((self.all(b"content-length") or (b"0",))[0]) > most:
            raise BodyTooLarge(limit=most)
        self._most = most
        while not self.complete and not self.lost and self.size <= most:
            self._waiter = asyncio.get_running_loop().create_future()
            self._connection.wanted(self)
            await self._waiter
        if self.size > most:
            self._parts.clear()
            raise BodyTooLarge(limit=most)
        if self.lost or not self.complete:
            raise ClientGone
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def when_lost(self, give_up: Callable[[], object] | None) -> None:
        """Call ``give_up`` once nobody is there to read an answer, at once if that is so already."""
        self._lost = give_up
        if self.lost and give_up is not None:
            give_up()

    async def answer(self, response: Response) -> None:
        """Write the answer, once."""
        await self._connection.send(self, response)

    def feed(self, part: bytes) -> None:
        """A piece of the body; what nobody will read is dropped."""
        self.size += len(part)
        if self.answered:
            return
        if self._most is not None and self.size > self._most:
            self._wake()
            return
        self._parts.append(part)

    def end(self, *, lost: bool = False) -> None:
        """The body is complete, or its client is gone."""
        self.complete, self.lost = self.complete or not lost, lost
        self._wake()
        if lost and self._lost is not None:
            self._lost()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def rendered(response: Response, *, keep_alive: bool = False, bodyless: bool = False) -> bytes:
    """The bytes of an answer.

    Args:
        keep_alive: whether another request may follow on the connection.
        bodyless: leave the body out, as an answer to HEAD does.

    Raises:
        ValueError: a header would end its line. Whatever is echoed is checked where it is read, too.
    """
    lines = [_STATUS_LINES[response.status], _date_line(), b"content-length: %d\r\n" % len(response.body)]
    lines += [b"%b: %b\r\n" % header for header in response.headers]
    if response.body:
        lines.append(b"content-type: %b\r\n" % response.content_type)
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    head = b"".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
        raise ValueError("a header of the answer holds the end of a line")
    return b"%b\r\n%b" % (head, b"" if bodyless else response.body)


class _Date:
    """The Date header of this second (RFC 9110, 6.6.1); made once a second, not once an answer."""

    second = 0
    line = b""


def _date_line() -> bytes:
    second = int(time.time())
    if second != _Date.second:
        _Date.line = b"date: %b\r\n" % formatdate(second, usegmt=True).encode("ascii")
        _Date.second = second
    return _Date.line
