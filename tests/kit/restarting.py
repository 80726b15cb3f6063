"""Replicas behind a balancer, restarted one after the other under load, every answer compared."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from signal import SIGTERM

from tests.inference_code.running import RunningServer
from tests.kit.balancer import Balancer, Replica
from tests.kit.http_load import Client, Lost, request
from tests.kit.tagged import TAGS, Tagged

_SLOW_SHARE = 0.1
_SLOW_SECONDS = 1.5
"""Of a slow client between the halves of its request."""


@dataclass
class Restarted:
    """``codes`` and ``drains`` (seconds from SIGTERM to the end) of each server that was stopped."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    drains: list[float] = field(default_factory=list)


Start = Callable[[], RunningServer]


async def rolling_restarts(
    start: Start, tagged: Tagged, *, restarts: int, requests: int, per_second: float, seed: int
) -> Restarted:
    """Two replicas, ``restarts`` of them one at a time; at least ``requests`` in all meanwhile."""
    found, balancer, servers = Restarted(), Balancer(), []
    try:
        async with balancer.running():
            for _ in range(2):
                servers.append((server := await _started(start), await balancer.add(server.port)))
            rolling = asyncio.ensure_future(_roll(start, balancer, servers, found, restarts))
            await _load(balancer.port, tagged, found, per_second, requests, seed, rolling.done)
            await rolling
    finally:
        for server, _ in servers:
            server.stop()
    found.wrong += balancer.faults
    return found


async def _started(start: Start) -> RunningServer:
    return await asyncio.to_thread(lambda: start().await_listening())


async def _roll(
    start: Start,
    balancer: Balancer,
    servers: list[tuple[RunningServer, Replica]],
    found: Restarted,
    restarts: int,
) -> None:
    for _ in range(restarts):
        old, replica = servers.pop(0)
        try:
            old.signal(SIGTERM)
            began = time.monotonic()
            found.codes.append(await asyncio.to_thread(old.wait))
            found.drains.append(time.monotonic() - began)
        finally:
            old.stop()
        balancer.remove(replica)
        servers.append((server := await _started(start), await balancer.add(server.port)))


async def _load(
    port: int,
    tagged: Tagged,
    found: Restarted,
    per_second: float,
    least: int,
    seed: int,
    rolled: Callable[[], bool],
) -> None:
    client, chance = Client(port), random.Random(seed)
    running, number = set(), 0
    loop = asyncio.get_running_loop()
    at = loop.time()
    while not (rolled() and number >= least):
        at += chance.expovariate(per_second)
        await asyncio.sleep(at - loop.time())
        task = asyncio.ensure_future(_ask(client, tagged, found, chance))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
    await asyncio.gather(*running)
    client.close()


async def _ask(client: Client, tagged: Tagged, found: Restarted, chance: random.Random) -> None:
    tag = chance.randrange(TAGS)
    slowly = _SLOW_SECONDS if chance.random() < _SLOW_SHARE else 0.0
    try:
        while (answer := await client.ask(request(tagged.body(tag)), slowly=slowly)).status == 429:
            # While one of two is away the other may have too much to do: as told, come again.
            found.counts["told to come again"] += 1
            await asyncio.sleep(float(answer.headers["retry-after"]))
    except Lost as lost:
        found.counts["lost"] += 1
        found.wrong.append(str(lost))
        return
    found.counts[str(answer.status)] += 1
    if answer.status != 200 or not tagged.right(answer.body, tag):
        found.wrong.append(f"{tag}: {answer.status} {answer.body[:200]!r}")
