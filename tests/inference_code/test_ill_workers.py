"""Workers that fail at what they are given: ill ones are replaced, poisoned ones are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.inference_code.falling_ill import HANGS, NAN, RAISES, falling_ill, make_ill, make_well
from tests.inference_code.held import no_forks
from tests.inference_code.running import RunningServer, running
from tests.inference_code.test_workers import BUSY, await_that, ended, workers
from tests.kit.handmade import SLOW_WORD, Recipe, World

_TWO = {"TRACESHIP_WORKERS": "2"}


def _said(server: RunningServer, event: str) -> int:
    return sum(line["event"] == event for line in server.log)


@pytest.mark.parametrize("how", [RAISES, NAN])
def test_an_ill_worker_costs_three_requests_and_is_replaced(
    worlds: Callable[..., World], tmp_path: Path, how: str
) -> None:
    """It fails far faster than the other one answers, and must not get the traffic for that."""
    world, env = worlds(BUSY), {**falling_ill(tmp_path), **_TWO}
    with running(world.root, cwd=tmp_path, env=env) as server, ThreadPoolExecutor(4) as clients:
        server.await_ready()
        pids = workers(server)
        make_ill(tmp_path, how, worker=1)
        statuses = Counter(clients.map(lambda _: server.ask("w1").status, range(60)))
        ping = server.call("GET", "/ping").status
        ill = server.await_event("worker ill")
        lost = server.await_event("worker lost")
        failures = server.metric("traceship_batch_failures_total")
        make_well(tmp_path, worker=1)
        server.await_event("worker replaced")
        await_that(lambda: server.metric("traceship_worker_ready") == 2, "one is missing")
        after = Counter(clients.map(lambda _: server.ask("w1").status, range(30)))

    assert statuses == {200: 57, 500: 3}
    assert failures == 3
    assert (ping, ill["worker"], lost["worker"]) == (200, 1, 1)
    assert lost["pid"] == ill["pid"]
    assert ill["pid"] in pids
    assert after == {200: 30}


def test_an_input_that_gives_nan_takes_no_worker_out(worlds: Callable[..., World], tmp_path: Path) -> None:
    """Else whoever has such an input could end all workers of all replicas, one after the other."""
    world = worlds(Recipe(poisoned=True, buckets=((1, 8), (4, 8))))
    with running(world.root, cwd=tmp_path, env=_TWO) as server, ThreadPoolExecutor(4) as clients:
        server.await_ready()
        pids = workers(server)

        def one(at: int) -> tuple[int, int, int]:
            poisoned = server.ask(SLOW_WORD).status
            return poisoned, server.ask("w1").status, server.call("GET", "/ping").status

        found = Counter(clients.map(one, range(100)))
        answer = server.ask([SLOW_WORD, "w1"])
        failures = server.metric("traceship_batch_failures_total")
        checks = server.metric("traceship_worker_checks_total")
        restarts = server.metric("traceship_worker_restarts_total")

        assert workers(server) == pids
    assert found == {(500, 200, 200): 100}
    assert (answer.status, answer.json["error"]) == (500, "inference-failed")
    assert failures > 0
    assert restarts == 0
    assert _said(server, "worker ill") == 0
    assert checks == _said(server, "worker suspected") == _said(server, "worker cleared")


def test_poison_alone_is_checked_once_in_a_while(worlds: Callable[..., World], tmp_path: Path) -> None:
    """With nothing else to answer it looks just like illness, but for the golden cases."""
    world = worlds(Recipe(poisoned=True, buckets=((1, 8),)))
    with running(world.root, cwd=tmp_path) as server:
        server.await_ready()
        statuses = [server.ask(SLOW_WORD).status for _ in range(3)]
        server.await_event("worker cleared")
        answered = server.ask("w1").status
        statuses += [server.ask(SLOW_WORD).status for _ in range(20)]
        pings = [server.call("GET", "/ping").status for _ in range(20)]
        failures = server.metric("traceship_batch_failures_total")

    assert statuses == [500] * 23
    assert answered == 200
    assert pings == [200] * 20
    assert failures == 23
    assert _said(server, "worker lost") == 0


def test_a_check_that_hangs_ends_its_worker(world: World, tmp_path: Path) -> None:
    """/ping says so before the worker is ended, and is well again with the next one."""
    env = {**falling_ill(tmp_path), "TRACESHIP_DEADLINE_SECONDS": "8"}
    with running(world.root, cwd=tmp_path, env=env) as server:
        server.await_ready()
        (pid,) = workers(server)
        make_ill(tmp_path, HANGS)
        statuses = [server.ask("w1").status for _ in range(3)]
        with no_forks(server):
            await_that(lambda: server.call("GET", "/ping").status == 503, "nobody is told")
            hung = _said(server, "worker hangs")
            server.await_event("worker ill")
            ping = server.call("GET", "/ping").status
            make_well(tmp_path)
        server.await_event("worker replaced")
        await_that(lambda: server.call("GET", "/ping").status == 200, "never well again")

        assert server.ask("w1").status == 200
    assert statuses == [500] * 3
    assert (hung, ping) == (0, 503)
    assert ended(pid)
