"""One bucket of an artifact as one TorchScript file, in a process of its own.

``python -m compile.standalone``, started by ``export.py``. The artifact's graph gets its tensors
back, goes behind a check of its inputs' shapes (``guarded.py``) and is saved as one file that
needs nothing of ours: ``torch.jit.load`` of torch 1.13 and later opens it, and so does libtorch.

A fresh process for each, as for a trace: class names count on within one.
"""

from __future__ import annotations

import hashlib
import keyword
import re
import sys
from pathlib import Path
from typing import Any

from artifact.canonical import encode
from artifact.errors import UsageError
from artifact.graphs import load_graph, load_weights, prepare
from artifact.manifest import Bucket, Manifest, Positive, Record, Tensor
from artifact.verify import VerifiedArtifact, verify
from compile.children import child_main
from compile.drafts import OutputNotWritable

DESCRIPTION = "traceship.json"
"""Extra file of the archive: digest of the artifact, bucket, inputs and outputs, as JSON."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED = {"self", *keyword.kwlist}


class NotExportable(UsageError):
    """A graph whose inputs a scripted module cannot take by position."""

    id = "not-exportable"

    def __init__(self, *, tensor: str, why: str) -> None:
        super().__init__(
            what=f"the graph's tensor {tensor!r} has no place in a TorchScript file of its own",
            why=why,
            fix="serve the artifact with `traceship serve`, or export one of a task with plain inputs",
        )


class ExportJob(Record, frozen=True, kw_only=True):
    """Write the bucket ``batch`` x ``length`` of the artifact at ``root`` to the file ``out``."""

    root: str
    digest: str
    batch: Positive
    length: Positive
    out: str


class ExportResult(Record, frozen=True, kw_only=True):
    """What was written: ``size`` in bytes, tensors with the bucket's own numbers as shapes."""

    sha256: str
    size: Positive
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def export_bucket(job: ExportJob) -> ExportResult:
    """Write one bucket and read it back.

    Raises:
        ArtifactChanged, AnotherArtifact: the artifact is not (or no longer) the one with ``digest``.
        NeuronMissing: an inf1 graph, and no ``torch_neuron`` here.
        GraphUnreadable, WeightsDoNotFit: see ``load_graph``.
        NotExportable, ExportDiffers, OutputNotWritable: see there.
    """
    from compile.guarded import check_same, guarded

    artifact = verify(Path(job.root), digest=job.digest)
    manifest = artifact.manifest
    bucket = next(b for b in manifest.buckets if (b.batch, b.length) == (job.batch, job.length))
    inputs = settled(manifest.inputs, bucket, manifest)
    outputs = settled(manifest.outputs, bucket, manifest)
    prepare(manifest.requires.target)
    graph = _graph(artifact, bucket)
    name = f"{job.batch}x{job.length}"
    described = {DESCRIPTION: _described(job.digest, name, inputs, outputs)}
    data = guarded(graph, inputs, bucket=name, extra_files=described)
    if manifest.requires.target == "cpu":  # an Inf1 graph runs on the device only
        check_same(data, graph, inputs, bucket=name, tolerance=manifest.parity.tolerance)
    try:
        Path(job.out).write_bytes(data)
    except OSError as error:
        raise OutputNotWritable(path=job.out, why=error.strerror or str(error)) from error
    return ExportResult(
        sha256=hashlib.sha256(data).hexdigest(), size=len(data), inputs=inputs, outputs=outputs
    )


def settled(tensors: tuple[Tensor, ...], bucket: Bucket, manifest: Manifest) -> tuple[Tensor, ...]:
    """The same tensors with numbers in place of "batch", "length" and "choices".

    Raises:
        NotExportable: a dimension that the bucket does not fix, or a name that cannot be an argument.
    """
    sizes = {"batch": bucket.batch, "length": bucket.length, "choices": manifest.choices}
    return tuple(_settled(tensor, sizes) for tensor in tensors)


def _settled(tensor: Tensor, sizes: dict[str, Any]) -> Tensor:
    if _NAME.fullmatch(tensor.name) is None or tensor.name in _RESERVED:
        raise NotExportable(tensor=tensor.name, why="its name cannot be that of an argument")
    free = [size for size in tensor.shape if isinstance(size, str) and sizes.get(size) is None]
    if free:
        raise NotExportable(tensor=tensor.name, why=f"the bucket does not fix its dimension {free[0]}")
    shape = tuple(size if isinstance(size, int) else sizes[size] for size in tensor.shape)
    return Tensor(name=tensor.name, dtype=tensor.dtype, shape=shape)


def _graph(artifact: VerifiedArtifact, bucket: Bucket) -> Any:
    path = artifact.manifest.weights
    weights = None if path is None else load_weights(artifact.take(path))
    return load_graph(artifact.take(bucket.path), weights)


def _described(digest: str, bucket: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> bytes:
    return encode({"artifact": digest, "bucket": bucket, "inputs": inputs, "outputs": outputs})


if __name__ == "__main__":
    sys.exit(child_main(ExportJob, export_bucket, sys.argv[1:]))
