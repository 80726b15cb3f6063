"""model.tar.gz with the same bytes on every machine.

Members sorted; mode, owner, group and time fixed. The gzip stream holds *stored* blocks that
we frame ourselves: model weights hardly compress, and no two zlib builds promise the same
compressed bytes (docs/decisions/0004-stored-archive.md). Pairs with the platform's unpacking
and ``inference_code/load.py``.
"""

from __future__ import annotations

import hashlib
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from artifact.manifest import MANIFEST, MANIFEST_DIGEST
from artifact.verify import VerifiedArtifact

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_STORED_MAX = 65535


@dataclass(frozen=True)
class Member:
    """A file of the archive: its name there, its size in bytes, and how to get its bytes."""

    name: str
    size: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Archive:
    """A written archive: where, how many bytes, and their SHA-256 in hex."""

    path: Path
    size: int
    sha256: str


def artifact_members(artifact: VerifiedArtifact, *, below: str = "") -> list[Member]:
    """The artifact's own files as members, each verified again when it is read.

    Args:
        below: folder inside the archive, with a slash at the end; "" is the root.
    """
    manifest = _plain_members(artifact.root, (MANIFEST, MANIFEST_DIGEST), below)
    files = [
        Member(name=below + file.path, size=file.size, read=_reader(artifact, file.path))
        for file in artifact.manifest.files
    ]
    return manifest + files


def stock_members(artifact: VerifiedArtifact, *, checkout: Path) -> list[Member]:
    """Members for AWS's stock container: the artifact below ``artifact/``, our handler in ``code/``.

    Args:
        checkout: folder that holds the packages ``artifact`` and ``inference_code``.
    """
    sources = sorted([*checkout.glob("artifact/*.py"), *checkout.glob("inference_code/*.py")])
    packages = _plain_members(checkout, [str(s.relative_to(checkout)) for s in sources], "code/")
    hooks = b"from inference_code.inference import input_fn, model_fn, output_fn, predict_fn  # noqa: F401\n"
    requirements = (checkout / "inference_code/requirements.txt").read_bytes()
    extra = [
        Member(name="code/inference.py", size=len(hooks), read=lambda: hooks),
        Member(name="code/requirements.txt", size=len(requirements), read=lambda: requirements),
    ]
    return artifact_members(artifact, below="artifact/") + packages + extra


def write_archive(members: list[Member], out: Path) -> Archive:
    """Write ``members`` as a deterministic tar.gz. The caller owns ``out`` until it is whole."""
    with out.open("wb") as file:
        sink = _StoredGzip(file)
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.USTAR_FORMAT, bufsize=1 << 20) as tar:  # type: ignore[call-overload]
            for member in sorted(members, key=lambda m: m.name):
                tar.addfile(_header(member), _Once(member.read()))
        sink.finish()
    return Archive(path=out, size=sink.written, sha256=sink.digest.hexdigest())


def _header(member: Member) -> tarfile.TarInfo:
    header = tarfile.TarInfo(member.name)
    header.size = member.size
    header.mode = 0o644
    return header


class _Once:
    """The one method that tarfile asks of a member's file."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self._at = 0

    def read(self, size: int) -> bytes:
        part = self._view[self._at : self._at + size]
        self._at += len(part)
        return bytes(part)


class _StoredGzip:
    """A write-only gzip stream of stored deflate blocks (RFC 1951, 3.2.4; RFC 1952)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pending = bytearray()
        self._crc = 0
        self._length = 0
        self.written = 0
        self.digest = hashlib.sha256()
        self._emit(_GZIP_HEADER)

    def write(self, data: bytes) -> int:
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(data)
        self._pending += data
        whole = len(self._pending) // _STORED_MAX * _STORED_MAX
        # The last block carries the final mark, so at least one byte stays back until finish().
        if whole == len(self._pending):
            whole -= _STORED_MAX
        for block in _blocks(memoryview(self._pending)[:whole]):
            self._emit(struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF) + block)
        if whole > 0:
            self._pending = self._pending[whole:]
        return len(data)

    def finish(self) -> None:
        size = len(self._pending)
        self._emit(struct.pack("<BHH", 1, size, size ^ 0xFFFF) + self._pending)
        self._emit(struct.pack("<II", self._crc, self._length & 0xFFFFFFFF))

    def _emit(self, data: bytes | bytearray) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.written += len(data)


def _blocks(view: memoryview) -> Iterator[bytes]:
    for start in range(0, len(view), _STORED_MAX):
        yield bytes(view[start : start + _STORED_MAX])


def _reader(artifact: VerifiedArtifact, path: str) -> Callable[[], bytes]:
    return lambda: artifact.read(path)


def _plain_members(root: Path, paths: list[str] | tuple[str, ...], below: str) -> list[Member]:
    return [
        Member(name=below + path, size=(root / path).stat().st_size, read=(root / path).read_bytes)
        for path in paths
    ]
