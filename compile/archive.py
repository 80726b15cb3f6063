"""model.tar.gz with the same bytes on every machine.

What it looks like is said by ``artifact/packed.py``, which reads it back: the manifest first, the
files in the order of their names, and nothing in it that depends on time, place or user. It is
written as a stream: memory does not grow with the artifact, each file is hashed as it goes by, and
the archive's own hash and the writing have threads of their own. What is going to be uploaded gets
the digests of its parts here too, from the same pass (``cut.py``).
"""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from artifact.canonical import encode
from artifact.listing import digest_file
from artifact.manifest import MANIFEST, MANIFEST_DIGEST
from artifact.packed import (
    BLOCK_HEADER,
    GZIP_HEADER,
    STORED_MAX,
    TRAILER,
    ending,
    header,
    padding,
)
from artifact.verify import ListedArtifact
from compile.cut import PartHash, composite, encoded, in_one_piece
from compile.durable import naming

_AT_ONCE = 32
"""Parts, such as a block and its header, that are written together."""
_CHUNK = 1 << 20
_AHEAD = 4
"""Times as many that may wait to be written."""


@dataclass(frozen=True)
class Member:
    """A file of the archive: its name there, its size in bytes, and how to get exactly so many."""

    name: str
    size: int
    chunks: Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Archive:
    """A written archive: where, how many bytes, and their SHA-256 in hex."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Parcel:
    """A written archive that is going to be uploaded beside the files that are in it.

    Args:
        size: in bytes.
        digests: SHA-256 of each of its parts.
        files: the same for each member that has more than one, by its name.
    """

    path: Path
    size: int
    digests: tuple[bytes, ...]
    files: Mapping[str, tuple[bytes, ...]]

    @property
    def checksum(self) -> str:
        """S3's checksum of it, once it is there."""
        return encoded(self.digests[0]) if in_one_piece(self.size) else composite(self.digests)


def member_of(name: str, data: bytes) -> Member:
    """A small file that is in memory."""
    return Member(name=name, size=len(data), chunks=lambda: [data])


def artifact_members(artifact: ListedArtifact, *, below: str = "") -> list[Member]:
    """The artifact's own files as members, each verified again when it is read.

    Args:
        below: folder inside the archive, with a slash at the end; "" is the root.
    """
    manifest = [
        member_of(below + MANIFEST, encode(artifact.manifest)),
        member_of(below + MANIFEST_DIGEST, digest_file(artifact.digest)),
    ]
    return manifest + [
        Member(name=below + file.path, size=file.size, chunks=partial(artifact.chunks, file.path))
        for file in sorted(artifact.manifest.files, key=lambda file: file.path)
    ]


def write_archive(members: Iterable[Member], out: Path) -> Archive:
    """Write ``members``, in their order, as a deterministic tar.gz.

    The caller owns ``out`` until it is whole; after an error it is gone.

    Raises:
        ArtifactChanged: a file changed meanwhile.
        MemberUnpackable: see there.
    """
    digest = hashlib.sha256()
    size = _write(members, out, digest, lambda _member: None)
    return Archive(path=out, size=size, sha256=digest.hexdigest())


def write_parcel(members: Sequence[Member], out: Path) -> Parcel:
    """Write an archive as ``write_archive`` does, and cut it and its members for an upload."""
    digest = PartHash(_packed_size(members))
    cut = {member.name: PartHash(member.size) for member in members if not in_one_piece(member.size)}
    size = _write(members, out, digest, lambda member: cut.get(member.name))
    files = {name: hashed.digests() for name, hashed in cut.items()}
    return Parcel(path=out, size=size, digests=digest.digests(), files=files)


def parcel_there(path: Path) -> Parcel:
    """An archive that was written before, cut again; of its members nothing is known."""
    size = path.stat().st_size
    digest = PartHash(size)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return Parcel(path=path, size=size, digests=digest.digests(), files={})


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


def _write(
    members: Iterable[Member], out: Path, digest: _Digest, cut: Callable[[Member], PartHash | None]
) -> int:
    """Bytes of the written archive, which ``digest`` has seen; ``cut`` sees a member's own, if any does."""
    try:
        with (
            naming(out),
            out.open("wb") as file,
            _Behind() as cutting,
            _StoredGzip(file, digest) as sink,
        ):
            for member in members:
                sink.write(header(member.name, member.size))
                parts = cut(member)
                for chunk in member.chunks():
                    if parts is not None:
                        cutting.do(partial(parts.update, chunk))
                    sink.write(chunk)
                sink.write(padding(member.size))
            sink.write(ending(sink.length))
            sink.finish()
            cutting.settle()
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return sink.written


def _packed_size(members: Iterable[Member]) -> int:
    """Bytes of an archive before it is written."""
    length = sum(
        len(header(member.name, member.size)) + member.size + len(padding(member.size)) for member in members
    )
    length += len(ending(length))
    blocks = -(-length // STORED_MAX)
    return len(GZIP_HEADER) + length + blocks * BLOCK_HEADER.size + TRAILER.size


class _StoredGzip:
    """A write-only gzip stream of stored deflate blocks (RFC 1951, 3.2.4; RFC 1952).

    What is framed is hashed and written by a thread of its own.
    """

    def __init__(self, file: BinaryIO, digest: _Digest) -> None:
        self._file = file
        self._digest = digest
        self._writing = _Behind()
        self._block: list[memoryview] = []
        self._room = STORED_MAX
        self._framed: list[bytes | memoryview] = []
        self._crc = 0
        self.length = 0
        self.written = 0
        self._emit([GZIP_HEADER])

    def write(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self.length += len(data)
        left = memoryview(data)
        # The last block carries the final mark, so a full one stays back until there is more.
        while len(left) > self._room:
            self._block.append(left[: self._room])
            left = left[self._room :]
            self._end_block(last=False)
        self._block.append(left)
        self._room -= len(left)
        if len(self._framed) >= _AT_ONCE:
            self._hand_over()

    def finish(self) -> None:
        self._end_block(last=True)
        self._framed.append(TRAILER.pack(self._crc, self.length & 0xFFFFFFFF))
        self._hand_over()
        self._writing.settle()

    def __enter__(self) -> _StoredGzip:
        return self

    def __exit__(self, *_: object) -> None:
        self._writing.stop()

    def _end_block(self, *, last: bool) -> None:
        size = sum(map(len, self._block))
        self._framed += [BLOCK_HEADER.pack(last, size, size ^ 0xFFFF), *self._block]
        self._block, self._room = [], STORED_MAX

    def _hand_over(self) -> None:
        self._writing.do(partial(self._emit, self._framed))
        self._framed = []

    def _emit(self, parts: list[bytes | memoryview]) -> None:
        data = b"".join(parts)
        self._file.write(data)
        self._digest.update(data)
        self.written += len(data)


class _Behind:
    """A thread that does one thing after the other, at most ``_AHEAD`` of them outstanding."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._outstanding: deque[Future[None]] = deque()

    def do(self, work: Callable[[], None]) -> None:
        """Have it done; raises what an earlier one raised."""
        if len(self._outstanding) >= _AHEAD:
            self._outstanding.popleft().result()
        self._outstanding.append(self._thread.submit(work))

    def settle(self) -> None:
        """Wait for all of it; raises what one of them raised."""
        while self._outstanding:
            self._outstanding.popleft().result()

    def stop(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> _Behind:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
