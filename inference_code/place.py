"""Where a fetched artifact is put together, and how it gets its name.

Normally in a temporary folder beside the target, which one rename puts in place. A target that
is a mount point (a container's volume) cannot be renamed, and what is beside it may be read-only
or another file system: then in a folder inside it, whose parts are moved up one by one. Until
the last of them is there that folder marks the place as ours and unfinished, so that the next
run starts over; a reader refuses it, since ``artifact.verify`` takes no file too many or too few.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from artifact.descriptors import check_descriptors
from artifact.errors import Conflict, TraceshipError
from artifact.manifest import MANIFEST, MANIFEST_DIGEST

_INSIDE = ".incoming"


class CannotWrite(TraceshipError):
    """The folder cannot be made: no permission, no space, a file in the way."""

    id = "cannot-write"

    def __init__(self, *, path: Path, why: str) -> None:
        super().__init__(
            what=f"the artifact cannot be written to {path}",
            why=why,
            fix="choose another folder with --to, or make room and give this user the right to write",
        )


class PlaceTaken(Conflict):
    """The folder holds something that is no artifact; it is left alone."""

    id = "place-taken"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            what=f"{path} is in the way",
            why="it holds files that are no artifact of ours",
            fix="move it away, or choose another folder with --to",
        )


@contextlib.contextmanager
def staged(to: Path) -> Iterator[Path]:
    """A folder to fill for ``put``; gone afterwards whatever happens.

    Raises:
        PlaceTaken: ``to`` holds files that are not ours; nothing was touched.
        CannotWrite: whatever the file system said, also to the code inside the ``with``.
    """
    _check(to)
    try:
        with _inside(to) if _is_fixed(to) else _beside(to) as folder:
            yield folder
    except OSError as error:
        if error.errno is None:
            raise
        check_descriptors(error, doing=f"write the artifact to {to}")
        raise CannotWrite(path=to, why=error.strerror or errno.errorcode[error.errno]) from error


def put(folder: Path, to: Path) -> None:
    """Make the staged, whole ``folder`` the content of ``to``, in place of an older artifact."""
    if folder.parent == to:
        _clear(to, folder)
        # The digest file goes last: without it nothing verifies.
        for entry in sorted(folder.iterdir(), key=lambda path: path.name == MANIFEST_DIGEST):
            entry.rename(to / entry.name)
        return
    folder.chmod(0o755)
    if to.is_dir() and any(to.iterdir()):
        with _beside(to) as old:
            to.rename(old / "replaced")
            folder.rename(to)
        return
    folder.rename(to)


def _check(to: Path) -> None:
    unfinished = (to / _INSIDE).is_dir()
    if to.is_dir() and any(to.iterdir()) and not unfinished and not _is_whole(to):
        raise PlaceTaken(path=to)


def _is_whole(to: Path) -> bool:
    return (to / MANIFEST).is_file() and (to / MANIFEST_DIGEST).is_file()


def _is_fixed(to: Path) -> bool:
    return to.is_dir() and (to.is_mount() or not os.access(to.parent, os.W_OK))


@contextlib.contextmanager
def _beside(to: Path) -> Iterator[Path]:
    to.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _inside(to: Path) -> Iterator[Path]:
    folder = to / _INSIDE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        for entry in folder.iterdir():
            _remove(entry)
        # Half moved, the empty marker stays: what lies beside it is ours to clear.
        if _is_whole(to) or [entry.name for entry in to.iterdir()] == [_INSIDE]:
            folder.rmdir()


def _clear(to: Path, folder: Path) -> None:
    for entry in to.iterdir():
        if entry != folder:
            _remove(entry)


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
