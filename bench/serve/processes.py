"""What a server's processes use, and what everybody else on the machine does. Linux, from /proc.

A server is everything below the process that was started, and everything in its session: some
peers' launchers end and leave their real server behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 8.0


@dataclass(frozen=True)
class _Stat:
    parent: int
    session: int
    cpu_seconds: float


class Family:
    """A started server with all of its processes; ends with the ``with`` block."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, env=dict(env), cwd=cwd, stdout=output, stderr=output, start_new_session=True
            )

    def __enter__(self) -> Family:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def members(self) -> list[int]:
        """Process ids of the server now."""
        first = self._process.pid
        stats = {pid: stat for pid in _pids() if (stat := _stat(pid))}
        known = {pid for pid, stat in stats.items() if first in (pid, stat.session)}
        while more := {pid for pid, stat in stats.items() if stat.parent in known} - known:
            known |= more
        return sorted(known)

    def cpu_seconds(self) -> float:
        """User and system time of all processes that live now."""
        return sum(stat.cpu_seconds for pid in self.members() if (stat := _stat(pid)))

    def pss_bytes(self) -> int:
        """Proportional set size: shared pages count once over all who share them."""
        return sum(_pss(pid) for pid in self.members())

    def _stop(self) -> None:
        members = self.members()
        _signal(members[:1], signal.SIGTERM)
        until = time.monotonic() + _STOP_SECONDS
        while any(_stat(pid) for pid in self.members()) and time.monotonic() < until:
            self._process.poll()
            time.sleep(0.05)
        _signal([*self.members(), *(pid for pid in members if self._mine(pid))], signal.SIGKILL)
        self._process.wait()

    def _mine(self, pid: int) -> bool:
        stat = _stat(pid)
        return stat is not None and stat.session == self._process.pid


def busy_seconds() -> float:
    """Processor time of everybody since the machine's start, without idling and waiting for disks."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICK


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _stat(pid: int) -> _Stat | None:
    """None where it is gone, or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name is in brackets and may hold anything; proc(5) counts the fields from the state on.
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return _Stat(
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICK,
    )


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
