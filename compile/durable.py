"""Files on the disk before anybody sees their names.

A rename is atomic, but after a power cut it may show a name whose bytes were never written. An
error in the middle of a file names it: the kernel's "no space left on device" does not.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artifact.errors import TraceshipError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class NoRoom(TraceshipError):
    """There is no room for a file, or this user may not use more of it."""

    id = "no-room"

    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(
            what=f"there was no room to write {path}",
            why=why,
            fix="make room there, then run the same command again; it goes on where it stopped",
        )


def no_room(error: BaseException, *, place: str) -> NoRoom | None:
    """The error in our words if there was no room. ``place``: what was written, where nothing says so."""
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return None
    return NoRoom(path=os.fsdecode(error.filename) if error.filename else place, why=str(error.strerror))


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of ``path`` in one step: a reader sees the old bytes or the new ones."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with naming(path):
            partial.write_bytes(data)
            sync_file(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the file system that says of no file names ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def sync_tree(folder: Path) -> None:
    """Have every file and folder below ``folder`` on the disk, with the modes of published files."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
            continue
        path.chmod(0o644)
        sync_file(path)
    folder.chmod(0o755)
    sync_folder(folder)


def sync_file(path: Path) -> None:
    """Have the file's bytes on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the folder's list of names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
