"""A folder in, a model that runs rows in buckets out. Pairs with ``compile/trace.py``.

Everything is verified before torch is imported: a TorchScript file is a program. The graphs
share one copy of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from artifact.graphs import load_graph, load_weights, prepare
from artifact.keys import PublicKey
from artifact.manifest import GOLDEN, Bucket, Manifest, bucket_name
from artifact.trust import signature_path, verify_signed
from artifact.verify import VerifiedArtifact
from inference_code.encoding import Encoder, fill
from inference_code.log import logger
from inference_code.rows import Outputs, Row
from inference_code.tasks import task_of
from inference_code.translation import translated

if TYPE_CHECKING:
    import torch

    from artifact.graphs import Graph
    from inference_code.rows import FloatArray

Loader = Callable[[VerifiedArtifact], "Mapping[str, Graph]"]


@dataclass(frozen=True)
class LoadedModel:
    """Graphs by bucket name, with what is needed to feed them. One thread runs it at a time.

    A translation's bucket has a second graph, the decoder.
    """

    artifact: VerifiedArtifact
    encoder: Encoder
    graphs: Mapping[str, Graph]

    @property
    def manifest(self) -> Manifest:
        return self.artifact.manifest

    def run(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:
        """Run up to ``bucket.batch`` rows, none longer than ``bucket.length``; one output per row.

        Padding, and tokens that a row does not keep, are cut off. A translation's output is its
        token ids.
        """
        import torch

        if self.manifest.generation is None:
            return self.encode(bucket, rows)
        inputs = self._inputs(bucket, rows)
        decoder = self.graphs[_decoder(bucket)]
        with torch.inference_mode():
            states = self.graphs[bucket_name(bucket.batch, bucket.length)](*inputs)[0]
            found = translated(decoder, self.manifest.generation, states, inputs[1])
        return found[: len(rows)]

    def encode(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:
        """What the bucket's graph itself says: of a translation, the encoder's states."""
        import torch

        inputs = self._inputs(bucket, rows)
        with torch.inference_mode():
            found = self.graphs[bucket_name(bucket.batch, bucket.length)](*inputs)
        arrays = [tensor.numpy() for tensor in found]
        with_tokens = [tensor.shape[1:2] == ("length",) for tensor in self.manifest.outputs]
        return [
            Outputs(
                arrays=tuple(
                    _tokens_of(row, array[at]) if tokens else array[at]
                    for array, tokens in zip(arrays, with_tokens)
                )
            )
            for at, row in enumerate(rows)
        ]

    def _inputs(self, bucket: Bucket, rows: Sequence[Row]) -> list[torch.Tensor]:
        import torch

        return [torch.from_numpy(array) for array in fill(rows, bucket, self.manifest)]


def _decoder(bucket: Bucket) -> str:
    return f"{bucket_name(bucket.batch, bucket.length)}.decoder"


def _tokens_of(row: Row, array: FloatArray) -> FloatArray:
    # A list of places copies them, so that the rest of a large batch does not stay in memory.
    return array[: row.length] if row.keep is None else array[list(row.keep)]


def load_graphs(artifact: VerifiedArtifact) -> dict[str, Graph]:
    """Load every bucket's graphs from the bytes that were verified."""
    manifest = artifact.manifest
    prepare(manifest.requires.target)
    weights = None if manifest.weights is None else load_weights(artifact.take(manifest.weights))
    graphs = {}
    for bucket in manifest.buckets:
        name = bucket_name(bucket.batch, bucket.length)
        graphs[name] = load_graph(artifact.take(bucket.path), weights)
        if bucket.decoder is not None:
            graphs[_decoder(bucket)] = load_graph(artifact.take(bucket.decoder), weights)
    return graphs


def loadable(manifest: Manifest) -> set[str]:
    """The files that a server uses: each is opened once, and used as it was verified."""
    graphs = {path for bucket in manifest.buckets for path in (bucket.path, bucket.decoder)}
    return {path for path in (*graphs, manifest.weights, manifest.tokenizer, GOLDEN) if path is not None}


def load(
    root: Path,
    *,
    digest: str | None = None,
    keys: Sequence[PublicKey] = (),
    signature: bytes | None = None,
    loader: Loader = load_graphs,
) -> LoadedModel:
    """Verify the whole folder, then load it.

    Args:
        digest: the manifest's SHA-256 that the stack was told to trust.
        keys: of which one must have signed it; none: no signature is asked for.
        signature: the envelope; ``None``: the one beside the folder.

    Raises:
        ArtifactChanged, AnotherArtifact, NotAnArtifact, UnknownSchema: from ``artifact.verify``;
            nothing was loaded.
        SignatureMissing, SignatureEmpty, WrongKey, …: from ``artifact.trust``; nothing was loaded.
        TaskUnknown, TokenizerUnusable, NeuronMissing, GraphUnreadable, WeightsDoNotFit: see there.
    """
    artifact = verify_signed(root, digest=digest, keys=keys, signature=signature, hold=loadable)
    if digest is None and not keys:
        _warn_unproven(root)
    task_of(artifact.manifest)
    encoder = Encoder(artifact.read(artifact.manifest.tokenizer), artifact.manifest)
    return LoadedModel(artifact=artifact, encoder=encoder, graphs=loader(artifact))


def _warn_unproven(root: Path) -> None:
    """Say once that nobody vouches for the artifact: it agrees with itself, which anybody can arrange."""
    signed = signature_path(root).exists()
    why = "its signature is not checked: no key is pinned" if signed else "it is not signed"
    logger.warning("unproven origin", extra={"path": str(root), "why": why, "fix": "docs/signing.md"})
