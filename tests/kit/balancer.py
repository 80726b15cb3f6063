"""A small load balancer on loopback, as strict as AWS's: it asks /ping, streams bodies, and never retries.

A request goes to the next healthy replica as soon as its head is there; whatever goes wrong then is a
502 to the client, as it would be behind an Application Load Balancer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_PING = b"GET /ping HTTP/1.1\r\nHost: balancer\r\nConnection: close\r\n\r\n"
_UNHEALTHY_AFTER = 2
"""Failed pings in a row; the least that an Application Load Balancer can be set to."""
_FAULTS = (OSError, asyncio.IncompleteReadError, ValueError)


@dataclass
class Replica:
    """One server behind the balancer, with its idle connections. ``failed`` pings in a row."""

    port: int
    healthy: bool = False
    failed: int = 0
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)


class Balancer:
    """Listens while ``running``; replicas come and go. ``faults`` holds why each 502 was one."""

    def __init__(self, *, every: float = 0.2) -> None:
        self.replicas: list[Replica] = []
        self.faults: list[str] = []
        self.port = 0
        self._every = every
        self._turn = 0
        self._clients: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Balancer]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        asking = asyncio.ensure_future(self._ask_around())
        try:
            yield self
        finally:
            asking.cancel()
            server.close()
            for task in self._clients:
                task.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)
            for replica in self.replicas:
                self.remove(replica)

    async def add(self, port: int, patience: float = 60.0) -> Replica:
        """Take a server in, and wait until it is healthy."""
        replica = Replica(port)
        self.replicas = [*self.replicas, replica]

        async def healthy() -> None:
            while not replica.healthy:
                await asyncio.sleep(self._every / 4)

        await asyncio.wait_for(healthy(), patience)
        return replica

    def remove(self, replica: Replica) -> None:
        self.replicas = [each for each in self.replicas if each is not replica]
        for _, writer in replica.idle:
            writer.close()
        replica.idle.clear()

    async def _ask_around(self) -> None:
        while True:
            for replica in self.replicas:
                replica.failed = 0 if await _is_well(replica.port) else replica.failed + 1
                replica.healthy = replica.failed < (_UNHEALTHY_AFTER if replica.healthy else 1)
            await asyncio.sleep(self._every)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (*_FAULTS, asyncio.CancelledError):
            pass  # the client went away, or the balancer ends
        finally:
            self._clients.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass one request on; False: the client has ended."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        replica = self._next()
        if replica is None:
            self.faults.append("no replica is healthy")
            writer.write(b"HTTP/1.1 503 None\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return False
        try:
            writer.write(await self._passed_on(head, reader, replica))
        except _FAULTS as error:
            self.faults.append(f"port {replica.port}: {error!r}")
            writer.write(b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return False
        return True

    def _next(self) -> Replica | None:
        healthy = [replica for replica in self.replicas if replica.healthy]
        self._turn += 1
        return healthy[self._turn % len(healthy)] if healthy else None

    async def _passed_on(self, head: bytes, client: asyncio.StreamReader, replica: Replica) -> bytes:
        while replica.idle and replica.idle[-1][0].at_eof():
            replica.idle.pop()[1].close()
        if replica.idle:
            reader, writer = replica.idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
        try:
            writer.write(head)
            left = _length(head)
            while left:
                part = await client.read(min(left, 65_536))
                if not part:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(part)
                writer.write(part)
            answer = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(_length(answer))
        except BaseException:
            writer.close()
            raise
        if b"\r\nconnection: close" in answer:
            writer.close()
            answer = answer.replace(b"\r\nconnection: close", b"")
        else:
            replica.idle.append((reader, writer))
        return answer + body


async def _is_well(port: int) -> bool:
    with contextlib.suppress(*_FAULTS, asyncio.TimeoutError):
        return await asyncio.wait_for(_pinged(port), 2)
    return False


async def _pinged(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        writer.write(_PING)
        return (await reader.read()).startswith(b"HTTP/1.1 200 ")


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0] or 0)
