"""Servers come and go behind a balancer, and no client notices.

``python -m bench.restarts`` does it with as many restarts and requests as one likes.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from signal import SIGTERM

from tests.inference_code.running import RunningServer, running
from tests.kit.handmade import World
from tests.kit.http_load import PING, Answer, connected, request
from tests.kit.restarting import rolling_restarts
from tests.kit.tagged import Tagged
from tests.kit.trickling import BODY, CutOff, trickle


def test_rolling_restarts_lose_nothing(world: World, tmp_path: Path) -> None:
    """Keep-alive clients, a tenth of them slow: every request is answered, every server ends with 0."""

    def start() -> RunningServer:
        return RunningServer(world.root, "--port", "0", "--lame-duck", "6", cwd=tmp_path)

    found = asyncio.run(
        rolling_restarts(start, Tagged(world), restarts=5, requests=3_000, per_second=60, seed=1)
    )

    assert found.wrong == []
    assert set(found.counts) <= {"200", "told to come again"}
    assert found.counts["200"] >= 3_000
    assert found.codes == [0] * 5
    assert max(found.drains) < 25


def test_a_slow_request_is_answered_after_the_port_has_closed(world: World, tmp_path: Path) -> None:
    """Its head came before SIGTERM, the rest of its body when nobody can connect any more."""

    async def half_before(server: RunningServer) -> Answer:
        connection = await connected(server.port)
        closed = asyncio.Event()
        asked = asyncio.ensure_future(connection.ask(request(b'{"inputs":"w1"}'), until=closed))
        await _begun(server)
        server.signal(SIGTERM)
        while await _accepts(server.port):
            await asyncio.sleep(0.05)
        assert not asked.done()
        closed.set()
        return await asked

    with running(world.root, "--lame-duck", "0.5", cwd=tmp_path) as server:
        server.await_ready()
        answer = asyncio.run(half_before(server))
        code = server.wait()

    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert code == 0


def test_a_request_that_never_ends_does_not_keep_the_server(world: World, tmp_path: Path) -> None:
    """Lame duck and drain together take 25 s at most, whatever clients do, and the end is a clean one."""

    async def trickling(server: RunningServer) -> CutOff:
        trickled = asyncio.ensure_future(trickle(server.port, BODY, every=0.1, patience=30))
        await _begun(server)
        server.signal(SIGTERM)
        while (await (await connected(server.port)).ask(PING)).status == 200:
            await asyncio.sleep(0.05)
        server.signal(SIGTERM)
        return await trickled

    with running(world.root, "--lame-duck", "20", cwd=tmp_path) as server:
        server.await_ready()
        began = time.monotonic()
        asyncio.run(trickling(server))
        code = server.wait()
        seconds = time.monotonic() - began

    assert code == 0
    # A few seconds; without the limit it would be until the trickle ends, or until SIGKILL.
    assert seconds < 20


async def _begun(server: RunningServer) -> None:
    """Until the head of a request has arrived."""
    while await asyncio.to_thread(server.metric, "traceship_requests_in_flight") != 1:
        await asyncio.sleep(0.02)


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True
