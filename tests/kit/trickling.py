"""Clients that send a byte now and then, to keep a connection for ever."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

HEAD = b"GET /ping HTTP/1.1\r\nHost: a\r\nX: "
BODY = (
    b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
)


@dataclass(frozen=True)
class CutOff:
    """When the server ended a trickle, in seconds after its first byte, and what it said."""

    seconds: float
    answer: bytes


async def trickle(port: int, first: bytes, *, every: float, patience: float) -> CutOff:
    """Send ``first`` and then a byte ``every`` so many seconds, until the server ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.monotonic()
    writer.write(first)
    answer = b""
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - started < patience:
            try:
                part = await asyncio.wait_for(reader.read(4096), every)
            except asyncio.TimeoutError:
                writer.write(b" ")
                continue
            answer += part
            if not part:
                break
    writer.close()
    return CutOff(time.monotonic() - started, answer)


async def siege(
    port: int, *, heads: int, bodies: int, every: float, patience: float
) -> tuple[list[CutOff], list[CutOff]]:
    """So many at once that trickle their head, and their body."""
    firsts = [HEAD] * heads + [BODY] * bodies
    found = await asyncio.gather(*(trickle(port, first, every=every, patience=patience) for first in firsts))
    return found[:heads], found[heads:]
