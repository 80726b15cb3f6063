"""An artifact in, plain TorchScript files out: what the TorchScript guide calls ``traced_bert.pt``.

The parent's half: it verifies, lets a child write each file (``standalone.py``), and gives the
finished files their names. Nothing is ever overwritten, and a name shows a whole file or none.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from artifact.errors import UsageError
from artifact.manifest import Manifest, Tensor
from artifact.verify import VerifiedArtifact, verify
from compile.children import ChildFailed, run
from compile.drafts import OutputNotWritable, beside
from compile.durable import sync_folder, sync_tree
from compile.package import OutputExists
from compile.request import Shape
from compile.standalone import ExportJob, ExportResult

Report = Callable[[str], None]


class BucketNotInArtifact(UsageError):
    """The artifact has no graph of the shape that was asked for."""

    id = "bucket-not-in-artifact"

    def __init__(self, *, bucket: str, there: tuple[str, ...]) -> None:
        super().__init__(
            what=f"the artifact has no bucket {bucket}",
            why=f"it holds {', '.join(there)}",
            fix=f"give `--bucket {there[0]}`, or compile the model again with the bucket {bucket} too",
        )


class TwoGraphs(UsageError):
    """A translation: its buckets are pairs of graphs with a search between them."""

    id = "two-graphs-a-bucket"

    def __init__(self, *, bucket: str) -> None:
        super().__init__(
            what=f"the bucket {bucket} is not one graph",
            why="it has an encoder and a decoder, and the search that calls them is no TorchScript",
            fix="serve the artifact with `traceship serve`",
        )


class OutputInsideArtifact(UsageError):
    """The file would become part of the artifact, which would no longer be the one that was proven."""

    id = "output-inside-artifact"

    def __init__(self, *, path: str) -> None:
        super().__init__(
            what=f"{path} lies inside the artifact",
            why="a file that the manifest does not name makes the artifact invalid",
            fix="give an `--out` beside the artifact's folder",
        )


@dataclass(frozen=True)
class ExportedFile:
    """One file: ``bucket`` as BATCHxLENGTH, ``size`` in bytes, tensors with numbers as shapes."""

    path: Path
    bucket: str
    sha256: str
    size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Exported:
    """What was written at ``path``, of the artifact with the manifest digest ``digest``."""

    path: Path
    digest: str
    files: tuple[ExportedFile, ...]


def export(root: Path, out: Path, *, shape: Shape | None, report: Report, debug: bool = False) -> Exported:
    """Write the bucket ``shape`` of the artifact at ``root`` to the file ``out``.

    Args:
        shape: ``None`` writes every bucket, each to a file in the folder ``out``, which must be
            empty or not there.
        report: called with a line of progress for each file.
        debug: report the whole log of a child that failed.

    Raises:
        NotAnArtifact, UnknownSchema, ArtifactChanged: see ``verify``.
        BucketNotInArtifact, TwoGraphs, OutputExists, OutputInsideArtifact, OutputNotWritable: see there.
        NeuronMissing, NotExportable, ExportDiffers: see ``standalone.py``.
        ChildFailed: torch itself failed; nothing is written.
    """
    artifact = verify(root)
    shapes = _shapes(artifact.manifest) if shape is None else (_known(artifact.manifest, shape),)
    for bucket in artifact.manifest.buckets:
        if bucket.decoder is not None:
            raise TwoGraphs(bucket=f"{bucket.batch}x{bucket.length}")
    if root.resolve() in out.resolve().parents:
        raise OutputInsideArtifact(path=str(out))
    _check_free(out, folder=shape is None)
    with _workplace(out) as (staging, scratch):
        written = []
        for one in shapes:
            result = _run(artifact, one, staging, scratch, report if debug else None)
            written.append(result)
            report(f"exported {one}, {result.size / 1e6:.1f} MB")
        _give_name(staging, out, None if shape is None else _file_name(shape))
    paths = [out if shape is not None else out / _file_name(one) for one in shapes]
    files = [_exported(*one) for one in zip(paths, shapes, written)]
    return Exported(path=out, digest=artifact.digest, files=tuple(files))


def _shapes(manifest: Manifest) -> tuple[Shape, ...]:
    return tuple(Shape(batch=bucket.batch, length=bucket.length) for bucket in manifest.buckets)


def _known(manifest: Manifest, shape: Shape) -> Shape:
    there = _shapes(manifest)
    if shape not in there:
        raise BucketNotInArtifact(bucket=str(shape), there=tuple(str(one) for one in there))
    return shape


def _file_name(shape: Shape) -> str:
    return f"{shape.name}.pt"


def _check_free(out: Path, *, folder: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not folder:
        raise OutputExists(path=str(out), why="an export never overwrites")
    if out.is_symlink() or not out.is_dir():
        raise OutputExists(path=str(out), why="without `--bucket` the output is a folder, and this is none")
    if any(out.iterdir()):
        raise OutputExists(path=str(out), why="the folder is not empty")


@contextmanager
def _workplace(out: Path) -> Iterator[tuple[Path, Path]]:
    """A folder for the files and one for the child, on the file system of ``out``; gone afterwards."""
    with beside(out) as base:
        staging, scratch = base / "files", base / "scratch"
        staging.mkdir()
        scratch.mkdir()
        yield staging, scratch


def _run(
    artifact: VerifiedArtifact, shape: Shape, staging: Path, scratch: Path, log: Report | None
) -> ExportResult:
    job = ExportJob(
        root=str(artifact.root.resolve()),
        digest=artifact.digest,
        batch=shape.batch,
        length=shape.length,
        out=str((staging / _file_name(shape)).resolve()),
    )
    try:
        answer = run(
            "compile.standalone", job, ExportResult, folder=scratch.resolve(), name=shape.name, timeout=None
        )
    except ChildFailed as failed:
        if log is not None:
            log(failed.log)
        raise
    return answer.result


def _give_name(staging: Path, out: Path, file: str | None) -> None:
    """Move the one ``file`` of ``staging``, or all of it, to ``out``, which must still be free."""
    try:
        sync_tree(staging)
        if file is None:
            staging.replace(out)  # a folder that has been filled meanwhile refuses
        else:
            out.touch(exist_ok=False)  # takes the name, or learns that somebody else has
            (staging / file).replace(out)
        sync_folder(out.parent)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise OutputExists(path=str(out), why="it appeared during the export") from error
        raise OutputNotWritable(path=str(out), why=error.strerror or str(error)) from error


def _exported(path: Path, shape: Shape, result: ExportResult) -> ExportedFile:
    return ExportedFile(
        path=path,
        bucket=str(shape),
        sha256=result.sha256,
        size=result.size,
        inputs=result.inputs,
        outputs=result.outputs,
    )
