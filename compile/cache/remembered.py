"""Digests of files that have not changed since they were hashed, so that nothing is hashed twice.

A file counts as unchanged while device, inode, size and both times are the same. The change time
cannot be set by a program, so that a file that was rewritten and dated back is hashed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from artifact.manifest import File
from compile.cache.tensors import TensorDigests, tensor_digests
from compile.source import hash_file

_SETTLED_SECONDS = 2.0
"""A file changed this recently could change again within the same tick of its file system's clock
(FAT: 2 s), so its digest is not remembered yet."""

MOST = 1000
"""Notes kept; the oldest go first."""


class Remembered:
    """Notes in ``folder``, one small file for each file and kind of digest.

    A note that cannot be read or written costs time, never a wrong answer and never an error.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, folder: Path, name: str) -> File:
        """Size and SHA-256 of a file, named as in the model's folder; see ``source.hash_file``."""
        path = folder / name
        found = self._recall("file", path, lambda: _size_and_digest(folder, name))
        return File(path=name, size=found["size"], sha256=found["sha256"])

    def tensors(self, path: Path) -> TensorDigests:
        """The digests of a safetensors file's tensors."""
        found = self._recall("tensors", path, lambda: vars(tensor_digests(path)))
        return TensorDigests(tensors=found["tensors"], header=found["header"])

    def prune(self) -> None:
        """Drop the oldest notes above ``MOST``."""
        with contextlib.suppress(OSError):
            notes = sorted(self._folder.iterdir(), key=lambda note: note.stat().st_mtime_ns)
            for note in notes[:-MOST]:
                note.unlink(missing_ok=True)

    def _recall(self, kind: str, path: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        before = _state(path)
        note = self._note(kind, path)
        known = _read(note)
        if before is not None and known is not None and known.get("state") == before:
            answer: dict[str, Any] = known["answer"]
            return answer
        answer = work()
        if before is not None and before == _state(path) and _settled(before):
            self._write(note, {"state": before, "answer": answer})
        return answer

    def _note(self, kind: str, path: Path) -> Path:
        name = hashlib.sha256(os.fsencode(f"{kind}:{path.resolve()}")).hexdigest()
        return self._folder / f"{name}.json"

    def _write(self, note: Path, value: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, partial = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(value, file)
            Path(partial).replace(note)


def _size_and_digest(folder: Path, name: str) -> dict[str, Any]:
    found = hash_file(folder, name)
    return {"size": found.size, "sha256": found.sha256}


def _state(path: Path) -> list[int] | None:
    """What changes whenever the content does; None where the file cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _settled(state: list[int]) -> bool:
    latest = max(state[-2:]) / 1e9
    return latest < time.time() - _SETTLED_SECONDS


def _read(note: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("answer"), dict) else None
