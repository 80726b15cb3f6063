"""model.tar.gz with the same bytes on every machine.

What it looks like is said by ``artifact/packed.py``, which reads it back: the manifest first, the
files in the order of their names, and nothing in it that depends on time, place or user. It is
written as a stream: memory does not grow with the artifact, each file is hashed as it goes by, and
the archive's own hash and the writing have threads of their own.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from artifact.canonical import encode
from artifact.listing import digest_file
from artifact.manifest import MANIFEST, MANIFEST_DIGEST, File
from artifact.packed import (
    BLOCK_HEADER,
    GZIP_HEADER,
    STOCK_FOLDER,
    STORED_MAX,
    TRAILER,
    ending,
    header,
    padding,
)
from artifact.verify import ListedArtifact
from compile.durable import naming

_AT_ONCE = 32
"""Parts, such as a block and its header, that are written together."""
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


def artifact_members(artifact: ListedArtifact, *, below: str = "") -> list[Member]:
    """The artifact's own files as members, each verified again when it is read.

    Args:
        below: folder inside the archive, with a slash at the end; "" is the root.
    """
    manifest = [
        _member(below + MANIFEST, encode(artifact.manifest)),
        _member(below + MANIFEST_DIGEST, digest_file(artifact.digest)),
    ]
    return manifest + [
        Member(name=below + file.path, size=file.size, chunks=partial(artifact.chunks, file.path))
        for file in sorted(artifact.manifest.files, key=lambda file: file.path)
    ]


def stock_members(artifact: ListedArtifact, *, checkout: Path) -> list[Member]:
    """Members for AWS's stock container: the artifact below ``artifact/``, our handler in ``code/``.

    Args:
        checkout: folder that holds the packages ``artifact`` and ``inference_code``.
    """
    code = [_member(name, data) for name, data in sorted(_code(checkout).items())]
    return artifact_members(artifact, below=STOCK_FOLDER) + code


def code_files(checkout: Path) -> list[File]:
    """What ``stock_members`` puts beside the artifact, for ``artifact.packed.verify_packed``."""
    return [
        File(path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in _code(checkout).items()
    ]


def write_archive(members: Iterable[Member], out: Path) -> Archive:
    """Write ``members``, in their order, as a deterministic tar.gz.

    The caller owns ``out`` until it is whole; after an error it is gone.

    Raises:
        ArtifactChanged: a file changed meanwhile.
    """
    try:
        with naming(out), out.open("wb") as file, _StoredGzip(file) as sink:
            for member in members:
                sink.write(header(member.name, member.size))
                for chunk in member.chunks():
                    sink.write(chunk)
                sink.write(padding(member.size))
            sink.write(ending(sink.length))
            sink.finish()
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return Archive(path=out, size=sink.written, sha256=sink.sha256)


class _StoredGzip:
    """A write-only gzip stream of stored deflate blocks (RFC 1951, 3.2.4; RFC 1952).

    What is framed is hashed and written by a thread of its own.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._writing = _Behind()
        self._block: list[memoryview] = []
        self._room = STORED_MAX
        self._framed: list[bytes | memoryview] = []
        self._crc = 0
        self._digest = hashlib.sha256()
        self.length = 0
        self.written = 0
        self._emit([GZIP_HEADER])

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

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


def _member(name: str, data: bytes) -> Member:
    return Member(name=name, size=len(data), chunks=lambda: [data])


def _code(checkout: Path) -> dict[str, bytes]:
    """The handler's files by their names in the archive."""
    sources = [*checkout.glob("artifact/*.py"), *checkout.glob("inference_code/*.py")]
    hooks = b"from inference_code.inference import input_fn, model_fn, output_fn, predict_fn  # noqa: F401\n"
    return {
        **{f"code/{source.relative_to(checkout)}": source.read_bytes() for source in sources},
        "code/inference.py": hooks,
        "code/requirements.txt": (checkout / "inference_code/requirements.txt").read_bytes(),
    }
