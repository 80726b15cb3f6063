"""How a file is cut into parts, and the checksum that S3 then has of an object made of them.

A file has one cut, which its size alone decides: every process that continues an upload, and
everyone who asks whether an object is right, arrives at the same parts.

Source of the limits: Amazon S3 user guide, "Amazon S3 multipart upload limits". Source of the
composite checksum: the same, "Checking object integrity", checksums of checksums.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

_MIB = 1024**2
MIN_PART_BYTES = 8 * _MIB
"""Also the largest file that goes in one piece. S3 takes parts of 5 MiB; fewer and larger ones
need fewer round trips, and a few of them under way at once still take little memory."""
MAX_PARTS = 10_000
MAX_OBJECT_BYTES = 5 * 1024**4


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


class PartHash:
    """SHA-256 of each part of a file of ``size`` bytes, which come by in order and in any pieces."""

    def __init__(self, size: int) -> None:
        self._sizes = [part.size for part in parts_of(size)]
        self._digest = hashlib.sha256()
        self._left = self._sizes[0]
        self._done: list[bytes] = []

    def update(self, data: bytes | memoryview) -> None:
        """The next bytes; those beyond the size count to the last part, so that it fits nothing."""
        view = memoryview(data)
        while len(view) > self._left and len(self._done) + 1 < len(self._sizes):
            self._digest.update(view[: self._left])
            view = view[self._left :]
            self._done.append(self._digest.digest())
            self._digest, self._left = hashlib.sha256(), self._sizes[len(self._done)]
        self._digest.update(view)
        self._left -= len(view)

    def digests(self) -> tuple[bytes, ...]:
        """One for each part that began."""
        return (*self._done, self._digest.digest())
