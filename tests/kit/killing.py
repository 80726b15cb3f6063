"""Workers killed at random moments under load: who pays for it, for how long, and whether /ping tells."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.kit.http_load import Client, Lost, request
from tests.kit.tagged import TAGS, Tagged

_PING = request(method="GET", path="/ping")
_LOOK_SECONDS = 0.02
_SETTLES_SECONDS = 60.0
"""For a replacement on a busy machine; a run in which one takes longer has failed."""


@dataclass
class Killed:
    """``counts`` by status. ``wrong``: answers that are neither right nor a 503 of a lost worker.

    ``lies``: pairs of ping and request, with no kill near, that do not agree. ``back``: seconds from a
    kill until as many workers as before were ready; ``silent``: from the death of the last worker until
    /ping said so, where it was asked before there was another.
    """

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    pairs: int = 0
    lies: list[str] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    silent: list[float] = field(default_factory=list)
    slowest: float = 0.0


@dataclass
class _Scene:
    port: int
    workers: Callable[[], list[int]]
    tagged: Tagged
    chance: random.Random
    found: Killed
    over: bool = False


async def kills(
    port: int, workers: Callable[[], list[int]], tagged: Tagged, *, total: int, clients: int, seed: int
) -> Killed:
    """Kill ``total`` times one of the processes that ``workers`` lists, every tenth time all of them."""
    scene = _Scene(port, workers, tagged, random.Random(seed), Killed())
    others = [asyncio.create_task(_ask(scene)) for _ in range(clients)]
    others.append(asyncio.create_task(_pairs(scene)))
    try:
        for number in range(1, total + 1):
            await _kill(scene, everybody=number % 10 == 0)
    finally:
        scene.over = True
        await asyncio.gather(*others)
    return scene.found


async def _kill(scene: _Scene, *, everybody: bool) -> None:
    whole = len(scene.workers())
    await asyncio.sleep(scene.chance.uniform(0, 0.3))
    there = scene.workers()
    began = time.monotonic()
    for pid in there if everybody else [scene.chance.choice(there)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    client = Client(scene.port)
    told = False
    while set(there) <= (now := set(scene.workers())) or len(now) < whole:
        # On a slow machine the new ones may be there before anybody has asked.
        if everybody and not told and (await client.ask(_PING)).status == 503:
            told = True
            scene.found.silent.append(time.monotonic() - began)
        await asyncio.sleep(_LOOK_SECONDS)
    await _until(client, 200, began)
    scene.found.back.append(time.monotonic() - began)
    client.close()


async def _until(client: Client, status: int, began: float) -> None:
    while (await client.ask(_PING)).status != status:
        if time.monotonic() - began > _SETTLES_SECONDS:
            raise TimeoutError(f"/ping never said {status}")
        await asyncio.sleep(_LOOK_SECONDS)


async def _ask(scene: _Scene) -> None:
    client, found = Client(scene.port), scene.found
    while not scene.over:
        tag, began = scene.chance.randrange(TAGS), time.monotonic()
        try:
            answer = await client.ask(request(scene.tagged.body(tag)))
        except Lost as error:
            found.counts["lost"] += 1
            found.wrong.append(f"{tag}: {error}")
            continue
        found.slowest = max(found.slowest, time.monotonic() - began)
        found.counts[str(answer.status)] += 1
        right = answer.status == 200 and scene.tagged.right(answer.body, tag)
        if not right and answer.status not in {429, 503}:
            found.wrong.append(f"{tag}: {answer.status} {answer.body[:200]!r}")
        if answer.status == 503:
            await asyncio.sleep(_LOOK_SECONDS)
    client.close()


async def _pairs(scene: _Scene) -> None:
    """A request between two pings says something where they agree and no worker came or went meanwhile."""
    client, found = Client(scene.port), scene.found
    while not scene.over:
        before = scene.workers()
        first = (await client.ask(_PING)).status
        asked = (await client.ask(request(scene.tagged.body(1)))).status
        last = (await client.ask(_PING)).status
        found.pairs += 1
        steady = scene.workers() == before
        if steady and first == last and (first, asked) not in {(200, 200), (200, 429), (503, 503)}:
            found.lies.append(f"ping {first}, request {asked}, ping {last}")
    client.close()
