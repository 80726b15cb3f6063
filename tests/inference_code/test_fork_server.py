"""The process that workers are forked from: what it shares, and what its own end, or silence, costs."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from artifact.descriptors import TooFewDescriptors
from artifact.errors import TraceshipError
from inference_code.load import verified
from inference_code.workers import fork_server as module
from inference_code.workers.beginning import Adopted, Begun
from inference_code.workers.cores import Share
from inference_code.workers.faults import WorkerEnded
from inference_code.workers.fork_server import ForkServer, ForkServerHangs, NoProcess
from inference_code.workers.messages import Fork
from inference_code.workers.programs import Programs
from inference_code.workers.supply import Supply
from tests.inference_code.running import CHECKOUT, running
from tests.inference_code.test_workers import THREADED, await_that, ended, fork_servers, workers
from tests.kit.handmade import World

_MIB = 1024
_SECONDS = 60.0


def memory(pid: int, kind: str) -> int:
    """KiB of a process."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(f"{kind}:"))


def shared_dirty(pid: int) -> int:
    """KiB of a process that it did not write itself, and has no file."""
    return memory(pid, "Shared_Dirty")


def huge_pages() -> bool:
    """Whether programs can ask for them here, by the kernel and by glibc."""
    name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    if name != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        return False
    allowed = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return allowed.exists() and "[never]" not in allowed.read_text(encoding="ascii")


def test_workers_have_the_memory_in_common_that_loading_took(world: World, tmp_path: Path) -> None:
    """Torch alone takes more than a hundred MiB."""
    with running(world.root, cwd=tmp_path, env={"TRACESHIP_WORKERS": "2"}) as server:
        server.await_ready()

        assert [shared_dirty(pid) > 50 * _MIB for pid in workers(server)] == [True, True]


@pytest.mark.skipif(not huge_pages(), reason="no huge pages can be asked for here")
def test_what_was_loaded_lies_in_huge_pages(world: World, tmp_path: Path) -> None:
    """All of the heap; the operator's own tunables are left in force."""
    own = "glibc.malloc.arena_max=1"
    with running(world.root, cwd=tmp_path, env={"GLIBC_TUNABLES": own}) as server:
        server.await_ready()
        (pid,) = fork_servers(server)
        environ = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").split("\0")

        assert memory(pid, "AnonHugePages") > 10 * _MIB
    # glibc ends each of them with a zero, where it lies.
    assert any(own in entry for entry in environ)


def test_workers_live_on_without_it_and_the_next_start_makes_another(world: World, tmp_path: Path) -> None:
    """Its end alone costs no request."""
    with running(world.root, cwd=tmp_path, env={"TRACESHIP_WORKERS": "2"}) as server:
        server.await_ready()
        (first,) = fork_servers(server)
        os.kill(first, signal.SIGKILL)
        await_that(lambda: ended(first), "it lives on")
        pings = [server.call("GET", "/ping").status for _ in range(5)]
        answers = [server.ask("w1 w2").status for _ in range(5)]
        os.kill(workers(server)[0], signal.SIGKILL)
        server.await_event("worker replaced")
        (second,) = fork_servers(server)
        after = server.ask("w1").status

    assert (pings, answers, after) == ([200] * 5, [200] * 5, 200)
    assert first != second
    assert ended(second)


def test_one_that_does_not_answer_is_replaced(world: World, tmp_path: Path) -> None:
    """A worker that is lost meanwhile is started all the same."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'serve' in sys.orig_argv:\n"
        "    from inference_code.workers import fork_server\n"
        "    fork_server._FORK_SECONDS = 1.0\n",
        encoding="utf-8",
    )
    with running(world.root, cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"}) as server:
        server.await_ready()
        (silent,) = fork_servers(server)
        os.kill(silent, signal.SIGSTOP)
        os.kill(workers(server)[0], signal.SIGKILL)
        refused = server.await_event("worker not replaced")
        server.await_event("worker replaced")

        assert server.ask("w1").status == 200
    assert "after 1 seconds" in refused["why"]
    assert ended(silent)


def test_where_a_fork_might_hang_each_worker_loads_by_itself(world: World, tmp_path: Path) -> None:
    """A lock that another thread held would stay locked in the fork for ever."""
    (tmp_path / "sitecustomize.py").write_text(THREADED, encoding="utf-8")
    env = {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}", "TRACESHIP_WORKERS": "2"}
    with running(world.root, cwd=tmp_path, env=env) as server:
        server.await_ready()
        said = server.await_event("workers are not forked")

        assert server.ask("w1").status == 200
        assert fork_servers(server) == []
        assert len(workers(server)) == 2
        assert [shared_dirty(pid) < 50 * _MIB for pid in workers(server)] == [True, True]
    assert "2 threads" in said["why"]


def test_where_no_child_can_be_adopted_each_worker_loads_by_itself(world: World, tmp_path: Path) -> None:
    """A sandbox may refuse prctl(2)."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'serve' in sys.orig_argv:\n"
        "    from inference_code.workers import fork_server\n"
        "    fork_server._PR_SET_CHILD_SUBREAPER = -1\n",
        encoding="utf-8",
    )
    with running(world.root, cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"}) as server:
        server.await_ready()
        said = server.await_event("workers are not forked")

        assert server.ask("w1").status == 200
    assert "prctl" in said["why"]


_ANSWERS = """\
import socket, sys, threading
import msgspec
from inference_code.workers.messages import Forked, Loaded
control = socket.socket(fileno=int(sys.argv[1]))
control.sendall(msgspec.msgpack.encode(Loaded(1)))
control.recv(4096)
"""
_FAULTS = {
    "no process": ("control.sendall(msgspec.msgpack.encode(Forked(0)))\ncontrol.recv(1)\n", 30.0, NoProcess),
    "silence": ("threading.Event().wait()\n", 1.0, ForkServerHangs),
    "its end": ("sys.exit(9)\n", 30.0, WorkerEnded),
}


@pytest.mark.parametrize(("answer", "patience", "error"), _FAULTS.values(), ids=_FAULTS)
def test_what_goes_wrong_at_a_fork_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: str, patience: float, error: type[TraceshipError]
) -> None:
    """And nothing of the worker that did not come to be is left open."""
    monkeypatch.setattr(module, "_FORK_SECONDS", patience)
    model = verified(world.root)
    supply = Supply(model.artifact)
    starter = ForkServer(model.manifest, supply, (sys.executable, "-c", _ANSWERS + answer))

    async def failed() -> None:
        with pytest.raises(error):
            await starter.start([Share(number=0)], _SECONDS)
        await starter.close()

    gc.collect()
    before = _descriptors()
    uvloop.run(asyncio.wait_for(failed(), _SECONDS))
    gc.collect()
    found = _descriptors()
    supply.close()

    assert found == before


def _descriptors() -> list[str]:
    """What is open here of workers: channels and arenas."""
    open_now = [str(Path(f"/proc/self/fd/{entry}").readlink()) for entry in _numbers()]
    return sorted(path for path in open_now if path.startswith(("socket:", "/memfd:arena")))


def _numbers() -> list[str]:
    return [entry.name for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]


@pytest.mark.parametrize("kind", [ForkServer, Programs])
@pytest.mark.parametrize("refused", ["channel", "spawned", "Arena"])
def test_a_limit_of_descriptors_is_told_as_such(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: type[ForkServer | Programs], refused: str
) -> None:
    """Each worker takes two of the server's, and its start takes more."""

    def none_left(*_given: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async def failed() -> None:
        starter = kind(model.manifest, supply)
        with pytest.raises(TooFewDescriptors, match="start the workers"):
            await starter.start([Share(number=0)], _SECONDS)
        await starter.close()

    model = verified(world.root)
    supply = Supply(model.artifact)
    monkeypatch.setattr(sys.modules[kind.__module__], refused, none_left)
    uvloop.run(asyncio.wait_for(failed(), _SECONDS))
    supply.close()


def _begun(world: World, use: Callable[[Begun], None], shares: int = 1) -> None:
    """Have ``use`` look at the last of so many forked workers."""

    async def begin() -> None:
        model = verified(world.root)
        supply = Supply(model.artifact)
        starter = ForkServer(model.manifest, supply)
        begun = await starter.start([Share(number=at) for at in range(shares)], _SECONDS)
        try:
            use(begun[-1])
        finally:
            for one in begun:
                one.discard()
            await starter.close()
            supply.close()

    uvloop.run(asyncio.wait_for(begin(), _SECONDS))


def test_a_worker_whose_server_is_gone_ends_before_it_begins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent would be another process, with whose end nobody would end it."""
    monkeypatch.setattr(module, "Fork", lambda **given: Fork(**{**given, "server": 1}))

    def look(begun: Begun) -> None:
        begun.channel.setblocking(True)
        assert begun.channel.recv(100) == b"", "it began to work"
        assert begun.process.wait() == 0

    _begun(world, look)


def test_a_worker_sees_its_own_channel_close_while_others_live(world: World) -> None:
    """No fork holds an end that belongs to another one."""

    def look(begun: Begun) -> None:
        begun.channel.setblocking(True)
        assert begun.channel.recv(4096), "it did not say that it is ready"
        begun.channel.shutdown(socket.SHUT_WR)
        assert begun.channel.recv(4096) == b""
        assert begun.process.wait() == 0

    _begun(world, look, shares=3)


def test_an_adopted_child_tells_its_end_and_is_not_killed_again() -> None:
    """Its number may belong to another process by then."""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    child = Adopted(pid)

    assert child.wait() == 7
    child.kill()
    assert (child.poll(), child.wait()) == (7, 7)


def test_an_adopted_child_can_be_killed() -> None:
    """As a hanging worker is."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    child = Adopted(pid)

    assert child.poll() is None
    child.kill()
    assert child.wait() == -signal.SIGKILL
