"""Graphs in this process: arrays in a bucket's shape in, rows' outputs out. Pairs with compile/trace.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifact.graphs import load_graph, load_weights, prepare
from artifact.manifest import Bucket, Manifest, bucket_name
from artifact.sealed import Sealed
from inference_code.rows import Outputs, Wanted
from inference_code.translation import translated

if TYPE_CHECKING:
    from artifact.graphs import Graph
    from inference_code.encoding import IntArray
    from inference_code.rows import FloatArray

Take = Callable[[str], Sealed]
"""The verified bytes of a file of the artifact, by its path; whoever takes them closes them."""
Loader = Callable[[Manifest, Take], "Mapping[str, Graph]"]


@dataclass(frozen=True)
class Graphs:
    """All graphs of an artifact, by bucket name. One thread runs them at a time.

    A translation's bucket has a second graph, the decoder. A shape that no bucket has is run by the
    graph that it names, which must fit any shape (``shapes.py``).
    """

    manifest: Manifest
    by_name: Mapping[str, Graph]

    def run(self, bucket: Bucket, inputs: Sequence[IntArray], wanted: Sequence[Wanted]) -> list[Outputs]:
        """Run a batch; one output for each of ``wanted``, which are the batch's first rows.

        Padding, and tokens that a row does not keep, are cut off. A translation's output is its
        token ids.

        Args:
            inputs: the graph's positional inputs, as ``encoding.fill`` makes them.

        Raises:
            InferenceFailed: a translation met NaN or infinity.
            RuntimeError: whatever else the graph raises.
        """
        import torch

        if self.manifest.generation is None:
            return self.encode(bucket, inputs, wanted)
        tensors = [torch.from_numpy(array) for array in inputs]
        decoder = self.by_name[_decoder(bucket)]
        with torch.inference_mode():
            states = self._graph(bucket)(*tensors)[0]
            found = translated(decoder, self.manifest.generation, states, tensors[1])
        return found[: len(wanted)]

    def encode(self, bucket: Bucket, inputs: Sequence[IntArray], wanted: Sequence[Wanted]) -> list[Outputs]:
        """What the bucket's graph itself says: of a translation, the encoder's states."""
        import torch

        tensors = [torch.from_numpy(array) for array in inputs]
        with torch.inference_mode():
            found = self._graph(bucket)(*tensors)
        arrays = [tensor.numpy() for tensor in found]
        with_tokens = [tensor.shape[1:2] == ("length",) for tensor in self.manifest.outputs]
        return [
            Outputs(
                arrays=tuple(
                    _tokens_of(row, array[at]) if tokens else array[at]
                    for array, tokens in zip(arrays, with_tokens)
                )
            )
            for at, row in enumerate(wanted)
        ]

    def _graph(self, shape: Bucket) -> Graph:
        name = bucket_name(shape.batch, shape.length)
        if name not in self.by_name:
            traced = next(bucket for bucket in self.manifest.buckets if bucket.path == shape.path)
            name = bucket_name(traced.batch, traced.length)
        return self.by_name[name]


def load_graphs(manifest: Manifest, take: Take) -> dict[str, Graph]:
    """Load every bucket's graphs from the bytes that were verified.

    Raises:
        NeuronMissing, GraphUnreadable, WeightsDoNotFit: from ``artifact.graphs``.
    """
    prepare(manifest.requires.target)
    weights = None if manifest.weights is None else load_weights(take(manifest.weights))
    digests = {file.path: file.sha256 for file in manifest.files}
    loaded: dict[str, Graph] = {}

    def graph(path: str) -> Graph:
        # Buckets whose graphs are the same bytes share one.
        if digests[path] not in loaded:
            loaded[digests[path]] = load_graph(take(path), weights)
        return loaded[digests[path]]

    graphs = {bucket_name(bucket.batch, bucket.length): graph(bucket.path) for bucket in manifest.buckets}
    decoders = {_decoder(b): graph(b.decoder) for b in manifest.buckets if b.decoder is not None}
    return {**graphs, **decoders}


def files_of(manifest: Manifest) -> set[str]:
    """The files that ``load_graphs`` takes."""
    graphs = {path for bucket in manifest.buckets for path in (bucket.path, bucket.decoder)}
    return {path for path in (*graphs, manifest.weights) if path is not None}


def _decoder(bucket: Bucket) -> str:
    return f"{bucket_name(bucket.batch, bucket.length)}.decoder"


def _tokens_of(row: Wanted, array: FloatArray) -> FloatArray:
    # A list of places copies them, so that the rest of a large batch does not stay in memory.
    return array[: row.length] if row.keep is None else array[list(row.keep)]
