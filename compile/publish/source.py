"""A local file, and whether an object in S3 is that file.

An object put in one piece has the file's own SHA-256 as its checksum. One made of parts has a
checksum of their checksums, which is computed here from the same cut of the local file and never
taken from what somebody wrote beside it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from artifact.descriptors import check_descriptors
from artifact.verify import ArtifactChanged
from compile.publish.bucket import Head
from compile.publish.parts import encoded, hash_file


@dataclass(frozen=True)
class Source:
    """A local file and the key it goes to. ``sha256``: of the whole file, in hex, as the manifest has it."""

    path: Path
    key: str
    size: int
    sha256: str
    shown: str

    @property
    def checksum(self) -> str:
        """S3's checksum of the file in one piece."""
        return encoded(bytes.fromhex(self.sha256))


def is_right(head: Head, source: Source) -> bool:
    """Whether the object is the file.

    Raises:
        ArtifactChanged: the local file is not what the manifest says, so nothing can be compared with it.
    """
    if head.size != source.size or head.checksum is None:
        return False
    if "-" not in head.checksum:
        return head.checksum == source.checksum
    with opened(source) as file:
        local = hash_file(file, source.size)
    if local.sha256 != source.sha256:
        raise changed(source)
    return head.checksum == local.composite


def opened(source: Source) -> BinaryIO:
    """The file, for reading.

    Raises:
        ArtifactChanged: it is gone, or cannot be read any more.
        TooFewDescriptors: see there.
    """
    try:
        return source.path.open("rb")
    except OSError as error:
        check_descriptors(error, doing=f"read {source.shown}")
        why = f"it was there, and now it cannot be opened ({error.strerror})"
        raise ArtifactChanged(file=source.shown, why=why) from error


def changed(source: Source) -> ArtifactChanged:
    """The error for a file that was verified and then became another."""
    return ArtifactChanged(file=source.shown, why="it changed while it was published")


def read(source: Source) -> bytes:
    with opened(source) as file:
        data = file.read(source.size + 1)
    if hashlib.sha256(data).hexdigest() != source.sha256:
        raise changed(source)
    return data
