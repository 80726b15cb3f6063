"""Is a weights file what its name says? Looked at without loading a tensor, and without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from compile.sources.errors import SourceUnreadable, WeightsCorrupted

_MAX_HEADER = 100_000_000
"""Largest header of a safetensors file, in bytes. Source: the format's own limit."""


def check_safetensors(path: Path) -> None:
    """Compare the size of the file with what its header promises (eight bytes, JSON, data).

    Raises:
        WeightsCorrupted: it was cut, or is another kind of file.
        SourceUnreadable: it cannot be opened.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else _MAX_HEADER + 1
            if length > min(_MAX_HEADER, size - 8):
                raise WeightsCorrupted(file=str(path), why=f"its header does not fit in its {size} bytes")
            header = json.loads(file.read(length))
        end = max(
            (entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0
        )
    except OSError as error:
        raise SourceUnreadable(file=str(path), why=error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise WeightsCorrupted(file=str(path), why="its header is not that of a safetensors file") from None
    if 8 + length + end != size:
        raise WeightsCorrupted(
            file=str(path), why=f"its header promises {8 + length + end} bytes, it has {size}"
        )
