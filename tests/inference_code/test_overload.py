"""Far more requests than the model can answer: some are answered, all others are told to come again.

How fast, and at which loads, is for ``python -m bench.overload`` to measure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.inference_code.running import running
from tests.kit.handmade import SLOW_WORD, Recipe, World
from tests.kit.overloading import Offered, offer, recovery

_SLOW = Recipe(buckets=((1, 8),), stalls=60)
"""Some 50 ms for each request that asks for it."""


def test_an_overloaded_server_answers_some_and_refuses_the_rest(
    worlds: Callable[..., World], tmp_path: Path
) -> None:
    """200, or 429 with Retry-After; none lost, /ping well all the while, no long queue behind it."""

    async def overload(port: int) -> tuple[Offered, float]:
        found = await offer(port, per_second=400, seconds=3, seed=1, text=SLOW_WORD)
        return found, await recovery(port, quick=10.0)

    # Two workers of one thread each: threads of one batch wait for each other where others work, too.
    deadline = {"TRACESHIP_DEADLINE_SECONDS": "60"}
    with running(worlds(_SLOW).root, "--workers", "2", cwd=tmp_path, env=deadline) as server:
        server.await_ready()
        found, seconds = asyncio.run(overload(server.port))

    assert found.odd == []
    assert set(found.counts) == {200, 429}
    assert len(found.pings) > 10
    # How many are answered depends on the machine; that it refuses in time on the queue's expected wait.
    assert found.counts[200] > 5
    assert found.counts[429] > 50
    assert seconds < 10
