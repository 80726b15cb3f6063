"""A long run of all sorts of requests, every answer compared, what the server holds sampled on the way."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.kit.http_load import Client, Lost, closed_load, connected, request
from tests.kit.process_tree import Held, Trend, held, trend
from tests.kit.tagged import TAGS, Tagged

_WARM_UP = 0.5
"""Share of a run in which pools, caches and the allocator find their size."""

_MIB = 1024 * 1024
_MOST_MIB = 8.0
"""Growth of memory for each 100,000 requests that a short run may show: 80 bytes a request."""


@dataclass
class Soaked:
    """``counts`` of what happened; ``wrong`` answers are another request's, or no request's."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    samples: list[tuple[int, Held]] = field(default_factory=list)
    seconds: float = 0.0

    def _warm(self) -> list[tuple[int, Held]]:
        after = self.samples[-1][0] * _WARM_UP
        return [(done, now) for done, now in self.samples if done > after]

    def memory(self) -> Trend:
        """Growth in MiB for each 100,000 requests, after the warm-up."""
        return trend([(done / 100_000, now.rss / _MIB) for done, now in self._warm()])

    def descriptors(self) -> Trend:
        """Growth for each 100,000 requests; open connections of the load are constant."""
        return trend([(done / 100_000, now.descriptors) for done, now in self._warm()])

    def threads(self) -> Trend:
        return trend([(done / 100_000, now.threads) for done, now in self._warm()])

    def grew(self) -> list[str]:
        """What grew beyond doubt: the whole 95 % interval is above what a run may show."""
        found = {
            "memory": self.memory().low >= _MOST_MIB,
            "descriptors": self.descriptors().low > 0,
            "threads": self.threads().low > 0,
        }
        return [name for name, grew in found.items() if grew]


async def soak(
    port: int, pid: int, tagged: Tagged, *, total: int, at_once: int, seed: int, only_good: bool = False
) -> Soaked:
    """``total`` requests, ``at_once`` in flight. A 429 is not wrong: the machine may have other work.

    Args:
        pid: the server, whose process tree is sampled a hundred times.
        only_good: nothing but tagged inputs, for hunting mix-ups.
    """
    found, client, chance = Soaked(), Client(port), random.Random(seed)
    began, every = time.monotonic(), max(1, total // 100)

    async def act(number: int) -> None:
        kind = chance.random()
        try:
            if only_good or kind < 0.90:
                await _tagged(client, tagged, chance, found)
            elif kind < 0.98:
                await _refused(client, chance, found)
            else:
                await _hang_up(port, chance, found)
        except Lost as lost:
            found.counts["lost"] += 1
            found.wrong.append(str(lost))
        if number % every == 0:
            found.samples.append((number, held(pid)))

    await closed_load(act, total=total, at_once=at_once)
    client.close()
    found.seconds = time.monotonic() - began
    return found


async def _tagged(client: Client, tagged: Tagged, chance: random.Random, found: Soaked) -> None:
    tags = [chance.randrange(TAGS) for _ in range(chance.choice((1, 1, 1, 1, 1, 2, 3, 6)))]
    answer = await client.ask(request(tagged.body(*tags)))
    found.counts[str(answer.status)] += 1
    if answer.status != 429 and not (answer.status == 200 and tagged.right(answer.body, *tags)):
        found.wrong.append(f"{tags}: {answer.status} {answer.body[:200]!r}")


async def _refused(client: Client, chance: random.Random, found: Soaked) -> None:
    """What costs the server an error, or nothing: each must leave as little behind as an answer."""
    data, status = chance.choice(
        [
            (request(b'{"inputs":'), 400),
            (request(b'{"inputs":"' + b"w1 " * chance.randrange(30, 3000) + b'"}'), 400),
            (request(b"{}", path=f"/{chance.randrange(10**9)}"), 404),
            (request(method="GET", path="/metrics"), 200),
            (request(b"{}", headers=[f"X-Request-Id: {chance.randrange(10**9)}"]), 400),
        ]
    )
    answer = await client.ask(data)
    found.counts[str(answer.status)] += 1
    if answer.status not in {status, 429}:
        found.wrong.append(f"{data[:60]!r}: {answer.status}")


async def _hang_up(port: int, chance: random.Random, found: Soaked) -> None:
    connection = await connected(port)
    data = request(b'{"inputs":"w1 w2 w3"}')
    connection.write(data[: chance.randrange(1, len(data) + 1)])
    connection.close()
    found.counts["hung up"] += 1
