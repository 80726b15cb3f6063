"""What a safetensors file holds, tensor by tensor, read with the standard library alone."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_CHUNK = 1 << 20
"""Bytes read at a time: memory stays flat whatever the size of a tensor."""


@dataclass(frozen=True)
class TensorDigests:
    """``tensors``: by name "DTYPE[shape] sha256". ``header``: SHA-256 of the file's header.

    The two together determine the file. The header alone holds the layout: order, gaps, metadata.
    """

    tensors: dict[str, str]
    header: str


def tensor_digests(path: Path) -> TensorDigests:
    """Hash each tensor of a file whose header was checked by ``source.resolve``.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(8)
        (length,) = struct.unpack("<Q", start)
        header = file.read(length)
        base = 8 + length
        described = {name: row for name, row in json.loads(header).items() if name != "__metadata__"}
        tensors = {
            name: _described(row, _hash_range(file, base, *row["data_offsets"]))
            for name, row in sorted(described.items(), key=lambda item: item[1]["data_offsets"])
        }
    return TensorDigests(tensors=tensors, header=hashlib.sha256(start + header).hexdigest())


def _described(row: dict[str, list[int] | str], sha256: str) -> str:
    shape = ",".join(str(size) for size in row["shape"])
    return f"{row['dtype']}[{shape}] {sha256}"


def _hash_range(file: IO[bytes], base: int, start: int, end: int) -> str:
    digest = hashlib.sha256()
    file.seek(base + start)
    left = end - start
    while left > 0 and (chunk := file.read(min(_CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()
