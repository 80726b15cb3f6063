"""Workers that die, hang, or cannot start, as the server's clients and its platform see it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvloop

from inference_code.load import verified
from inference_code.packing import can_pack
from inference_code.rows import Row
from inference_code.workers.cores import SLOTS, Share
from inference_code.workers.pool import Pool
from tests.inference_code.running import CHECKOUT, RunningServer, environment, running
from tests.kit.handmade import Recipe, World

BUSY = Recipe(buckets=((1, 8),), busy=60)
"""Some hundredths of a second for each inference."""
SECONDS = 60.0


def children(server: RunningServer, called: str) -> list[int]:
    """Process ids of the server's children whose names begin so, in the order of their start."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                name, _, rest = (folder / "stat").read_text(encoding="utf-8").rpartition(")")
                fields = rest.split()
                state, parent, started = fields[0], int(fields[1]), int(fields[19])
                if (
                    parent == server.process.pid
                    and state != "Z"
                    and name.partition("(")[2].startswith(called)
                ):
                    found.append((started, int(folder.name)))
    return [pid for _, pid in sorted(found)]


THREADED = """\
import sys
import threading

if "inference_code.workers.program" in sys.orig_argv:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
"""A fork server that may not fork: each worker is a program that loads the graphs by itself, as on Inf1."""


@pytest.fixture(params=["forks", "programs"])
def env(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Of servers whose workers are started in the one way, and in the other."""
    if request.param == "forks":
        return {}
    (tmp_path / "sitecustomize.py").write_text(THREADED, encoding="utf-8")
    return {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"}


def workers(server: RunningServer) -> list[int]:
    """Process ids of the server's workers."""
    return children(server, "worker-")


def fork_servers(server: RunningServer) -> list[int]:
    """Process ids of what its workers are forked from: one, or none."""
    return children(server, "fork-server")


def await_that(happened: Callable[[], bool], why: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline, why
        threading.Event().wait(0.02)


def ended(pid: int) -> bool:
    """Whether the process is gone, or only its exit code is left."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def mapped(pid: int, name: str) -> set[str]:
    """Inodes of the files of that name which a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text(encoding="ascii").splitlines()
    return {line.split()[4] for line in lines if name in line}


def test_a_killed_worker_costs_its_own_requests_only(
    worlds: Callable[..., World], tmp_path: Path, env: dict[str, str]
) -> None:
    """503 that says so, /ping fails while there is none, and another one serves the same answers."""
    world = worlds(BUSY)
    with running(world.root, cwd=tmp_path, env=env) as server, ThreadPoolExecutor(4) as clients:
        server.await_ready()
        (pid,) = workers(server)
        asked = [clients.submit(server.ask, "w1 w2") for _ in range(4)]
        threading.Event().wait(0.05)
        for loaded in fork_servers(server):
            os.kill(loaded, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        server.await_event("worker lost")
        between = server.call("GET", "/ping").status
        for loaded in fork_servers(server):
            os.kill(loaded, signal.SIGCONT)
        replies = [future.result() for future in asked]
        server.await_event("worker replaced")
        await_that(lambda: server.call("GET", "/ping").status == 200, "never well again")
        after = server.ask("w1 w2")
        restarts = server.metric("traceship_worker_restarts_total", worker="0")
        up = server.metric("traceship_worker_up", worker="0")

    assert between == 503
    assert (restarts, up) == (1, 1)
    assert {reply.status for reply in replies} <= {200, 503}
    lost = [reply for reply in replies if reply.status == 503]
    assert {reply.json["error"] for reply in lost} <= {"worker-lost", "not-ready"}
    assert all(reply.headers["retry-after"] == "1" for reply in lost)
    assert after.status == 200


def test_with_two_workers_one_death_is_hardly_noticed(
    worlds: Callable[..., World], tmp_path: Path, env: dict[str, str]
) -> None:
    """/ping stays 200 and requests are answered while the other is started and proven."""
    world = worlds(BUSY)
    with running(world.root, cwd=tmp_path, env={**env, "TRACESHIP_WORKERS": "2"}) as server:
        server.await_ready()
        first, second = workers(server)
        shared = mapped(first, "memfd:sealed") & mapped(second, "memfd:sealed")
        os.kill(first, signal.SIGKILL)
        server.await_event("worker lost")
        pings = [server.call("GET", "/ping").status for _ in range(5)]
        answers = [server.ask("w1 w2").status for _ in range(5)]
        server.await_event("worker replaced")
        third = next(pid for pid in workers(server) if pid not in (first, second))
        still_shared = mapped(third, "memfd:sealed") & mapped(second, "memfd:sealed")

    assert pings == [200] * 5
    assert answers == [200] * 5
    assert len(shared) == 1, "the weights lie in memory twice"
    assert still_shared == shared
    assert all(ended(pid) for pid in (first, second, third))


def test_a_worker_that_hangs_is_replaced_and_its_request_fails_in_time(
    worlds: Callable[..., World], tmp_path: Path, env: dict[str, str]
) -> None:
    """Stopped in the middle, as by a driver that never answers: 503 before the deadline."""
    limits = {**env, "TRACESHIP_DEADLINE_SECONDS": "30"}
    recipe = Recipe(buckets=((1, 8),))
    with running(worlds(recipe).root, cwd=tmp_path, env=limits) as server:
        server.await_ready()
        (pid,) = workers(server)
        os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        reply = server.ask("w1")
        took = time.monotonic() - started
        server.await_event("worker hangs")
        server.await_event("worker replaced")
        after = server.ask("w1")

    assert (reply.status, reply.json["error"]) == (503, "worker-lost")
    assert took < 30
    assert after.status == 200
    assert ended(pid)


def test_an_idle_worker_that_hangs_is_noticed_too(world: World, tmp_path: Path, env: dict[str, str]) -> None:
    """/ping must not say 200 for longer than the beat while nothing would be answered."""
    with running(world.root, cwd=tmp_path, env=env) as server:
        server.await_ready()
        (pid,) = workers(server)
        os.kill(pid, signal.SIGSTOP)
        server.await_event("worker hangs")
        server.await_event("worker replaced")

        assert server.ask("w1").status == 200


def test_no_worker_outlives_a_killed_server(world: World, tmp_path: Path, env: dict[str, str]) -> None:
    """NeuronCores of an orphan would be taken for good."""
    with running(world.root, cwd=tmp_path, env={**env, "TRACESHIP_WORKERS": "2"}) as server:
        server.await_ready()
        pids = [*workers(server), *fork_servers(server)]
        server.process.kill()
        server.process.wait()

        assert len(pids) == (2 if "PYTHONPATH" in env else 3)
        await_that(lambda: all(ended(pid) for pid in pids), "a worker outlives its server")


def test_a_worker_is_not_replaced_from_files_that_changed(
    copied: World, tmp_path: Path, env: dict[str, str]
) -> None:
    """Graphs that are read anew must be those that were verified."""
    with running(copied.root, cwd=tmp_path, env=env) as server:
        server.await_ready()
        (pid,) = workers(server)
        graph = copied.root / "graphs/b1_s8.pt"
        graph.write_bytes(graph.read_bytes()[:-1] + b"x")
        for loaded in fork_servers(server):
            os.kill(loaded, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        # The first try may come while the fork server is dying, and is told of that.
        server.await_line(lambda line: line["event"] == "worker not replaced" and "b1_s8.pt" in line["why"])
        ping = server.call("GET", "/ping")

    assert ping.status == 503
    assert ping.json["error"] == "not-ready"


def test_signals_to_the_whole_group_leave_the_workers_to_the_server(
    world: World, tmp_path: Path, env: dict[str, str]
) -> None:
    """A service manager's SIGTERM goes to every process: what was accepted is still answered."""
    with running(world.root, "--lame-duck", "20", cwd=tmp_path, env=env) as server:
        server.await_ready()
        pids = [*workers(server), *fork_servers(server)]
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)

        assert server.ask("w1").status == 200
        assert not any(ended(pid) for pid in pids)


_PROGRAMS = {
    "refuses": (
        "from artifact.graphs import GraphUnreadable\n"
        "def load(manifest, take): raise GraphUnreadable(why='it is broken')\n",
        "graph-unreadable",
        3,
        "it is broken",
    ),
    "raises": ("def load(manifest, take): raise ValueError\n", "worker-ended", 1, "exit code 1"),
    "hangs": (
        "import threading\ndef load(manifest, take): threading.Event().wait()\n",
        "worker-hangs",
        1,
        "after 3 seconds",
    ),
    "dies": ("import os\ndef load(manifest, take): os.kill(os.getpid(), 9)\n", "worker-ended", 1, "memory"),
}


@pytest.mark.parametrize(("loader", "error", "code", "why"), _PROGRAMS.values(), ids=_PROGRAMS)
def test_a_worker_that_cannot_start_ends_the_server(
    world: World, tmp_path: Path, loader: str, error: str, code: int, why: str
) -> None:
    """With the worker's own reason and exit code, so that the platform's log tells."""
    (tmp_path / "broken.py").write_text(
        f"{loader}from inference_code.workers.program import run_to_the_end\n"
        "if __name__ == '__main__': run_to_the_end(load)\n",
        encoding="utf-8",
    )
    server = (
        "import sys\nfrom pathlib import Path\nfrom inference_code import log\n"
        "from inference_code.__main__ import refused\n"
        "from inference_code.options import serve_options\nfrom inference_code.server import serve\n"
        "from artifact.errors import TraceshipError\n"
        "lines = log.configure()\n"
        "import inference_code.workers.pool as pool\n"
        "pool._LOADING_SECONDS = 3.0 if 'hangs' in sys.argv[3] else 60.0\n"
        "options = serve_options({'TRACESHIP_WORKERS': '1'}, path=sys.argv[1], port='0')\n"
        "try: serve(options, lines, (sys.executable, sys.argv[2]))\n"
        "except TraceshipError as error: sys.exit(refused(error))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", server, str(world.root), str(tmp_path / "broken.py"), error],
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert ran.returncode == code
    assert f'"error": "{error}"' in ran.stderr
    assert why in ran.stderr


@pytest.mark.skipif(not can_pack(), reason="this torch has no packed linear layers")
def test_packed_weights_that_fail_the_self_check_are_done_without(world: World, tmp_path: Path) -> None:
    """A processor on which they round otherwise serves the plain graphs, and says so."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'inference_code.workers.program' in sys.orig_argv:\n"
        "    from inference_code import packing\n"
        "    def wrong(graph):\n"
        "        return lambda *inputs: tuple(output + 1 for output in graph(*inputs))\n"
        "    packing.packed = lambda graphs: {name: wrong(graph) for name, graph in graphs.items()}\n",
        encoding="utf-8",
    )
    env = {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"}
    with running(world.root, cwd=tmp_path, env=env) as server:
        server.await_ready()
        said = server.await_event("weights are not packed")

        assert server.ask("w1").status == 200
    assert "golden case" in said["why"]


@pytest.mark.skipif(not can_pack(), reason="this torch has no packed linear layers")
def test_weights_that_cannot_be_packed_are_served_as_they_are(world: World, tmp_path: Path) -> None:
    """Of a type that oneDNN does not take; the worker's own line says where it comes from, too."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'inference_code.workers.program' in sys.orig_argv:\n"
        "    from inference_code import packing\n"
        "    def refused(graphs):\n"
        "        raise RuntimeError('no such type')\n"
        "    packing.packed = refused\n",
        encoding="utf-8",
    )
    env = {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}", "TRACESHIP_INSTANCE": "i-0123456789abcdef0"}
    with running(world.root, cwd=tmp_path, env=env) as server:
        server.await_ready()
        said = server.await_event("weights are not packed")

        assert said["why"] == "no such type"
        assert (said["instance"], said["release"]) == ("i-0123456789abcdef0", world.digest[:12])
        assert server.ask("w1").status == 200


def test_a_batch_that_no_message_holds_fails_and_not_its_worker(world: World, tmp_path: Path) -> None:
    """At the start it is the self-check that fails, with the reason and the exit code of a proof."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'serve' in sys.orig_argv:\n"
        "    from inference_code.workers import process\n"
        "    process.MAX_BYTES = 20\n",
        encoding="utf-8",
    )
    env = {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"}
    with running(world.root, cwd=tmp_path, env=env) as server:
        assert server.wait() == 3
        refused = server.await_event("refused")

    assert refused["error"] == "selfcheck-failed"
    assert "more places at once" in refused["why"]


def test_a_worker_starts_from_nothing_that_could_still_change() -> None:
    """What it is told is sealed, as the graphs are."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "inference_code.workers.program", str(theirs.fileno()), str(descriptor)],
            pass_fds=(theirs.fileno(), descriptor),
            env=environment({}),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    finally:
        ours.close(), theirs.close(), os.close(descriptor)

    assert ran.returncode != 0
    assert "not sealed" in ran.stderr


def test_only_the_batch_that_ran_took_time_of_a_lost_worker(world: World) -> None:
    """The one that lay ready behind it did not, or a worker would seem busier than there is time."""
    model, row = verified(world.root), Row(ids=[1, 2], types=[0, 0])

    async def lost() -> list[float]:
        pool = Pool(model, [Share(number=0, slots=SLOTS)], deadline=20.0)
        await pool.start()
        (worker,) = pool.workers
        os.kill(worker.pid, signal.SIGSTOP)
        seconds: list[float] = []
        for _ in range(SLOTS):
            worker.start(model.manifest.buckets[0], [row], lambda _found, took: seconds.append(took))
        await asyncio.sleep(0.2)
        worker.end()
        await pool.close()
        return seconds

    ran, waited = uvloop.run(asyncio.wait_for(lost(), SECONDS))

    assert ran >= 0.2
    assert waited == 0
