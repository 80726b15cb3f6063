"""One ship of a project at a time. The kernel drops the lock of a process that dies."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artifact.errors import Conflict
from compile.cache.locks import removing

FILE = "ship.lock"


class ShipRunning(Conflict):
    """Another process ships this project, or cleans up after its ships."""

    id = "ship-running"

    def __init__(self, *, owner: str, path: Path) -> None:
        super().__init__(
            what="another traceship is at work in this project",
            why=f"{owner} holds {path}",
            fix="wait until it has ended, then run this again; a process that died holds nothing",
        )


@contextmanager
def alone(state: Path, doing: str) -> Iterator[None]:
    """Hold the state folder. ``doing`` is the command, for whoever comes second.

    Raises:
        ShipRunning: another process holds it.
    """
    state.mkdir(parents=True, exist_ok=True)
    path = state / FILE
    with removing(path) as free:
        if not free:
            raise ShipRunning(owner=_owner(path), path=path)
        since = time.strftime("%H:%M:%S")
        path.write_text(json.dumps({"pid": os.getpid(), "doing": doing, "since": since}))
        yield


def _owner(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"process {found['pid']} (`{found['doing']}`, since {found['since']})"
    except (OSError, ValueError, KeyError):
        return "a process that has only just started"
