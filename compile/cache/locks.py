"""One process at a time works on a key. The kernel drops the lock of a process that dies.

``flock`` and not ``lockf``: the lock belongs to the open file, so that two threads of one process
exclude each other too, and a child does not inherit it across ``exec``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, exclusive: bool, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file ``path``, made if it is not there; readers share it.

    Args:
        waiting: called once if somebody else holds it, before the wait.

    Raises:
        OSError: the file cannot be made or locked.
    """
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    descriptor = _try(path, kind)
    if descriptor is None:
        waiting()
        descriptor = _wait(path, kind)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def removing(path: Path) -> Iterator[bool]:
    """Hold ``path`` alone if nobody else does, and remove the lock file in the end.

    Yields:
        False, at once, where somebody holds it; the file stays then.
    """
    descriptor = _try(path, fcntl.LOCK_EX)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _try(path: Path, kind: int) -> int | None:
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)


def _wait(path: Path, kind: int) -> int:
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, kind)
        except BaseException:
            os.close(descriptor)
            raise
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file that was locked is the one that has the name: it may have been removed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
