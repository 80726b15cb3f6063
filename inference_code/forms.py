"""Answers in, the bytes of a form out: JSON, JSON Lines, CSV, or a NumPy array.

``media.py`` says which of them the client takes, ``offered`` which of them an answer has.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from inference_code.rows import FloatArray


_MANY = 64


def as_json(value: Any) -> bytes:
    """One JSON value. A long one in pieces: nothing else runs in the process while one is written."""
    if isinstance(value, list) and len(value) > _MANY and isinstance(value[0], list | dict):
        return as_list([as_json(item) for item in value])
    return msgspec.json.encode(value)


def as_list(values: Iterable[bytes]) -> bytes:
    """The JSON list of JSON values."""
    return b"[%b]" % b",".join(values)


def as_lines(values: Iterable[bytes]) -> bytes:
    """A JSON value a line, each line ended."""
    return b"".join(value + b"\n" for value in values)


def as_csv(rows: Iterable[Sequence[Any]]) -> bytes:
    """One row of numbers and texts a line, without a header; numbers are spelled as in JSON."""
    return b"".join(b",".join(map(_cell, row)) + b"\n" for row in rows)


def as_npy(arrays: Sequence[FloatArray], *, single: bool, width: int) -> bytes:
    """float32, little-endian: the array itself where there is a ``single`` one, else all of them stacked.

    Of none the shape is (0, ``width``). NumPy's own writer, told never to pickle.
    """
    import numpy as np

    array = arrays[0] if single else np.stack(arrays) if arrays else np.empty((0, width))
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array, dtype="<f4"), (1, 0), allow_pickle=False)
    return file.getvalue()


def _cell(value: Any) -> bytes:
    if not isinstance(value, str):
        return msgspec.json.encode(value)
    text = value.encode()
    if not text or any(mark in text for mark in (b'"', b",", b"\n", b"\r")):
        return b'"' + text.replace(b'"', b'""') + b'"'
    return text
