"""One bucket traced apart from the others, and a model put together from such parts.

On AWS each bucket can be a job of its own (``compile/batch/``). A part is a folder: the bucket's graph
or graphs, from the first bucket also the shared tensors, and ``part.json`` with what the trace learnt.
It is not proven: the compile that takes the parts proves all of them, as if it had traced them itself.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from artifact.canonical import NotCanonical, decode, encode
from artifact.errors import ProofFailed
from artifact.manifest import WEIGHTS, Coverage, File, Positive, Record, decoder_path, graph_path
from compile.buckets import TracedBucket, TracedModel, check_alike
from compile.drafts import OutputNotWritable
from compile.durable import sync_tree
from compile.jobs import TraceResult
from compile.package import check_out, files_below
from compile.request import Shape

PART = "part.json"
_CHUNK = 1 << 20


class PartUnusable(ProofFailed):
    """A traced bucket is missing, or is not what its job left."""

    id = "part-unusable"

    def __init__(self, *, bucket: str, why: str) -> None:
        super().__init__(
            what=f"the traced bucket {bucket} cannot be used",
            why=why,
            fix="trace it again: the same command with `--no-cache`",
        )


class Part(Record, frozen=True, kw_only=True):
    """What ``part.json`` holds. ``files`` are all others in the folder."""

    batch: Positive
    length: Positive
    seconds: float
    coverage: Coverage | None
    result: TraceResult
    files: tuple[File, ...]


def write_part(traced: TracedModel, out: Path) -> None:
    """Give the staging folder of the one traced bucket the name ``out``.

    Raises:
        OutputExists, OutputNotWritable: ``out`` holds something, or the file system refuses.
    """
    (bucket,) = traced.buckets
    part = Part(
        batch=bucket.shape.batch,
        length=bucket.shape.length,
        seconds=round(bucket.seconds, 3),
        coverage=bucket.coverage,
        result=bucket.result,
        files=files_below(traced.staging),
    )
    check_out(out)
    try:
        (traced.staging / PART).write_bytes(encode(part))
        sync_tree(traced.staging)
        os.replace(traced.staging, out)  # noqa: PTH105 - replaces an empty folder, which Path.rename may not
    except OSError as error:
        raise OutputNotWritable(path=str(out), why=error.strerror or str(error)) from error


def parse_part(data: bytes, shape: Shape) -> Part:
    """The part that ``data`` spells, of that bucket.

    Raises:
        PartUnusable: it is another's, cannot be read, or names a file that no bucket has.
    """
    try:
        part = decode(data, Part)
    except NotCanonical as error:
        raise PartUnusable(bucket=str(shape), why=f"its {PART} cannot be read: {error}") from None
    if (part.batch, part.length) != (shape.batch, shape.length):
        raise PartUnusable(bucket=str(shape), why=f"its {PART} is of {part.batch}x{part.length}")
    known = {graph_path(shape.batch, shape.length), decoder_path(shape.batch, shape.length), WEIGHTS}
    for file in part.files:
        if file.path not in known:
            raise PartUnusable(bucket=str(shape), why=f"its {PART} names {file.path!r}, which no bucket has")
    return part


def assemble(
    parts: Path, shapes: tuple[Shape, ...], *, staging: Path, weights: str | None, seq2seq: bool
) -> TracedModel:
    """Copy the traced buckets ``parts/BxL`` into ``staging``, each file compared with its digest.

    Args:
        weights: where the shared tensors go, relative to ``staging``; ``None`` where there are none.
        seq2seq: each bucket has a second graph, the decoder.

    Raises:
        PartUnusable: a part is missing, of another bucket, incomplete or changed.
        BucketsDisagree: two were traced from different models.
    """
    buckets = []
    for shape in shapes:
        named = [graph_path(shape.batch, shape.length)]
        named += [decoder_path(shape.batch, shape.length)] if seq2seq else []
        shared = [weights] if weights is not None and shape == shapes[0] else []
        part = _part(parts / str(shape), shape)
        if sorted(file.path for file in part.files) != sorted(named + shared):
            raise PartUnusable(bucket=str(shape), why=f"its {PART} does not name the files of such a bucket")
        for file in part.files:
            _copy(parts / str(shape), file, staging, shape)
        buckets.append(
            TracedBucket(
                shape=shape,
                path=named[0],
                decoder=named[1] if seq2seq else None,
                bytes=sum(file.size for file in part.files if file.path in named),
                seconds=part.seconds,
                coverage=part.coverage,
                result=part.result,
            )
        )
    check_alike(buckets)
    return TracedModel(staging=staging, buckets=tuple(buckets), weights=weights)


def _part(folder: Path, shape: Shape) -> Part:
    try:
        data = (folder / PART).read_bytes()
    except OSError as error:
        raise PartUnusable(bucket=str(shape), why=f"there is no {PART} of it ({error.strerror})") from None
    return parse_part(data, shape)


def _copy(folder: Path, file: File, staging: Path, shape: Shape) -> None:
    digest, target = hashlib.sha256(), staging / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (folder / file.path).open("rb") as source, target.open("wb") as out:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                out.write(chunk)
    except FileNotFoundError:
        raise PartUnusable(bucket=str(shape), why=f"{file.path} is missing") from None
    if digest.hexdigest() != file.sha256:
        raise PartUnusable(bucket=str(shape), why=f"{file.path} is not the file that was traced")
