"""Files on the disk before anybody sees their names.

A rename is atomic, but after a power cut it may show a name whose bytes were never written.
"""

from __future__ import annotations

import os
from pathlib import Path


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
