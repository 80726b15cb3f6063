"""The self-check of one bucket, as a worker has it whose batches fail there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from artifact.manifest import Bucket, bucket_name
from inference_code.load import LoadedModel, load
from inference_code.rows import Outputs, Row
from inference_code.selfcheck import SelfCheckFailed, selfcheck
from tests.kit.handmade import Recipe, World


class _IllIn:
    """Runs batches in this process, and answers those of one bucket with what is wrong."""

    def __init__(self, model: LoadedModel, name: str) -> None:
        self.ran: set[str] = set()
        self._model = model
        self._name = name

    def run(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:
        return self._of(bucket, self._model.run(bucket, rows))

    def encode(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:
        return self._of(bucket, self._model.encode(bucket, rows))

    def _of(self, bucket: Bucket, found: list[Outputs]) -> list[Outputs]:
        name = bucket_name(bucket.batch, bucket.length)
        self.ran.add(name)
        if name != self._name:
            return found
        return [Outputs(arrays=tuple(array + 1 for array in one.arrays)) for one in found]


def test_of_one_bucket_nothing_else_is_run(worlds: Callable[..., World]) -> None:
    """So a check is short, and what is wrong elsewhere is left to the checks of those who see it."""
    model = load(worlds(Recipe(buckets=((1, 8), (1, 16)))).root)
    first, second = model.manifest.buckets
    ill = _IllIn(model, bucket_name(second.batch, second.length))

    selfcheck(model, ill, [first])

    assert ill.ran == {bucket_name(first.batch, first.length)}
    with pytest.raises(SelfCheckFailed):
        selfcheck(model, ill, [second])
    with pytest.raises(SelfCheckFailed):
        selfcheck(model, ill)
