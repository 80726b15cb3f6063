"""Memory that two processes share: what one writes the other reads, within its bounds."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.manifest import Bucket, Manifest, Tensor
from inference_code.encoding import fill
from inference_code.load import LoadedModel
from inference_code.rows import Outputs, Row
from inference_code.workers.arena import Arena
from inference_code.workers.messages import Placed
from tests.kit.folders import manifest_of

BUCKETS = (Bucket(batch=1, length=8, path="x"), Bucket(batch=4, length=16, path="y"))


def _manifest() -> Manifest:
    import msgspec

    inputs = tuple(
        Tensor(name=name, dtype="int64", shape=("batch", "length"))
        for name in ("input_ids", "attention_mask")
    )
    outputs = (Tensor(name="last_hidden_state", dtype="float32", shape=("batch", "length", 3)),)
    return msgspec.structs.replace(manifest_of({}), inputs=inputs, outputs=outputs, buckets=BUCKETS)


@given(st.data())
def test_a_batch_goes_over_and_comes_back(data: st.DataObject) -> None:
    """Any rows in any slot, through a second mapping of the memory as a worker has it."""
    manifest = _manifest()
    ours = Arena(manifest, slots=2)
    theirs = Arena(manifest, slots=2, descriptor=os.dup(ours.descriptor))
    written = []
    for slot in (0, 1):
        bucket = data.draw(st.sampled_from(BUCKETS))
        lengths = data.draw(st.lists(st.integers(1, bucket.length), min_size=1, max_size=bucket.batch))
        rows = [Row(ids=list(range(1, n + 1)), types=[0] * n) for n in lengths]
        fill(rows, bucket, manifest, ours.inputs(slot, bucket))
        ids, mask = theirs.inputs(slot, bucket)
        outputs = [
            Outputs(arrays=((ids[at, :n, None] * mask[at, :n, None] + np.arange(3) / 4).astype(np.float32),))
            for at, n in enumerate(lengths)
        ]
        written.append((slot, theirs.write(slot, outputs), outputs))

    for slot, placed, outputs in written:
        for found, expected in zip(ours.read(slot, placed), outputs):
            assert found.arrays[0].tolist() == expected.arrays[0].tolist()
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    "place",
    [
        Placed(dtype="<f4", shape=(1,), offset=-4),
        Placed(dtype="<f4", shape=(1 << 40,), offset=0),
        Placed(dtype="<f4", shape=(4 * 16 * 100,), offset=0),
        Placed(dtype="<f4", shape=(1,), offset=1 << 20),
    ],
)
def test_a_place_outside_the_slot_is_refused(place: Placed) -> None:
    """A worker gone mad must not make the server answer with other requests' memory."""
    arena = Arena(_manifest(), slots=2)

    with pytest.raises(ValueError, match="larger"):
        arena.read(1, [[place]])


def test_a_worker_cannot_hand_over_pointers() -> None:
    """An array of objects would have the server follow whatever addresses a worker wrote."""
    arena = Arena(_manifest(), slots=1)

    with pytest.raises(ValueError, match="OBJECT"):
        arena.read(0, [[Placed(dtype="|O", shape=(1,), offset=0)]])


def test_neither_side_can_shrink_it() -> None:
    """The other one would be killed by reading what is gone."""
    arena = Arena(_manifest(), slots=1)

    with pytest.raises(PermissionError):
        os.ftruncate(arena.descriptor, 0)


def test_what_is_read_stays_when_the_slot_is_used_again(models: Callable[..., LoadedModel]) -> None:
    """Answers are written after the worker has gone on."""
    manifest = models().manifest
    arena = Arena(manifest, slots=1)
    first = [Outputs(arrays=(np.full(4, 1.0, dtype=np.float32),))]
    read = arena.read(0, arena.write(0, first))
    arena.write(0, [Outputs(arrays=(np.full(4, 2.0, dtype=np.float32),))])

    assert read[0].arrays[0].tolist() == [1.0] * 4
