"""A killed worker costs the requests that it had, and nobody else; /ping agrees with what happens.

``python -m bench.kills`` runs the same with as many kills as one likes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.inference_code.running import running
from tests.inference_code.test_workers import workers
from tests.kit.handmade import World
from tests.kit.killing import kills
from tests.kit.tagged import Tagged


def test_workers_killed_under_load_cost_their_own_requests_only(world: World, tmp_path: Path) -> None:
    """One at a time, and both: 503 or the right answer, and then the server is whole again."""
    with running(world.root, "--workers", "2", cwd=tmp_path, keep_requests=False) as server:
        server.await_ready()
        found = asyncio.run(
            kills(server.port, lambda: workers(server), Tagged(world), total=20, clients=6, seed=1)
        )

    assert found.wrong == []
    assert found.lies == []
    assert found.counts["503"] > 0
    assert found.counts["200"] > found.counts["503"]
    assert found.slowest < 20, "a lost request waits for no deadline"
    assert len(found.back) == 20
    assert len(found.silent) <= 2
