"""A folder on this machine: what it holds, and the digest of each file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from artifact.manifest import File
from compile.sources.errors import ModelNotFound, SourceUnreadable


def local_folder(source: str) -> Path:
    """The folder that the user named.

    Raises:
        ModelNotFound: nothing is there, or a file.
    """
    folder = Path(source).expanduser()
    if not folder.exists():
        raise ModelNotFound(source=source, why="no such file or folder")
    if not folder.is_dir():
        raise ModelNotFound(source=source, why="it is not a folder")
    return folder


def file_names(folder: Path) -> set[str]:
    """Names of the files directly in ``folder``; links count as what they lead to.

    Raises:
        SourceUnreadable: the folder cannot be listed.
    """
    try:
        return {path.name for path in folder.iterdir() if path.is_file()}
    except OSError as error:
        raise SourceUnreadable(file=str(folder), why=error.strerror or str(error)) from error


def read(path: Path) -> bytes:
    """The whole of a small file.

    Raises:
        SourceUnreadable: it cannot be opened.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceUnreadable(file=str(path), why=error.strerror or str(error)) from error


def hash_file(folder: Path, name: str) -> File:
    """Size and SHA-256 of the file ``name`` of ``folder``, read in pieces.

    Raises:
        SourceUnreadable: it cannot be opened or read.
    """
    digest = hashlib.sha256()
    size = 0
    try:
        with (folder / name).open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise SourceUnreadable(file=str(folder / name), why=error.strerror or str(error)) from error
    return File(path=name, size=size, sha256=digest.hexdigest())
