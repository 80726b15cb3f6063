"""States that last until a test has looked at them, however slow the machine or quick the server is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from signal import SIGCONT, SIGSTOP

from tests.inference_code.running import RunningServer
from tests.inference_code.test_proving_workers import changed
from tests.inference_code.test_workers import fork_servers, workers

_GO = "go on"
_WAITS = f"""\
import os
import sys
import time
from pathlib import Path

if "inference_code.workers.program" in sys.orig_argv:
    server = os.getppid()
    while not Path({_GO!r}).exists() and os.getppid() == server:
        time.sleep(0.01)
"""


def held_start(folder: Path) -> dict[str, str]:
    """An environment in which a server that runs in ``folder`` stays "starting" until ``go_on``."""
    return changed(folder, _WAITS)


def go_on(folder: Path) -> None:
    """Let the workers of that server load."""
    (folder / _GO).touch()


@contextlib.contextmanager
def held(server: RunningServer) -> Iterator[None]:
    """Its workers stand still: what they run takes until the end of the block, and what waits, waits.

    Not for longer than three quarters of the deadline: then they count as hanging. After two seconds
    /ping says that they are late.
    """
    with _stopped(workers(server)):
        yield


@contextlib.contextmanager
def no_forks(server: RunningServer) -> Iterator[None]:
    """A worker that is lost is not replaced before the end of the block, which is to come within seconds."""
    with _stopped(fork_servers(server)):
        yield


@contextlib.contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGCONT)
