"""Mutated requests against a server, and what it said to each."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.kit.http_load import closed_load
from tests.kit.mutations import CANARIES, mutated

_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_QUIET_SECONDS = 0.1
"""An unfinished request gets no answer before its time is over: then the client hangs up."""
_LONGEST_SECONDS = 5.0
LEAKS = re.compile("|".join([*CANARIES, "Traceback", r"\.py\b", "/tmp/", "/home/", "site-packages"]))
"""What no answer may show, nor a metric."""


@dataclass
class Fuzzed:
    """``statuses`` of all answers; ``faults``: requests after which something was wrong, and what."""

    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0


async def fuzz(port: int, *, total: int, at_once: int, seed: int) -> Fuzzed:
    """``total`` mutated requests, each on a connection of its own, made from ``seed`` and its number."""
    found = Fuzzed()

    async def act(number: int) -> None:
        data = mutated(random.Random(f"{seed}/{number}"))
        answer, seconds = await _said(port, data)
        statuses = _ANSWER.findall(answer)
        found.statuses.update([status.decode() for status in statuses] or ["none"])
        found.slowest = max(found.slowest, seconds)
        fault = _fault(answer, statuses, seconds)
        if fault:
            found.faults.append(f"seed {seed}/{number}: {fault}: {data[:300]!r} -> {answer[:300]!r}")

    await closed_load(act, total=total, at_once=at_once)
    return found


def _fault(answer: bytes, statuses: list[bytes], seconds: float) -> str | None:
    if any(status.startswith(b"5") for status in statuses):
        return "a 5xx"
    if seconds > _LONGEST_SECONDS:
        return f"open for {seconds:.1f} s after the client had ended"
    leak = LEAKS.search(answer.decode("latin-1"))
    return f"{leak.group()!r} in the answer" if leak else None


async def _said(port: int, data: bytes) -> tuple[bytes, float]:
    """All that the server says to ``data``, and the seconds that it takes to close after the client's end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    parts: list[bytes] = []
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            with contextlib.suppress(asyncio.TimeoutError):
                while part := await asyncio.wait_for(reader.read(65_536), _QUIET_SECONDS):
                    parts.append(part)
            ended = time.perf_counter()
            writer.write_eof()
            with contextlib.suppress(asyncio.TimeoutError):
                parts.append(await asyncio.wait_for(reader.read(), 2 * _LONGEST_SECONDS))
            return b"".join(parts), time.perf_counter() - ended
        return b"".join(parts), 0.0
    finally:
        writer.close()
