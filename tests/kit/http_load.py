"""A small HTTP client for load: many keep-alive connections, one event loop, nothing forgotten.

Closed load keeps so many requests in flight; open load sends at fixed times whether or not the
server keeps up, as the world does. Every request ends as an ``Answer``, or as a ``Lost`` that says
what became of its connection; so "none lost" can be counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass

PATIENCE_SECONDS = 60.0
"""What SageMaker's platform waits for an answer."""


@dataclass(frozen=True)
class Answer:
    """``headers`` by lower-case name; ``seconds`` from the first byte sent to the last received."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float = 0.0


class Lost(Exception):
    """A request without an answer: refused, reset, cut short or never answered."""


def request(
    body: bytes = b"", *, method: str = "POST", path: str = "/invocations", headers: Iterable[str] = ()
) -> bytes:
    """The bytes of a request; JSON, if it has a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: a", *headers]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


PING = request(method="GET", path="/ping")


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self.used = 0
        self._received = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._waiting is None or self._waiting.done():
            self._transport.abort()
            return
        answer = _parsed(self._received)
        if answer is not None:
            self._received.clear()
            self._waiting.set_result(answer)

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._waiting is not None and not self._waiting.done():
            came = bytes(self._received[:40])
            self._waiting.set_exception(Lost(f"connection ended ({exc!r}) after {came!r}"))

    async def ask(
        self,
        data: bytes,
        *,
        slowly: float = 0.0,
        until: asyncio.Event | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> Answer:
        """Send ``data`` and wait for the answer; half of the body ``slowly`` s later, or once ``until``.

        Raises:
            Lost: there is none; the connection is closed.
        """
        if self.closed:
            raise Lost("the connection was closed before")
        self._waiting = asyncio.get_running_loop().create_future()
        self.used += 1
        started = time.perf_counter()
        half = (data.index(b"\r\n\r\n") + 4 + len(data)) // 2 if slowly or until else len(data)
        self._transport.write(data[:half])
        try:
            if until is not None:
                await until.wait()
                self._transport.write(data[half:])
            elif slowly:
                await asyncio.wait([self._waiting], timeout=slowly)
                self._transport.write(data[half:])
            answer = await asyncio.wait_for(self._waiting, patience)
        except asyncio.TimeoutError:
            self.close()
            raise Lost(f"no answer in {patience:g} s") from None
        self._waiting = None
        if answer.headers.get("connection") == "close":
            self.close()
        return Answer(answer.status, answer.headers, answer.body, time.perf_counter() - started)

    def write(self, data: bytes) -> None:
        """Send bytes that no answer is awaited to."""
        self._transport.write(data)

    def close(self) -> None:
        self.closed = True
        self._transport.close()


def _parsed(received: bytearray) -> Answer | None:
    """A whole answer that has a Content-Length, as every answer of ours has."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    size = int(headers["content-length"])
    if len(received) < end + 4 + size:
        return None
    return Answer(int(first.split(" ")[1]), headers, bytes(received[end + 4 : end + 4 + size]))


async def connected(port: int) -> Connection:
    """A new connection.

    Raises:
        Lost: refused.
    """
    try:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    except OSError as error:
        raise Lost(f"not connected: {error}") from None
    return connection


class Client:
    """A pool of connections, used again while the server keeps them open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []

    async def ask(self, data: bytes, *, slowly: float = 0.0, patience: float = PATIENCE_SECONDS) -> Answer:
        """Send ``data`` on a free connection; raises ``Lost``."""
        async with self.connection() as connection:
            return await connection.ask(data, slowly=slowly, patience=patience)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        while self._idle and self._idle[-1].closed:
            self._idle.pop()
        connection = self._idle.pop() if self._idle else await connected(self._port)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if not connection.closed:
            self._idle.append(connection)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()


Act = Callable[[int], Awaitable[None]]
"""What is done for request number so-and-so."""


async def closed_load(act: Act, *, total: int, at_once: int) -> None:
    """``total`` calls of ``act``, ``at_once`` of them at any time."""
    numbers = iter(range(total))

    async def client() -> None:
        for number in numbers:
            await act(number)

    await _all(client() for _ in range(at_once))


async def open_load(act: Act, *, per_second: float, seconds: float, seed: int) -> None:
    """Calls of ``act`` at random times (a Poisson process), never waiting for one to start the next."""
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    began, at, number, running = loop.time(), 0.0, 0, []
    while (at := at + chance.expovariate(per_second)) < seconds:
        if (early := began + at - loop.time()) > 0:
            await asyncio.sleep(early)
        running.append(asyncio.ensure_future(act(number)))
        number += 1
    await _all(running)


async def _all(running: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*running)


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the ``values`` lie; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
