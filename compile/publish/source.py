"""A local file, and whether an object in S3 is that file.

An object put in one piece has the file's own SHA-256 as its checksum. One made of parts has a
checksum of their checksums, which is made here of the digests of the same cut of the local file and
never taken from what somebody wrote beside it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from artifact.descriptors import check_descriptors
from artifact.verify import ArtifactChanged
from compile.cut import PartHash, composite, encoded, parts_of
from compile.publish.bucket import Head
from compile.publish.parts import chunks


@dataclass(frozen=True)
class Source:
    """A local file and the key it goes to.

    Args:
        sha256: of the whole file, in hex, as the manifest has it; None where only parts were hashed.
        digests: SHA-256 of each part, of the very bytes that were verified; None where nobody cut them.
    """

    path: Path
    key: str
    size: int
    shown: str
    sha256: str | None
    digests: tuple[bytes, ...] | None

    @property
    def checksum_whole(self) -> str | None:
        """S3's checksum of the file in one piece, if it is known."""
        if self.sha256 is not None:
            return encoded(bytes.fromhex(self.sha256))
        return encoded(self.digests[0]) if self.digests is not None and len(self.digests) == 1 else None


def is_right(head: Head, source: Source) -> bool:
    """Whether the object is the file.

    Raises:
        ArtifactChanged: the local file is not what the manifest says, so nothing can be compared with it.
    """
    if head.size != source.size or head.checksum is None:
        return False
    if "-" not in head.checksum:
        return head.checksum == source.checksum_whole
    return head.checksum == composite(source.digests or cut_digests(source))


def cut_digests(source: Source) -> tuple[bytes, ...]:
    """Of each part, from a pass over the file that compares it with the manifest too.

    Raises:
        ArtifactChanged: see ``is_right``.
    """
    whole, cut = hashlib.sha256(), PartHash(source.size)
    with opened(source) as file:
        for part in parts_of(source.size):
            for chunk in chunks(file, part):
                whole.update(chunk)
                cut.update(chunk)
    if whole.hexdigest() != source.sha256:
        raise changed(source)
    return cut.digests()


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


def read(source: Source) -> tuple[bytes, str]:
    """A file that goes in one piece, and its checksum as S3 writes it.

    Raises:
        ArtifactChanged: it is not the file that was verified.
    """
    with opened(source) as file:
        data = file.read(source.size + 1)
    digest = hashlib.sha256(data).digest()
    if (digest,) != source.digests:
        raise changed(source)
    return data, encoded(digest)
