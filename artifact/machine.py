"""How many cores and how much memory this process may still use, containers included.

A container sees the whole machine in /proc; its limits are in the control groups, version 2
(``memory.max``, ``cpu.max``) or version 1 (``memory.limit_in_bytes``, ``cpu.cfs_quota_us``).
Elsewhere than on Linux nothing is known of memory.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED = 1 << 60
"""Version 1 writes about 2^63 where there is no limit."""


@dataclass(frozen=True)
class Machine:
    """Where to read. Tests give other roots."""

    proc: Path = Path("/proc")
    groups: Path = Path("/sys/fs/cgroup")

    def available_memory(self) -> int | None:
        """Bytes that can still be allocated: the least of machine and control groups; None: not known."""
        found = [*self._of_machine(), *self._of_groups_2(), *self._of_groups_1()]
        return max(0, min(found)) if found else None

    def cores(self) -> int:
        """Processors that this process may use, at least 1."""
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min([allowed, *(math.ceil(quota) for quota in self._quotas())]))

    def _of_machine(self) -> Iterator[int]:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", _text(self.proc / "meminfo"), flags=re.MULTILINE)
        if match:
            yield 1024 * int(match[1])

    def _of_groups_2(self) -> Iterator[int]:
        """Page cache that may be dropped counts as free, as it does in MemAvailable."""
        for group in self._folders("", self.groups):
            limit, used = _number(group / "memory.max"), _number(group / "memory.current")
            if limit is not None and used is not None:
                yield limit - used + _stat(group, "inactive_file")

    def _of_groups_1(self) -> Iterator[int]:
        for group in self._folders("memory", self.groups / "memory"):
            limit, used = _number(group / "memory.limit_in_bytes"), _number(group / "memory.usage_in_bytes")
            if limit is not None and used is not None and limit < _UNLIMITED:
                yield limit - used + _stat(group, "total_inactive_file")

    def _quotas(self) -> Iterator[float]:
        """Processors' worth of time that the control groups grant."""
        for group in self._folders("", self.groups):
            words = _text(group / "cpu.max").split()
            if len(words) == 2 and words[0].isdigit():
                yield int(words[0]) / int(words[1])
        for group in self._folders("cpu", self.groups / "cpu"):
            quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
            if quota is not None and period:
                yield quota / period

    def _folders(self, controller: str, root: Path) -> Iterator[Path]:
        """This process's control group and those around it, each of which limits.

        ``/proc/self/cgroup`` has lines ``ID:CONTROLLERS:PATH``; version 2 has no controllers
        there. In a container the path is often not below the root that is mounted: then only
        the root itself is there to be read.
        """
        for line in _text(self.proc / "self/cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if controller not in controllers.split(","):
                continue
            own = root / path.lstrip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _stat(group: Path, key: str) -> int:
    match = re.search(rf"^{key} (\d+)$", _text(group / "memory.stat"), flags=re.MULTILINE)
    return int(match[1]) if match else 0
