"""Names and files below one folder, without following a link anywhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from artifact.descriptors import check_descriptors
from artifact.listing import folders_of
from artifact.manifest import File
from artifact.refusals import ArtifactChanged, shown

_CHUNK = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_names(root: Path, expected: set[str]) -> None:
    """Compare what lies below ``root`` with ``expected``; the first surplus ends the search.

    Raises:
        ArtifactChanged: something is missing, surplus, or neither a file nor a folder.
    """
    folders, found = folders_of(expected), set()
    for path, mode in _walk(root, folders):
        if path not in expected and (path not in folders or not stat.S_ISDIR(mode)):
            _refuse_surplus(root, path, expected, folders, mode)
        if path in expected and not stat.S_ISREG(mode):
            raise ArtifactChanged(file=path, why=f"it is {_KINDS[stat.S_IFMT(mode)]}, not a regular file")
        found.add(path)
    for path in sorted(expected - found):
        raise ArtifactChanged(file=path, why="it is missing")


def read_small(root: Path, path: str, limit: int) -> bytes:
    """A file of at most ``limit`` bytes.

    Raises:
        ArtifactChanged: it is larger, no regular file, or cannot be read.
    """
    with os.fdopen(_opened(root, path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ArtifactChanged(file=path, why=f"it has {size} bytes, the limit is {limit}")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ArtifactChanged(file=path, why="it grew while it was read")
    return data


def chunks(root: Path, entry: File) -> Iterator[bytes]:
    """The bytes of a file, exactly as many as ``entry`` says. Opened once; not yet hashed.

    Raises:
        ArtifactChanged: it has another size, is no regular file, or cannot be read.
    """
    with os.fdopen(_opened(root, entry.path), "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size != entry.size:
            raise ArtifactChanged(file=entry.path, why=f"it has {size} bytes, the manifest says {entry.size}")
        left = size
        while left and (chunk := file.read(min(left, _CHUNK))):
            left -= len(chunk)
            yield chunk
        if left or file.read(1):
            raise ArtifactChanged(file=entry.path, why="its size changed while it was read")


def _walk(root: Path, folders: set[str]) -> Iterator[tuple[str, int]]:
    """Path and mode of everything below ``root``, going into ``folders`` only."""
    inside = [""]
    while inside:
        folder = inside.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    path = folder + entry.name
                    mode = entry.stat(follow_symlinks=False).st_mode
                    yield path, mode
                    if path in folders and stat.S_ISDIR(mode):
                        inside.append(f"{path}/")
        except OSError as error:
            check_descriptors(error, doing="look at the artifact")
            raise ArtifactChanged(
                file=folder or ".", why=f"the folder cannot be read ({error.strerror})"
            ) from None


def _refuse_surplus(root: Path, path: str, expected: set[str], folders: set[str], mode: int) -> None:
    if path in folders:
        kind = _KINDS.get(stat.S_IFMT(mode), "a file")
        raise ArtifactChanged(file=path, why=f"it is {kind}, not a folder")
    for missing in sorted(expected):
        if not os.path.lexists(root / missing):
            raise ArtifactChanged(
                file=missing, why=f"it is missing; {shown(path)}, which the manifest does not name, is there"
            )
    raise ArtifactChanged(file=path, why="the manifest does not name it")


def _opened(root: Path, path: str) -> int:
    """A descriptor of the regular file ``path``; no part of it is followed if it is a link."""
    *parents, name = path.split("/")
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        check_descriptors(error, doing="read the artifact")
        raise ArtifactChanged(
            file=path, why=f"the artifact's folder cannot be opened any more ({error.strerror})"
        ) from None
    try:
        for parent in parents:
            inner = os.open(parent, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        check_descriptors(error, doing="read the artifact")
        raise ArtifactChanged(
            file=path, why=f"it cannot be opened as a plain file ({error.strerror})"
        ) from None
    finally:
        os.close(folder)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise ArtifactChanged(file=path, why=f"it is {_KINDS[stat.S_IFMT(mode)]}, not a regular file")
    return descriptor
