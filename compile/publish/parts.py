"""How a file is cut into parts, and the checksum that S3 has of an object made of them.

A file has one cut, which its size alone decides: every process that continues an upload, and
everyone who asks whether an object is right, arrives at the same parts.

Source of the limits: Amazon S3 user guide, "Amazon S3 multipart upload limits". Source of the
composite checksum: the same, "Checking object integrity", checksums of checksums.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

_MIB = 1024**2
MIN_PART_BYTES = 8 * _MIB
"""Also the largest file that goes in one piece. S3 takes parts of 5 MiB; fewer and larger ones
need fewer round trips, and a few of them under way at once still take little memory."""
MAX_PARTS = 10_000
MAX_OBJECT_BYTES = 5 * 1024**4
HELD_PART_BYTES = MIN_PART_BYTES
"""Largest part that is read into memory before it is sent; a larger one is sent from the file."""
_CHUNK = _MIB


@dataclass(frozen=True)
class Part:
    """Bytes ``offset`` to ``offset + size`` of a file. ``number`` counts from 1, as S3 does."""

    number: int
    offset: int
    size: int


def part_size(size: int) -> int:
    """Bytes of every part but the last, for a file of ``size`` bytes: whole MiB, at least 8."""
    smallest = -(-size // MAX_PARTS)
    return max(MIN_PART_BYTES, -(-smallest // _MIB) * _MIB)


def parts_of(size: int) -> list[Part]:
    """The cut of a file of ``size`` bytes; one part for an empty one."""
    each = part_size(size)
    return [
        Part(number=i + 1, offset=offset, size=min(each, size - offset))
        for i, offset in enumerate(range(0, max(size, 1), each))
    ]


def in_one_piece(size: int) -> bool:
    """Whether a file goes as one PutObject, whose checksum is then the file's own SHA-256."""
    return size <= MIN_PART_BYTES


def encoded(digest: bytes) -> str:
    """A digest as S3 writes it in headers and answers."""
    return base64.b64encode(digest).decode()


def composite(digests: Sequence[bytes]) -> str:
    """S3's checksum of an object whose parts have these SHA-256 digests, in order."""
    return f"{encoded(hashlib.sha256(b''.join(digests)).digest())}-{len(digests)}"


@dataclass(frozen=True)
class Hashed:
    """``sha256``: of the whole file, in hex. ``composite``: S3's checksum of it as parts."""

    sha256: str
    composite: str


def hash_file(file: BinaryIO, size: int) -> Hashed:
    """Read the file once for both checksums; with another size than ``size`` they match nothing."""
    whole, digests = hashlib.sha256(), []
    for part in parts_of(size):
        digest = hashlib.sha256()
        for chunk in chunks(file, part):
            digest.update(chunk)
            whole.update(chunk)
        digests.append(digest.digest())
    return Hashed(sha256=whole.hexdigest(), composite=composite(digests))


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
