"""Memory that the server and one worker share: the inputs of a batch, and what came of it.

The server writes token ids right into the arrays that the graph reads, and reads the outputs from
where the worker put them. Each worker has a few slots, so that the next batch lies ready while one
is run. Untouched pages of the largest bucket cost nothing.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from artifact.manifest import Bucket, Manifest, Tensor
from artifact.sealed import MemoryFileRefused
from inference_code.encoding import input_shape
from inference_code.rows import Outputs
from inference_code.workers.messages import Placed

if TYPE_CHECKING:
    from inference_code.encoding import IntArray

_ALIGNMENT = 64
_ITEM = 8


class Arena:
    """``slots`` times the inputs and outputs of the largest bucket."""

    def __init__(self, manifest: Manifest, slots: int, descriptor: int | None = None) -> None:
        """
        Args:
            descriptor: of an arena that another process made for this manifest; closed here.

        Raises:
            MemoryFileRefused: the kernel gives no memory file.
        """
        self._manifest = manifest
        self._inputs = max(_input_bytes(bucket, manifest) for bucket in manifest.buckets)
        self._slot = self._inputs + max(_output_bytes(bucket, manifest) for bucket in manifest.buckets)
        if descriptor is None:
            descriptor = _made(slots * self._slot)
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, slots * self._slot)
        self._close = weakref.finalize(self, os.close, descriptor)

    def inputs(self, slot: int, bucket: Bucket) -> list[IntArray]:
        """The graph's positional inputs, int64, to be filled or read."""
        shape, start = input_shape(bucket, self._manifest), slot * self._slot
        step = _aligned(_ITEM * math.prod(shape))
        return [self._view("<i8", shape, start + at * step) for at in range(len(self._manifest.inputs))]

    def write(self, slot: int, outputs: Sequence[Outputs]) -> list[list[Placed]]:
        """Put outputs into a slot; return where.

        Raises:
            ValueError: more than the manifest's shapes amount to.
        """
        placed, offset = [], 0
        for row in outputs:
            places = []
            for array in row.arrays:
                place = Placed(dtype=array.dtype.str, shape=array.shape, offset=offset)
                self._output(slot, place)[...] = array
                offset += _aligned(array.nbytes)
                places.append(place)
            placed.append(places)
        return placed

    def read(self, slot: int, rows: Sequence[Sequence[Placed]]) -> list[Outputs]:
        """A copy of what was written, so that the slot is free again.

        Raises:
            ValueError: a place that is not inside the slot.
        """
        return [Outputs(arrays=tuple(self._output(slot, place).copy() for place in row)) for row in rows]

    def close(self) -> None:
        """Close the descriptor; the memory goes with the last array that looks into it."""
        self._close()

    def _output(self, slot: int, place: Placed) -> Any:
        size = np.dtype(place.dtype).itemsize * math.prod(place.shape)
        if place.offset < 0 or place.offset + size > self._slot - self._inputs:
            raise ValueError("the outputs are larger than the manifest says")
        return self._view(place.dtype, place.shape, slot * self._slot + self._inputs + place.offset)

    def _view(self, dtype: str, shape: tuple[int, ...], offset: int) -> Any:
        return np.frombuffer(self._memory, dtype=dtype, count=math.prod(shape), offset=offset).reshape(shape)


def _made(size: int) -> int:
    try:
        descriptor = os.memfd_create("arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise MemoryFileRefused(why=error.strerror or str(error)) from error
    os.ftruncate(descriptor, size)
    # A worker that shrank it would take the server along (SIGBUS).
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return descriptor


def _input_bytes(bucket: Bucket, manifest: Manifest) -> int:
    return len(manifest.inputs) * _aligned(_ITEM * math.prod(input_shape(bucket, manifest)))


def _output_bytes(bucket: Bucket, manifest: Manifest) -> int:
    """An upper bound: each row's arrays begin at a multiple of the alignment."""
    states = sum(_row_bytes(tensor, bucket) for tensor in manifest.outputs)
    tokens = _aligned(_ITEM * manifest.generation.max_length) if manifest.generation else 0
    return bucket.batch * max(states, tokens)


def _row_bytes(tensor: Tensor, bucket: Bucket) -> int:
    sizes = {"batch": 1, "length": bucket.length}
    return _aligned(_ITEM * math.prod(sizes[n] if isinstance(n, str) else n for n in tensor.shape))


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
