"""model.tar.gz in, a trusted manifest out: read once, from a stream, in constant memory.

An artifact has exactly one archive: its manifest first, then its digest, then the files in the
order of their names, each with the one header that ``header`` gives, in a gzip stream of stored
blocks. So the reader never asks whether something is harmless. It knows from the manifest what
must come next, and takes nothing else: no link, no device, no second file of a name, no sparse
file, nothing compressed, no byte after the end. Nothing is unpacked.

Written by ``compile/archive.py`` (docs/decisions/0004-stored-archive.md, 0010-verification.md).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from artifact.errors import ProofFailed, UsageError
from artifact.listing import (
    MAX_MANIFEST_BYTES,
    check_digest,
    digest_file,
    is_plain,
    trusted_manifest,
)
from artifact.manifest import MANIFEST, MANIFEST_DIGEST, File, Manifest
from artifact.refusals import ArtifactChanged, shown

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
STORED_MAX = 65535
"""Content of a stored block; every block but the last holds as much (RFC 1951, 3.2.4)."""
BLOCK_HEADER = struct.Struct("<BHH")
"""1 in the last block, else 0; bytes of content; the same with every bit turned over."""
TRAILER = struct.Struct("<II")
"""CRC-32 of the content, and its length modulo 2**32 (RFC 1952)."""
STOCK_FOLDER = "artifact/"
"""Where the artifact lies in an archive for AWS's own container, whose handler lies in ``code/``."""

_BLOCK = 512
_RECORD = 20 * _BLOCK
_OCTAL_LIMIT = 8**11
_SIZE_LIMIT = 2**63
"""What the tars in use count with; the header's own field would hold a little more."""
_NAME_BYTES, _FOLDER_BYTES = 100, 155
_NAME, _SIZE, _SUM, _KIND, _PREFIX = (
    slice(0, 100),
    slice(124, 136),
    slice(148, 156),
    slice(156, 157),
    slice(345, 500),
)
_KINDS = {
    b"1": "a hard link",
    b"2": "a link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a folder",
    b"6": "a pipe",
    b"S": "a sparse file",
    b"L": "a long name",
    b"K": "a long name",
    b"x": "an extended header",
    b"g": "an extended header",
}


class ArchiveChanged(ProofFailed):
    """The bytes are not those of an archive that traceship wrote."""

    id = "archive-changed"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="this is not an archive that traceship wrote",
            why=why,
            fix="make it again with `traceship archive`, or fetch it again; nothing of it was unpacked",
        )


class MemberUnpackable(UsageError):
    """A file whose name or size no header of a tar can hold."""

    id = "member-unpackable"

    def __init__(self, *, name: str, why: str) -> None:
        super().__init__(
            what=f"{shown(name)} cannot be put into an archive",
            why=why,
            fix="give the file a shorter name or split it, then make the artifact again",
        )


class Readable(Protocol):
    """A file, or the body of an answer."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class PackedArtifact:
    """An archive whose every byte is the one that belongs there. ``digest`` is the manifest's SHA-256."""

    manifest: Manifest
    digest: str


def verify_packed(
    stream: Readable, *, digest: str | None = None, code: Callable[[], Sequence[File]] = tuple
) -> PackedArtifact:
    """Check an archive from its first byte to its last.

    Args:
        digest: SHA-256 of the manifest in hex, from a lock or the command line.
        code: tells what must lie beside the artifact; asked if the archive is for AWS's own container.

    Raises:
        ArchiveChanged, AnotherArtifact, UnknownSchema, ArtifactChanged: see there.
    """
    members = _Members(_content(stream))
    below = members.first()
    data = members.small(MAX_MANIFEST_BYTES)
    written = digest_file("0" * 64)
    members.begin(below + MANIFEST_DIGEST, len(written))
    manifest, found = trusted_manifest(data, members.small(len(written)), digest)
    rest = [File(path=below + f.path, size=f.size, sha256=f.sha256) for f in manifest.files]
    rest = sorted(rest, key=_by_path) + (sorted(code(), key=_by_path) if below else [])
    members.expect(rest)
    for entry in rest:
        members.begin(entry.path, entry.size)
        check_digest(entry, members.sha256())
    members.end()
    return PackedArtifact(manifest=manifest, digest=found)


def header(name: str, size: int) -> bytes:
    """The tar header (POSIX ustar) of a file: every field but name and size is fixed.

    Args:
        name: at most 100 bytes, or with a folder of up to 155 bytes before the last 100.
        size: in bytes; from 8 GiB on in the binary form that every tar in use reads.

    Raises:
        MemberUnpackable: another name, or 8 EiB and more.
    """
    if size >= _SIZE_LIMIT:
        raise MemberUnpackable(name=name, why=f"it has {size} bytes, a tar holds less than {_SIZE_LIMIT}")
    folder, last = _split(name)
    octal = b"%011o\0" % size if size < _OCTAL_LIMIT else b"\x80" + size.to_bytes(11, "big")
    start = last.ljust(_NAME_BYTES, b"\0") + b"0000644\0" + b"0000000\0" * 2 + octal + b"00000000000\0"
    end = b"0" + bytes(100) + b"ustar\x0000" + bytes(80) + folder.ljust(_FOLDER_BYTES, b"\0") + bytes(12)
    return start + b"%06o\0 " % _sum(start + bytes(8) + end) + end


def padding(size: int) -> bytes:
    """Zeros that fill a file's last block."""
    return bytes(-size % _BLOCK)


def ending(size: int) -> bytes:
    """Two empty blocks, and zeros up to a whole record, after ``size`` bytes of members."""
    return bytes(2 * _BLOCK + -(size + 2 * _BLOCK) % _RECORD)


def _split(name: str) -> tuple[bytes, bytes]:
    """Folder and name as the header's two fields hold them; their limits count bytes."""
    whole = name.encode()
    if len(whole) <= _NAME_BYTES:
        return b"", whole
    at = whole.find(b"/", len(whole) - _NAME_BYTES - 1, -1)
    if not 0 < at <= _FOLDER_BYTES:
        raise MemberUnpackable(
            name=name, why=f"its name has {len(whole)} bytes, which a tar cannot split into 155 and 100"
        )
    return whole[:at], whole[at + 1 :]


def _sum(block: bytes) -> int:
    """A header's checksum: its bytes added up, the eight of the checksum itself as blanks."""
    return sum(block) - sum(block[_SUM]) + 8 * ord(" ")


def _by_path(entry: File) -> str:
    return entry.path


def _content(stream: Readable) -> Iterator[bytes]:
    """What the gzip stream holds, block by block; whatever is not exactly ours is refused."""
    if _exactly(stream, len(GZIP_HEADER)) != GZIP_HEADER:
        raise ArchiveChanged(why="it does not begin with the gzip header that traceship writes")
    crc, length, last = 0, 0, False
    while not last:
        flag, size, inverse = BLOCK_HEADER.unpack(_exactly(stream, BLOCK_HEADER.size))
        if flag > 1:
            raise ArchiveChanged(why="it is compressed; traceship stores, so that nothing can swell")
        last = flag == 1
        if size ^ inverse != 0xFFFF or (size != STORED_MAX and not last) or size == 0:
            raise ArchiveChanged(why=f"the block after {length} bytes of content is damaged")
        block = _exactly(stream, size)
        crc, length = zlib.crc32(block, crc), length + size
        yield block
    if _exactly(stream, TRAILER.size) != TRAILER.pack(crc, length & 0xFFFFFFFF):
        raise ArchiveChanged(why="its checksum is not the one of its content")
    if stream.read(1):
        raise ArchiveChanged(why="something follows its end")


def _exactly(stream: Readable, size: int) -> bytes:
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise ArchiveChanged(why="it ends in the middle")
        data += more
    return data


class _Members:
    """The files of a tar, each of which must be the one that is expected."""

    def __init__(self, content: Iterator[bytes]) -> None:
        self._content = content
        self._left = memoryview(b"")
        self._size = 0
        self._length = 0
        self._seen: set[str] = set()
        self._expected: set[str] = set()

    def first(self) -> str:
        """Begin with the manifest; return the folder that it lies in."""
        block = self._take(_BLOCK)
        size = _number(block[_SIZE])
        for below in ("", STOCK_FOLDER):
            if size is not None and size < _SIZE_LIMIT and block == header(below + MANIFEST, size):
                self._begun(below + MANIFEST, size)
                return below
        raise self._refusal(block, MANIFEST, None)

    def expect(self, rest: Sequence[File]) -> None:
        """Tell what is still to come, for the words of a refusal."""
        self._expected = {entry.path for entry in rest}

    def begin(self, name: str, size: int) -> None:
        """Read the header of the next file, which must be this one."""
        block = self._take(_BLOCK)
        try:
            wanted = header(name, size)
        except MemberUnpackable as error:
            raise ArtifactChanged(file=name, why=error.why) from None
        if block != wanted:
            raise self._refusal(block, name, size)
        self._begun(name, size)

    def small(self, limit: int) -> bytes:
        """The file that was begun."""
        if self._size > limit:
            raise ArtifactChanged(file=MANIFEST, why=f"it has {self._size} bytes, the limit is {limit}")
        return b"".join(self._body())

    def sha256(self) -> str:
        """Of the file that was begun, in hex."""
        digest = hashlib.sha256()
        for piece in self._body():
            digest.update(piece)
        return digest.hexdigest()

    def end(self) -> None:
        """What follows the last file: zeros up to a whole record, and then nothing."""
        zeros = ending(self._length)
        block = self._take(_BLOCK)
        if any(block):
            raise self._refusal(block, None, None)
        if any(self._take(len(zeros) - _BLOCK)) or self._left or next(self._content, None) is not None:
            raise ArchiveChanged(why="data follows its last file")

    def _begun(self, name: str, size: int) -> None:
        self._seen.add(name)
        self._size = size

    def _body(self) -> Iterator[bytes | memoryview]:
        yield from self._pieces(self._size)
        if any(self._take(-self._size % _BLOCK)):
            raise ArchiveChanged(why="data lies between its files")

    def _take(self, size: int) -> bytes:
        return b"".join(self._pieces(size))

    def _pieces(self, size: int) -> Iterator[bytes | memoryview]:
        self._length += size
        while size:
            if not self._left:
                block = next(self._content, None)
                if block is None:
                    raise ArchiveChanged(why="its last file is cut off")
                self._left = memoryview(block)
            piece = self._left[:size]
            self._left = self._left[len(piece) :]
            size -= len(piece)
            yield piece

    def _refusal(self, block: bytes, name: str | None, size: int | None) -> ProofFailed:
        """Why ``block`` is not the header of ``name``; none is expected where that is ``None``."""
        if not any(block):
            return ArtifactChanged(file=name or "", why="it is missing, the archive ends before it")
        if _number(block[_SUM].rstrip(b" ")) != _sum(block):
            return ArchiveChanged(
                why=f"the header {f'of {name}' if name else 'after its last file'} is damaged"
            )
        found, kind = _path(block), block[_KIND]
        if kind != b"0":
            return ArchiveChanged(why=f"it holds {_KINDS.get(kind, 'something special')}, {shown(found)}")
        if not is_plain(found):
            return ArchiveChanged(why=f"it holds {found!a}, which is not a plain relative path")
        if found in self._seen:
            return ArchiveChanged(why=f"it holds {found} twice")
        if name is not None and found != name and (found in self._expected or not self._expected):
            return ArtifactChanged(file=name, why=f"it is missing, {found} is in its place")
        if found != name:
            return ArtifactChanged(file=found, why="the manifest does not name it")
        if size is not None and _number(block[_SIZE]) != size:
            return ArtifactChanged(
                file=found, why=f"it has {_number(block[_SIZE])} bytes, the manifest says {size}"
            )
        return ArchiveChanged(why=f"{found} has another owner, mode or time than traceship gives it")


def _path(block: bytes) -> str:
    parts = [block[field].partition(b"\0")[0].decode(errors="backslashreplace") for field in (_PREFIX, _NAME)]
    return "/".join(part for part in parts if part)


def _number(field: bytes) -> int | None:
    """A number of a tar header, or ``None`` where there is none."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.rstrip(b"\0 ")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None
