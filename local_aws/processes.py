"""Find and end the processes that belong to one state folder, and no others.

A process belongs to a state folder iff its environment carries ``ENV_STATE`` with that folder:
the launcher sets it on the server, and the server hands it on to replicas and jobs. Process
ids alone prove nothing, because they are reused.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from local_aws.names import ENV_STATE

POLL_SECONDS = 0.02
KILL_SECONDS = 10.0
"""A killed process is gone as soon as the kernel gets to it."""


def belonging_to(state: Path) -> list[int]:
    """Ids of the living processes that were started for ``state``, this process excluded."""
    return with_variable(ENV_STATE, str(state))


def with_variable(name: str, value: str) -> list[int]:
    """Ids of the living processes that were started with this variable, this process excluded."""
    mark = f"{name}={value}"
    return [pid for pid, variables in _environments() if mark in variables and pid != os.getpid()]


def end(pids: list[int], *, grace_seconds: float) -> None:
    """Ask the processes to stop, and kill those that still live after the grace period."""
    _signal_all(pids, signal.SIGTERM)
    remaining = _wait(pids, grace_seconds)
    kill(remaining)


def kill(pids: list[int]) -> None:
    """Kill the processes and wait until they are gone."""
    _signal_all(pids, signal.SIGKILL)
    _wait(pids, KILL_SECONDS)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended but was not reaped does not."""
    status = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            return status.read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return bool(listed) and not listed.startswith("Z")


def _wait(pids: list[int], seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    while (living := [pid for pid in pids if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return living


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it ended in the meantime, which is what we wanted
            continue


def _environments() -> Iterator[tuple[int, list[str]]]:
    """Pid and ``KEY=value`` strings of every process of this user."""
    if not Path("/proc/self/environ").exists():
        yield from _environments_from_ps()
        return
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            raw = (folder / "environ").read_bytes()
        except OSError:  # another user's, or gone since the listing
            continue
        yield int(folder.name), os.fsdecode(raw).split("\0")


def _environments_from_ps() -> Iterator[tuple[int, list[str]]]:
    """For systems without /proc. ``ps e`` prints the environment after the command."""
    listing = subprocess.run(
        ["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=True
    ).stdout
    for line in listing.splitlines():
        pid, _, words = line.strip().partition(" ")
        yield int(pid), words.split(" ")
