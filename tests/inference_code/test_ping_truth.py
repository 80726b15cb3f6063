"""/ping says 200 exactly while an inference would succeed, in every state that a server can be in.

A state may change between a ping and a request, so each request is asked between two pings: only where
the two agree do they say anything about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from signal import SIGTERM

import pytest

from tests.inference_code.falling_ill import NAN, RAISES, falling_ill, make_ill, make_well
from tests.inference_code.held import go_on, held, held_start, no_forks
from tests.inference_code.running import Reply, RunningServer, running
from tests.inference_code.test_workers import await_that
from tests.kit.handmade import SLOW_WORD, Recipe, World, rewrite
from tests.kit.overloading import Offered, offer

Pair = tuple[int, int, int]
"""Statuses of a ping, of a request, and of a ping after it."""

_BUSY = Recipe(buckets=((1, 8),), stalls=125)
"""Some 100 ms for each request that asks for it: too much even for a far faster machine."""
_STALLING = Recipe(buckets=((1, 8),), stalls=20_000)
"""Many seconds."""


def _pair(server: RunningServer) -> Pair:
    before = server.call("GET", "/ping").status
    asked = server.ask("w1").status
    return before, asked, server.call("GET", "/ping").status


def _pings_until(server: RunningServer, status: int) -> list[int]:
    """Statuses, that one as the last."""
    found: list[int] = []
    await_that(lambda: found.append(server.call("GET", "/ping").status) or found[-1] == status, "not in time")
    return found


def _lies(pairs: list[Pair], *, refused: int = 200) -> list[Pair]:
    """Those where /ping promised an answer that did not come, or denied one that did.

    ``refused``: the status that a healthy server may give beside 200.
    """
    promised = [pair for pair in pairs if pair[0] == pair[2] == 200 and pair[1] not in {200, refused}]
    denied = [pair for pair in pairs if pair[0] == pair[2] == 503 and pair[1] == 200]
    odd = [pair for pair in pairs if not {pair[0], pair[2]} <= {200, 503}]
    return promised + denied + odd


def _pairs_until_the_end(server: RunningServer) -> list[Pair]:
    found = []
    while server.process.poll() is None:
        try:
            found.append(_pair(server))
        except (OSError, ConnectionError):
            break
    return found


def test_while_starting_and_when_ready(world: World, tmp_path: Path) -> None:
    """503 to both until the golden set has been replayed, then 200 to both, and never back."""
    with running(world.root, cwd=tmp_path, env=held_start(tmp_path)) as server:
        server.await_listening()
        starting = [_pair(server)]
        go_on(tmp_path)
        while starting[-1] != (200, 200, 200):
            starting.append(_pair(server))
        ready = [_pair(server) for _ in range(100)]

    assert starting[0] == (503, 503, 503)
    assert _lies(starting) == []
    assert set(ready) == {(200, 200, 200)}


@pytest.mark.parametrize("kind", ["another digest", "no graph", "wrong answers"])
def test_a_server_that_fails_was_never_well(
    worlds: Callable[..., World], copied: World, tmp_path: Path, kind: str
) -> None:
    """Another artifact, a graph that does not load, a golden answer that is not reproduced."""
    root, arguments = copied.root, ("--digest", "0" * 64) if kind == "another digest" else ()
    if kind == "no graph":
        rewrite(root, "graphs/b1_s16.pt", b"no graph")
    if kind == "wrong answers":
        root = worlds(Recipe(wrong_by=0.01)).root

    with running(root, *arguments, cwd=tmp_path) as server:
        server.await_listening()
        pairs = _pairs_until_the_end(server)
        code = server.wait()

    assert code == 3
    assert set(pairs) <= {(503, 503, 503)}


def test_when_overloaded(worlds: Callable[..., World], tmp_path: Path) -> None:
    """Too much work is no illness: 429 says it to the client, /ping stays 200."""

    def overload(port: int) -> Offered:
        return asyncio.run(offer(port, per_second=150, seconds=5, seed=1, text=SLOW_WORD))

    with (
        running(worlds(_BUSY).root, "--workers", "2", cwd=tmp_path) as server,
        ThreadPoolExecutor(1) as others,
    ):
        server.await_ready()
        load = others.submit(overload, server.port)
        pairs = []
        while not load.done():
            pairs.append(_pair(server))

    assert _lies(pairs, refused=429) == []
    assert {(before, after) for before, _, after in pairs} == {(200, 200)}
    assert load.result().counts[429] > 0


def test_when_draining(world: World, tmp_path: Path) -> None:
    """Balancers are told to look away while whoever still asks is answered."""
    with running(world.root, "--lame-duck", "20", cwd=tmp_path) as server:
        server.await_ready()
        server.signal(SIGTERM)
        while server.call("GET", "/ping").status == 200:
            pass  # until the signal has arrived
        draining = [_pair(server) for _ in range(10)]
        server.signal(SIGTERM)
        draining += _pairs_until_the_end(server)
        code = server.wait()

    assert set(draining) == {(503, 200, 503)}
    assert code == 0


def test_when_late(world: World, tmp_path: Path) -> None:
    """Long before a worker counts as hanging, and only for as long as it stands still."""
    with running(world.root, cwd=tmp_path) as server, ThreadPoolExecutor(1) as other:
        server.await_ready()
        with held(server):
            stalled: Future[Reply] = other.submit(server.ask, "w1")
            pings = _pings_until(server, 503)
        pings += _pings_until(server, 200)
        answer = stalled.result()
        after = [_pair(server) for _ in range(20)]

    assert answer.status == 200, "its worker was ended, or nobody waited for it"
    assert not any(line["event"] == "worker hangs" for line in server.log)
    assert set(pings) == {200, 503}
    assert set(after) == {(200, 200, 200)}


@pytest.mark.parametrize("how", [RAISES, NAN])
def test_when_failing(world: World, tmp_path: Path, how: str) -> None:
    """A graph that falls ill is found by its failures; that it is well again is found without a request."""
    with running(world.root, cwd=tmp_path, env=falling_ill(tmp_path)) as server:
        server.await_ready()
        make_ill(tmp_path, how)
        failed = [server.ask("w1").status for _ in range(3)]
        pings = _pings_until(server, 503)
        server.await_event("worker lost")
        pairs = [_pair(server) for _ in range(20)]
        server.await_event("worker not replaced")
        pairs += [_pair(server) for _ in range(20)]
        make_well(tmp_path)
        pings += _pings_until(server, 200)
        after = [_pair(server) for _ in range(20)]

    assert failed == [500] * 3
    assert set(pairs) == {(503, 503, 503)}
    assert set(pings) == {200, 503}
    assert set(after) == {(200, 200, 200)}


def test_when_wedged(worlds: Callable[..., World], tmp_path: Path) -> None:
    """A request that the model does not get done turns /ping, and recovery turns it back.

    Only /ping is asked until it turns: a request would wait behind the one that stalls, and be answered
    when all is over.
    """
    world = worlds(_STALLING)
    deadline = {"TRACESHIP_DEADLINE_SECONDS": "4"}
    with running(world.root, cwd=tmp_path, env=deadline) as server, ThreadPoolExecutor(1) as other:
        server.await_ready()
        with no_forks(server):
            stalled: Future[Reply] = other.submit(server.ask, SLOW_WORD)
            pings = _pings_until(server, 503)
        pairs = [_pair(server)]
        while not stalled.done() or pairs[-1] != (200, 200, 200):
            pairs.append(_pair(server))
        answer = stalled.result()
        after = [_pair(server) for _ in range(20)]

    assert answer.status in {503, 504}
    assert set(pings) == {200, 503}
    assert _lies(pairs) == []
    assert set(after) == {(200, 200, 200)}
