"""What every start of a worker has in common: its process, its channel, its arena, and what it is told."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from artifact.descriptors import check_descriptors
from artifact.sealed import Sealed
from inference_code.workers.arena import Arena
from inference_code.workers.cores import TUNABLES, Share
from inference_code.workers.messages import MAX_BYTES, Start

PROGRAM = (sys.executable, "-m", "inference_code.workers.program")
BUFFER = 4 * MAX_BYTES


class Process(Protocol):
    """A child of this process, as ``subprocess.Popen`` has it."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """The exit code, or minus the signal, once there is one."""

    def wait(self) -> int: ...

    def kill(self) -> None: ...


@dataclass(frozen=True)
class Begun:
    """A worker's process, and the server's ends of what it shares with it."""

    process: Process
    channel: socket.socket
    arena: Arena

    def discard(self) -> None:
        """Nobody will use it: end it."""
        self.process.kill()
        self.process.wait()
        self.channel.close()
        self.arena.close()


@contextlib.contextmanager
def discarded_on_error(begun: Sequence[Begun]) -> Iterator[None]:
    """All of them or none.

    Raises:
        TooFewDescriptors: whatever was refused was refused because too many files are open.
    """
    try:
        yield
    except BaseException as error:
        for one in begun:
            one.discard()
        check_descriptors(error, doing="start the workers")
        raise


class Starter(Protocol):
    """Starts workers."""

    async def start(self, shares: Sequence[Share], patience: float) -> list[Begun]:
        """A worker for each share, all or none; ``patience``: seconds until the graphs must be loaded."""

    async def close(self) -> None:
        """No more will be started; those that were live on."""


class Adopted:
    """A child that another process forked for this one: its parent is this process, by inheritance."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None

    @property
    def pid(self) -> int:
        return self._pid

    def poll(self) -> int | None:
        return self._waited(os.WNOHANG)

    def wait(self) -> int:
        code = self._waited(0)
        assert code is not None, "waitpid(2) came back without a child"
        return code

    def kill(self) -> None:
        # Until its exit code is taken nobody else can have its number.
        if self.poll() is None:
            os.kill(self._pid, signal.SIGKILL)

    def _waited(self, options: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self._pid, options)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code


def channel() -> tuple[socket.socket, socket.socket]:
    """The server's end and the other one; each packet is a message."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    return ours, theirs


def spawned(
    start: Start, theirs: socket.socket, environ: Mapping[str, str], program: Sequence[str]
) -> Process:
    """A process that runs ``program`` with its end of the channel, what it is told, and all that this names.

    Call from the main thread, with whose end the kernel ends the child.

    Raises:
        MemoryFileRefused: there is no memory file.
    """
    with Sealed([msgspec.msgpack.encode(start)]) as sealed:
        arena = () if start.own is None else (start.own.arena,)
        return subprocess.Popen(
            [*program, str(theirs.fileno()), str(sealed.descriptor)],
            pass_fds=(theirs.fileno(), sealed.descriptor, *arena, *start.files.values()),
            env=_environ(environ),
            stdin=subprocess.DEVNULL,
            # A terminal's Ctrl-C is for the server, which lets its workers finish.
            start_new_session=True,
        )


def _environ(more: Mapping[str, str]) -> dict[str, str]:
    """This process's, and ``more``; of the one variable that is a list, what the operator set stays, too."""
    found = {**os.environ, **more}
    if TUNABLES in os.environ and TUNABLES in more:
        found[TUNABLES] = f"{more[TUNABLES]}:{os.environ[TUNABLES]}"
    return found


def descriptors(files: Mapping[str, Sealed]) -> dict[str, int]:
    """As ``Start`` names them."""
    return {path: file.descriptor for path, file in files.items()}
