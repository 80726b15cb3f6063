"""The server after many requests is the server after few; and nobody gets another's answer.

``python -m bench.soak`` runs the same for as long as one likes.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inference_code.running import RunningServer, running
from tests.kit.handmade import World
from tests.kit.process_tree import Held, trend
from tests.kit.soaking import Soaked, soak
from tests.kit.tagged import Tagged


@pytest.mark.parametrize("total", [12_000, pytest.param(50_000, marks=pytest.mark.long)])
def test_many_requests_leave_nothing_behind_and_nobody_gets_anothers_answer(
    world: World, tmp_path: Path, total: int
) -> None:
    """Texts, lists, refusals and clients that hang up: memory, descriptors and threads do not grow."""
    with running(world.root, cwd=tmp_path, keep_requests=False) as server:
        server.await_ready()
        soaked = asyncio.run(
            soak(server.port, server.process.pid, Tagged(world), total=total, at_once=16, seed=1)
        )
        healthy = server.call("GET", "/ping").status

    assert soaked.wrong == []
    assert {"200", "400", "404", "hung up"} == set(soaked.counts) - {"429"}
    assert healthy == 200
    assert soaked.grew() == [], (soaked.memory(), soaked.descriptors(), soaked.threads())


@pytest.mark.parametrize(("clients", "requests"), [(1, 100), (8, 1_000), (64, 3_000)])
def test_every_tagged_request_gets_its_own_answer(
    server: RunningServer, world: World, clients: int, requests: int
) -> None:
    """At any concurrency; what the queue cannot hold is refused, not answered wrongly."""
    soaked = asyncio.run(
        soak(
            server.port,
            server.process.pid,
            Tagged(world),
            total=1_500,
            at_once=clients,
            seed=2,
            only_good=True,
        )
    )

    assert soaked.wrong == []
    assert soaked.counts["200"] > requests / 10
    assert set(soaked.counts) <= {"200", "429"}


@given(slope=st.floats(-50, 50), noise=st.lists(st.floats(-1, 1), min_size=40, max_size=60))
def test_the_trend_of_samples_is_found(slope: float, noise: list[float]) -> None:
    """With outliers, too: a third of the samples may be anything."""
    samples = [(float(at), slope * at + (one if at % 3 else 1e6 * one)) for at, one in enumerate(noise)]

    found = trend(samples)

    assert found.low <= found.slope <= found.high
    assert abs(found.slope - slope) < 4


@pytest.mark.parametrize("what", ["memory", "descriptors", "threads"])
def test_the_kit_would_see_what_grows(what: str) -> None:
    """One of them by one a sample (memory by a MiB), the others not at all."""
    leaks = {"memory": (1024**2, 0, 0), "descriptors": (0, 1, 0), "threads": (0, 0, 1)}[what]
    samples = [(at * 1000, Held(*(100 + at * leak for leak in leaks))) for at in range(100)]

    assert Soaked(samples=samples).grew() == [what]


def test_the_kit_would_see_a_mix_up(world: World) -> None:
    """Two tags of the same length, and a list in another order, are told apart."""
    tagged = Tagged(world)
    one, other = (world.answer(tagged.text(tag)) for tag in (8, 16))

    assert tagged.right(json.dumps(one).encode(), 8)
    assert tagged.right(json.dumps([one, other]).encode(), 8, 16)
    assert not tagged.right(json.dumps(other).encode(), 8)
    assert not tagged.right(json.dumps([other, one]).encode(), 8, 16)
