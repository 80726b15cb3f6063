"""Become a server process that cannot outlive the local AWS. Run by path, before the server.

``python -I -S replicas_child.py PARENT_PID ARGV…`` asks the kernel to kill this process when the
thread that started it ends, then replaces itself with ARGV. ``replicas.py`` starts each child from
a thread that waits for it, so not even SIGKILL of the local AWS leaves orphans.
Elsewhere than on Linux there is no such request; there the shut-down hook is all there is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Source: prctl(2). The setting survives execve of an ordinary program."""


def main(argv: list[str]) -> None:
    """Replace this process; returns only by raising."""
    parent, command = int(argv[1]), argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the local AWS ended before its server started")
    os.execv(command[0], command)  # noqa: S606 - the command is ours, and there is no shell


if __name__ == "__main__":
    main(sys.argv)
