"""Workers that are forks of one process, the fork server, which has loaded the graphs.

They share its memory, torch and packed weights included, until they write to it, and a new one is there
at once. ``forking.py`` is the fork server's side. Workers are the server's children, not the fork
server's: they live on if it dies, and the next start makes another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from artifact.errors import TraceshipError
from artifact.manifest import Manifest
from inference_code.threads import in_thread
from inference_code.workers.arena import Arena
from inference_code.workers.beginning import (
    PROGRAM,
    Adopted,
    Begun,
    Process,
    channel,
    descriptors,
    discarded_on_error,
    spawned,
)
from inference_code.workers.cores import Share
from inference_code.workers.faults import WorkerEnded, WorkerHangs, WorkerRefused
from inference_code.workers.messages import (
    MAX_BYTES,
    Fork,
    Forked,
    FromForkServer,
    Loaded,
    Refused,
    Start,
)
from inference_code.workers.supply import Supply

_FORK_SECONDS = 10.0
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""numpy's, which multiplies nothing here, would start at its import; who has several must not fork."""
_PR_SET_CHILD_SUBREAPER = 36


class ForksUnsafe(TraceshipError):
    """The graphs' process has more than one thread: a fork of it may hang."""

    id = "forks-unsafe"

    def __init__(self, *, threads: int) -> None:
        super().__init__(
            what="workers cannot be forked",
            why=f"what loaded the graphs runs {threads} threads" if threads else "prctl(2) was refused",
            fix="nothing is needed: each worker loads the graphs by itself, and takes more memory",
        )


class ForkServerHangs(TraceshipError):
    """What workers are forked from is there and does not fork."""

    id = "fork-server-hangs"

    def __init__(self, *, number: int, seconds: float) -> None:
        super().__init__(
            what=f"worker {number} was not forked",
            why=f"the fork server had not answered after {seconds:g} seconds, and was ended",
            fix="nothing is needed: the next try starts another one; if it comes back, look for a process "
            "that was stopped, and for processor time or memory that ran out",
        )


class NoProcess(TraceshipError):
    """The kernel gave no process for a worker."""

    id = "no-process"

    def __init__(self, *, number: int) -> None:
        super().__init__(
            what=f"worker {number} cannot be forked",
            why="the kernel gave no process",
            fix="look at the limits of processes and memory (ulimit -u, the container's pids limit)",
        )


@dataclass(frozen=True)
class _Running:
    process: Process
    control: socket.socket
    packed: bool

    def end(self) -> None:
        self.control.close()
        self.process.kill()
        self.process.wait()


class ForkServer:
    """A ``Starter``. Use on one event loop, in the main thread."""

    def __init__(self, manifest: Manifest, supply: Supply, program: Sequence[str] = PROGRAM) -> None:
        self._manifest = manifest
        self._supply = supply
        self._program = program
        self._one_at_a_time = asyncio.Lock()
        self._running: _Running | None = None

    async def start(self, shares: Sequence[Share], patience: float) -> list[Begun]:
        """See ``Starter``; call from the main thread.

        Raises:
            ForksUnsafe: it must not be done here.
            WorkerRefused, WorkerEnded, WorkerHangs: the graphs could not be loaded, or it is gone.
            ForkServerHangs: it does not answer.
            ArtifactChanged: the graphs are loaded anew, and a file is no longer what was verified.
            NoProcess, MemoryFileRefused, TooFewDescriptors: the kernel refused.
        """
        begun: list[Begun] = []
        async with self._one_at_a_time:
            with discarded_on_error(begun):
                for share in shares:
                    begun.append(await self._begun(share, patience))
        return begun

    async def close(self) -> None:
        """End the fork server; its workers stay."""
        self._end()

    def _end(self) -> None:
        if self._running is not None:
            self._running.end()
        self._running = None

    async def _begun(self, share: Share, patience: float) -> Begun:
        running = await self._loaded(share, patience)
        arena = Arena(self._manifest, share.slots)
        ours, theirs = channel()
        fork = Fork(number=share.number, server=os.getpid(), slots=share.slots, threads=share.threads)
        try:
            with theirs, contextlib.suppress(ConnectionError):
                given = [theirs.fileno(), arena.descriptor]
                socket.send_fds(running.control, [msgspec.msgpack.encode(fork)], given)
            try:
                answer = await self._heard(running, share, _FORK_SECONDS)
            except WorkerHangs:
                raise ForkServerHangs(number=share.number, seconds=_FORK_SECONDS) from None
            if not isinstance(answer, Forked) or not answer.pid:
                raise NoProcess(number=share.number)
            return Begun(Adopted(answer.pid), ours, arena)
        except BaseException:
            ours.close()
            arena.close()
            raise

    async def _loaded(self, share: Share, patience: float) -> _Running:
        """A fork server that has the graphs as this share wants them."""
        there = self._running
        if there is not None and there.process.poll() is None and there.packed == share.pack:
            return there
        self._end()
        # Whoever loses its parent becomes a child of this process (prctl(2)).
        if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise ForksUnsafe(threads=0)
        with await in_thread(self._supply.files) as files:
            start = Start(
                manifest=self._manifest,
                digest=self._supply.digest,
                files=descriptors(files),
                pack=share.pack,
                own=None,
            )
            ours, theirs = channel()
            with theirs:
                environ = {**share.environ, **_ONE_THREAD}
                running = _Running(spawned(start, theirs, environ, self._program), ours, share.pack)
        self._running = running
        ours.setblocking(False)
        answer = await self._heard(running, share, patience)
        if isinstance(answer, Refused):
            self._end()
            raise WorkerRefused(answer)
        if isinstance(answer, Loaded) and answer.threads > 1:
            self._end()
            raise ForksUnsafe(threads=answer.threads)
        return running

    async def _heard(self, running: _Running, share: Share, seconds: float) -> FromForkServer:
        """Its next message; if there is none, it is ended."""
        loop = asyncio.get_running_loop()
        try:
            packet = await asyncio.wait_for(loop.sock_recv(running.control, MAX_BYTES), seconds)
        except asyncio.TimeoutError:
            self._end()
            raise WorkerHangs(number=share.number, seconds=seconds) from None
        except ConnectionError:
            packet = b""
        if packet:
            answer: FromForkServer = msgspec.msgpack.decode(packet, type=FromForkServer)
            return answer
        code = await in_thread(running.process.wait)
        self._end()
        raise WorkerEnded(number=share.number, code=code)
