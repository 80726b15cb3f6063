"""A proxy on loopback before an S3 that is well, which spoils the requests that a test names.

It reads a request whole, looks for the first rule that fits, and does what the rule says; what no
rule fits is passed on unchanged. Everything it saw is in ``seen``, as it was on the wire.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """One request. ``headers`` by lower-case name."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The object's key, for path-style addresses; empty for the bucket itself."""
        return urlsplit(self.target).path.lstrip("/").partition("/")[2]

    @property
    def query(self) -> dict[str, str]:
        found = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {name: values[0] for name, values in found.items()}

    @property
    def part(self) -> int | None:
        """Number of the part that it carries."""
        number = self.query.get("partNumber")
        return int(number) if number and self.method == "PUT" else None

    def raw(self, body: bytes) -> bytes:
        """The request with ``body``, for one connection only."""
        left_out = {"expect", "connection", "content-length", "transfer-encoding"}
        lines = [f"{name}: {value}" for name, value in self.headers.items() if name not in left_out]
        lines += [f"content-length: {len(body)}", "connection: close"]
        return (
            f"{self.method} {self.target} HTTP/1.1\r\n".encode()
            + "\r\n".join(lines).encode()
            + b"\r\n\r\n"
            + body
        )


class Exchange:
    """What a fault may do with one request."""

    def __init__(self, request: Request, writer: asyncio.StreamWriter, upstream: int) -> None:
        self.request = request
        self.writer = writer
        self.upstream = upstream

    async def forward(self, body: bytes | None = None) -> bytes:
        """The answer of the S3 behind, whole."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        writer.write(self.request.raw(self.request.body if body is None else body))
        await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer

    async def answer(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection with RST, as a machine that died or a firewall does."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Fault = Callable[[Exchange], Awaitable[None]]
"""Ends the exchange; the connection is closed afterwards."""


def refuse(status: int, code: str, message: str = "as the test says", *, extra: str = "") -> Fault:
    """Answer with an error of S3's, without asking it. ``extra``: more XML."""

    async def fault(exchange: Exchange) -> None:
        body = f"<Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>".encode()
        if exchange.request.method == "HEAD":
            body = b""
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/xml\r\ncontent-length: {len(body)}\r\n"
        await exchange.answer(f"{head}connection: close\r\n\r\n".encode() + body)

    return fault


async def reset(exchange: Exchange) -> None:
    """The connection dies before S3 hears of the request."""
    exchange.reset()


async def lose_answer(exchange: Exchange) -> None:
    """S3 does what it was asked, and nobody learns of it."""
    await exchange.forward()
    exchange.reset()


async def cut_answer(exchange: Exchange) -> None:
    """The answer's headers and half its body arrive."""
    answer = await exchange.forward()
    head, _, body = answer.partition(b"\r\n\r\n")
    await exchange.answer(head + b"\r\n\r\n" + body[: len(body) // 2])


async def cut_request(exchange: Exchange) -> None:
    """S3 gets half of the body, and then the connection dies on both sides."""
    whole = exchange.request.raw(exchange.request.body)
    _, writer = await asyncio.open_connection("127.0.0.1", exchange.upstream)
    writer.write(whole[: len(whole) - len(exchange.request.body) // 2])
    await writer.drain()
    writer.close()
    exchange.reset()


async def damage_request(exchange: Exchange) -> None:
    """One bit of the body is another when S3 gets it."""
    body = bytearray(exchange.request.body)
    body[len(body) // 2] ^= 1
    await exchange.answer(await exchange.forward(bytes(body)))


async def damage_answer(exchange: Exchange) -> None:
    """One bit of the answer's body is another when we get it."""
    answer = bytearray(await exchange.forward())
    answer[-1] ^= 1
    await exchange.answer(bytes(answer))


async def stall(exchange: Exchange) -> None:
    """Nothing happens until the client has enough."""
    del exchange
    await asyncio.sleep(3600)


@dataclass
class Rule:
    """``times``: how many requests it spoils before it lets the rest pass."""

    fits: Callable[[Request], bool]
    fault: Fault
    times: int = 1


@dataclass
class FaultProxy:
    """A running proxy: ``endpoint`` for clients, ``rules`` in order, ``seen`` so far."""

    upstream: int
    port: int = 0
    rules: list[Rule] = field(default_factory=list)
    seen: list[Request] = field(default_factory=list)
    spoilt: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spoil(self, fits: Callable[[Request], bool], fault: Fault, *, times: int = 1) -> None:
        self.rules.append(Rule(fits, fault, times))

    def heal(self) -> None:
        """No more faults, and nothing seen so far."""
        self.rules.clear()
        self.seen.clear()
        self.spoilt = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader, writer)) is not None:
                self.seen.append(request)
                exchange = Exchange(request, writer, self.upstream)
                rule = next((rule for rule in self.rules if rule.times > 0 and rule.fits(request)), None)
                if rule is None:
                    answer = await exchange.forward()
                    await exchange.answer(answer)
                    break  # the answer says "connection: close", as we asked for it
                rule.times -= 1
                self.spoilt += 1
                gone = asyncio.ensure_future(_until_gone(reader))
                spoiling = asyncio.ensure_future(rule.fault(exchange))
                await asyncio.wait({gone, spoiling}, return_when=asyncio.FIRST_COMPLETED)
                gone.cancel()
                spoiling.cancel()
                break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _until_gone(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    first = await reader.readline()
    if not first.strip():
        return None
    method, target, _ = first.decode().split(" ", 2)
    headers = {}
    while line := (await reader.readline()).decode().strip():
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body)


@contextmanager
def fault_proxy(upstream: int) -> Iterator[FaultProxy]:
    """A proxy in a thread of its own before the S3 on port ``upstream``."""
    proxy = FaultProxy(upstream)
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def run(stop: asyncio.Event) -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=1 << 20)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run(stop)), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
