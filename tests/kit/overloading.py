"""More requests than a server can answer, and how each of them, and /ping beside them, was treated."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.kit.http_load import PING, Act, Client, Lost, closed_load, connected, open_load, request

_TEXT = "w1 w2 w3"
_PING_EVERY = 0.05


@dataclass
class Offered:
    """What came of one load. Times in seconds, of each request by its status; ``odd``: what must not be."""

    counts: Counter[int] = field(default_factory=Counter)
    took: dict[int, list[float]] = field(default_factory=dict)
    connects: list[float] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def goodput(self) -> float:
        """Good answers a second."""
        return self.counts[200] / self.seconds


async def offer(port: int, *, per_second: float, seconds: float, seed: int, text: str = _TEXT) -> Offered:
    """An open load of ``per_second``; /ping is asked all the while, on new connections."""
    return await _watched(
        port, text, lambda act: open_load(act, per_second=per_second, seconds=seconds, seed=seed)
    )


async def saturate(port: int, *, total: int, at_once: int) -> Offered:
    """A closed load, whose goodput is the most that the server can do."""
    return await _watched(port, _TEXT, lambda act: closed_load(act, total=total, at_once=at_once))


def _asking(text: str) -> bytes:
    return request(json.dumps({"inputs": text}).encode())


async def _watched(port: int, text: str, load: Callable[[Act], Awaitable[None]]) -> Offered:
    found, client, good = Offered(), Client(port), _asking(text)

    async def act(_number: int) -> None:
        started = time.perf_counter()
        try:
            answer = await client.ask(good)
        except Lost as lost:
            found.odd.append(str(lost))
            return
        found.counts[answer.status] += 1
        found.took.setdefault(answer.status, []).append(time.perf_counter() - started)
        if answer.status not in {200, 429} or (answer.status == 429 and "retry-after" not in answer.headers):
            found.odd.append(f"{answer.status} {answer.headers} {answer.body[:200]!r}")

    pinging = asyncio.ensure_future(_ping(port, found))
    began = time.perf_counter()
    await load(act)
    found.seconds = time.perf_counter() - began
    pinging.cancel()
    client.close()
    return found


async def _ping(port: int, found: Offered) -> None:
    while True:
        started = time.perf_counter()
        try:
            connection = await connected(port)
            found.connects.append(time.perf_counter() - started)
            answer = await connection.ask(PING)
            connection.close()
        except Lost as lost:
            found.odd.append(f"/ping: {lost}")
            continue
        found.pings.append(time.perf_counter() - started)
        if answer.status != 200:
            found.odd.append(f"/ping: {answer.status} {answer.body!r}")
        await asyncio.sleep(_PING_EVERY)


async def recovery(port: int, *, quick: float) -> float:
    """Seconds until a request is answered within ``quick`` seconds again."""
    began = time.perf_counter()
    while True:
        connection = await connected(port)
        answer = await connection.ask(_asking(_TEXT))
        connection.close()
        if answer.status == 200 and answer.seconds <= quick:
            return time.perf_counter() - began
