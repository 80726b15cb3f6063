"""TorchScript files that a team traced itself, in place of our traces: the parent's half.

The files pass the same gates as a trace of ours. A TorchScript file is a program: only child
processes load it (``adopted.py``, then the comparison), and only because the user named it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from artifact.errors import ProofFailed, UsageError
from artifact.manifest import graph_path
from compile.buckets import TracedBucket, TracedModel
from compile.children import run
from compile.jobs import AdoptJob, ModelJob, TraceResult
from compile.pipeline import Report, compile_model
from compile.request import CompiledArtifact, CompileRequest, Shape, Workplace


class AdoptMismatch(UsageError):
    """Files and buckets that do not go together."""

    id = "adopt-mismatch"

    def __init__(self, *, files: int, buckets: int) -> None:
        super().__init__(
            what="it is not clear which file is which bucket",
            why=f"there are {files} files and {buckets} buckets",
            fix="give one file for all buckets, or as many `--bucket` as files, in the same order",
        )


class NotAdoptable(UsageError):
    """A task whose artifact has more than one graph a bucket."""

    id = "not-adoptable"

    def __init__(self, *, task: str) -> None:
        super().__init__(
            what=f"a trace for {task} cannot be adopted",
            why="a translation has an encoder and a decoder graph, which must fit our own search loop",
            fix="compile the model with `traceship compile`",
        )


class CoverageUnproven(ProofFailed):
    """A Neuron trace without the compiler's log: nobody can tell what of it runs on the device."""

    id = "coverage-unproven"

    def __init__(self) -> None:
        super().__init__(
            what="it is not known how much of the adopted trace runs on the device",
            why="only the compiler's log says so, and it is not in the file",
            fix='look it up in the log of your trace and record it: `--waive coverage="94 % of operators"`',
        )


def adopt(
    request: CompileRequest, files: tuple[Path, ...], inputs: tuple[str, ...], report: Report
) -> CompiledArtifact:
    """Make an artifact of ``files``, one for each bucket or one for all of them.

    Args:
        inputs: names in the order in which the files take them; empty: the model's own order.

    Raises:
        AdoptMismatch, NotAdoptable, CoverageUnproven: see there.
        InputDropped, TraceUnusable: see ``adopted.py``; and what ``compile_model`` raises.
    """
    if request.target == "inf1" and not any(waiver.gate == "coverage" for waiver in request.waivers):
        raise CoverageUnproven
    if len(files) not in (1, len(request.shapes)):
        raise AdoptMismatch(files=len(files), buckets=len(request.shapes))
    file_of = dict(zip(request.shapes, files if len(files) > 1 else files * len(request.shapes)))

    def take(
        request: CompileRequest,
        model: ModelJob,
        shapes: tuple[Shape, ...],
        *,
        place: Workplace,
        report: Callable[[str], None],
    ) -> TracedModel:
        if model.seq2seq:
            raise NotAdoptable(task=request.task)
        (place.staging / "graphs").mkdir()
        buckets = []
        for shape in shapes:
            job = make_job(request, model, shape, file_of[shape], inputs=inputs, place=place)
            name = f"adopt-{shape.name}"
            answer = run("compile.adopted", job, TraceResult, folder=place.scratch, name=name, timeout=None)
            buckets.append(taken(job, shape, answer.result))
            report(f"took {file_of[shape].name} as the bucket {shape}")
        return TracedModel(staging=place.staging, buckets=tuple(buckets), weights=None)

    return compile_model(request, report, trace=take)


def make_job(
    request: CompileRequest,
    model: ModelJob,
    shape: Shape,
    file: Path,
    *,
    inputs: tuple[str, ...],
    place: Workplace,
) -> AdoptJob:
    """What the child is told."""
    return AdoptJob(
        model=model,
        target=request.target,
        batch=shape.batch,
        length=shape.length,
        file=str(file.absolute()),
        inputs=inputs,
        graph=str(place.staging / graph_path(shape.batch, shape.length)),
    )


def taken(job: AdoptJob, shape: Shape, result: TraceResult) -> TracedBucket:
    """The bucket that the child has written."""
    return TracedBucket(
        shape=shape,
        path=graph_path(shape.batch, shape.length),
        decoder=None,
        bytes=Path(job.graph).stat().st_size,
        seconds=0.0,
        coverage=None,
        result=result,
    )
