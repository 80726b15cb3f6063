"""A folder in, a verified model out, with its graphs in this process or without them.

Everything is verified before torch is imported: a TorchScript file is a program.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from artifact.keys import PublicKey
from artifact.manifest import GOLDEN, Bucket, Manifest
from artifact.trust import signature_path, verify_signed
from artifact.verify import VerifiedArtifact
from inference_code.encoding import Encoder, fill
from inference_code.graphs import Graphs, Loader, files_of, load_graphs
from inference_code.log import logger
from inference_code.rows import Outputs, Row
from inference_code.tasks import task_of

if TYPE_CHECKING:
    from artifact.graphs import Graph


class Runner(Protocol):
    """Where batches are run: in this process, or in a worker's."""

    def run(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:
        """Run up to ``bucket.batch`` rows, none longer than ``bucket.length``; one output per row.

        Padding, and tokens that a row does not keep, are cut off. A translation's output is its
        token ids.
        """

    def encode(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:
        """What the bucket's graph itself says: of a translation, the encoder's states."""


@dataclass(frozen=True)
class Model:
    """A verified artifact with its tokenizer: all that requests and answers need, without torch."""

    artifact: VerifiedArtifact
    encoder: Encoder
    golden: bytes
    """golden.json as it was verified."""

    @property
    def manifest(self) -> Manifest:
        return self.artifact.manifest


@dataclass(frozen=True)
class LoadedModel(Model):
    """A model with its graphs in this process; a ``Runner``. One thread runs it at a time."""

    graphs: Mapping[str, Graph]

    def run(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:
        inputs = fill(rows, bucket, self.manifest)
        return Graphs(self.manifest, self.graphs).run(bucket, inputs, [row.wanted for row in rows])

    def encode(self, bucket: Bucket, rows: Sequence[Row]) -> list[Outputs]:
        inputs = fill(rows, bucket, self.manifest)
        return Graphs(self.manifest, self.graphs).encode(bucket, inputs, [row.wanted for row in rows])


def loadable(manifest: Manifest) -> set[str]:
    """The files that a server uses: each is opened once, and used as it was verified."""
    return files_of(manifest) | {manifest.tokenizer, GOLDEN}


def verified(
    root: Path,
    *,
    digest: str | None = None,
    keys: Sequence[PublicKey] = (),
    signature: bytes | None = None,
    hold: Callable[[Manifest], Collection[str]] = loadable,
) -> Model:
    """Verify the whole folder, then read its tokenizer.

    Args:
        digest: the manifest's SHA-256 that the stack was told to trust.
        keys: of which one must have signed it; none: no signature is asked for.
        signature: the envelope; ``None``: the one beside the folder.

    Raises:
        ArtifactChanged, AnotherArtifact, NotAnArtifact, UnknownSchema: from ``artifact.verify``;
            nothing was loaded.
        SignatureMissing, SignatureEmpty, WrongKey, …: from ``artifact.trust``; nothing was loaded.
        TaskUnknown, TokenizerUnusable: see there.
    """
    artifact = verify_signed(root, digest=digest, keys=keys, signature=signature, hold=hold)
    if digest is None and not keys:
        _warn_unproven(root)
    task_of(artifact.manifest)
    encoder = Encoder(artifact.read(artifact.manifest.tokenizer), artifact.manifest)
    return Model(artifact=artifact, encoder=encoder, golden=artifact.read(GOLDEN))


def load(
    root: Path,
    *,
    digest: str | None = None,
    keys: Sequence[PublicKey] = (),
    signature: bytes | None = None,
    loader: Loader = load_graphs,
) -> LoadedModel:
    """As ``verified``, with the graphs loaded in this process.

    Raises:
        NeuronMissing, GraphUnreadable, WeightsDoNotFit: see there, besides those of ``verified``.
    """
    model = verified(root, digest=digest, keys=keys, signature=signature)
    graphs = loader(model.manifest, model.artifact.take)
    return LoadedModel(artifact=model.artifact, encoder=model.encoder, golden=model.golden, graphs=graphs)


def _warn_unproven(root: Path) -> None:
    """Say once that nobody vouches for the artifact: it agrees with itself, which anybody can arrange."""
    signed = signature_path(root).exists()
    why = "its signature is not checked: no key is pinned" if signed else "it is not signed"
    logger.warning("unproven origin", extra={"path": str(root), "why": why, "fix": "docs/signing.md"})
