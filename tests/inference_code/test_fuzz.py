"""Thousands of damaged requests: no 5xx, nobody left hanging, no secret and no path in any answer or log.

``python -m bench.fuzz`` runs the same with as many as one likes.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from artifact.golden import largest_difference
from tests.inference_code.running import running
from tests.kit.fuzzing import LEAKS, fuzz
from tests.kit.handmade import World
from tests.kit.mutations import CANARIES


@pytest.mark.parametrize("total", [4_000, pytest.param(20_000, marks=pytest.mark.long)])
def test_damaged_requests_get_4xx_and_leave_nothing_but_counts(
    world: World, tmp_path: Path, total: int
) -> None:
    """A hundred canaries in texts, headers and queries come out nowhere; the server stays well."""
    with running(world.root, cwd=tmp_path) as server:
        server.await_ready()
        fuzzed = asyncio.run(fuzz(server.port, total=total, at_once=32, seed=3))
        metrics = server.call("GET", "/metrics").body.decode()
        healthy = server.call("GET", "/ping").status
        answered = server.ask("w5 w6 w7").json

    log = json.dumps(server.log)
    print(fuzzed.statuses, fuzzed.slowest)
    assert fuzzed.faults == []
    assert {"200", "400"} <= set(fuzzed.statuses), "the mutations reach neither the graph nor the decoders"
    assert LEAKS.search(metrics) is None
    assert [secret for secret in (*CANARIES, "Traceback") if secret in log] == []
    assert [line for line in server.log if line.get("level") == "error"] == []
    assert healthy == 200
    assert largest_difference(world.answer("w5 w6 w7"), answered) <= 1e-5
