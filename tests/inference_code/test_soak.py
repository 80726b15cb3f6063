"""The server after many requests is the server after few; and nobody gets another's answer.

``python -m bench.soak`` runs the same for as long as one likes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.inference_code.running import RunningServer, running
from tests.kit.handmade import World
from tests.kit.process_tree import trend
from tests.kit.soaking import soak
from tests.kit.tagged import Tagged


def test_many_requests_leave_nothing_behind(world: World, tmp_path: Path) -> None:
    """Texts, lists, refusals and clients that hang up: memory, descriptors and threads do not grow."""
    with running(world.root, cwd=tmp_path) as server:
        server.await_ready()
        soaked = asyncio.run(
            soak(server.port, server.process.pid, Tagged(world), total=20_000, at_once=16, seed=1)
        )
        healthy = server.call("GET", "/ping").status

    assert soaked.wrong == []
    assert healthy == 200
    print(soaked.counts, soaked.seconds, soaked.memory(), soaked.descriptors(), soaked.threads())
