"""A part of a file: its bytes in memory, or as the body of a request. How it is cut: ``compile/cut.py``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from compile.cut import MIN_PART_BYTES, Part

HELD_PART_BYTES = MIN_PART_BYTES
"""Largest part that is read into memory before it is sent; a larger one is sent from the file."""
_CHUNK = 1024**2


def chunks(file: BinaryIO, part: Part) -> Iterator[bytes]:
    """The part's bytes, a MiB at a time, fewer where the file ends early. Moves no file position."""
    at, end = part.offset, part.offset + part.size
    while at < end and (chunk := os.pread(file.fileno(), min(_CHUNK, end - at), at)):
        yield chunk
        at += len(chunk)


def hold(file: BinaryIO, part: Part) -> bytearray:
    """The part's bytes in memory, fewer where the file ends early."""
    held = bytearray(part.size)
    view, at = memoryview(held), 0
    while at < part.size and (got := os.preadv(file.fileno(), [view[at:]], part.offset + at)):
        at += got
    view.release()
    del held[at:]
    return held


class FilePart:
    """A part as the file-like body of a request, for parts too large to hold in memory.

    S3 compares what arrives with the checksum, so a file that changes between hashing and
    sending is refused there.
    """

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self._file = file
        self._part = part
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        left = self._part.size - self._at
        wanted = left if size is None or size < 0 else min(size, left)
        data = os.pread(self._file.fileno(), wanted, self._part.offset + self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._part.size}[whence]
        self._at = max(0, min(self._part.size, base + offset))
        return self._at

    def tell(self) -> int:
        return self._at
