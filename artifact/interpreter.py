"""How one of our modules is started in a process of its own."""

from __future__ import annotations

import sys


def module_command(module: str, *arguments: str) -> list[str]:
    """``python -m module``, with the current folder kept off the import path.

    A user works in a folder that may well hold an ``artifact/`` or a ``compile/`` of theirs, and
    ``-m`` would import that in place of ours. Python 3.10, which only the container has, knows no
    ``-P``; there the current folder is ours.
    """
    safe = ["-P"] if sys.version_info >= (3, 11) else []
    return [sys.executable, *safe, "-m", module, *arguments]
