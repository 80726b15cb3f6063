"""Every bucket of a model traced, each in a process of its own, several at once: the parent's half.

Its partner in the child is ``trace.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from artifact.errors import TraceshipError
from artifact.machine import Machine
from artifact.manifest import (
    WEIGHTS,
    BuiltWith,
    Coverage,
    Generation,
    Tensor,
    bucket_name,
    decoder_path,
    graph_path,
)
from compile import repro
from compile.backends.outcome import cause, coverage_of
from compile.children import ChildFailed, Children, Finished, Task
from compile.compiler_options import neuron_arguments
from compile.jobs import ModelJob, TraceJob, TraceResult
from compile.memory import tracing_bytes, tracing_width
from compile.request import CompileRequest, Shape, Workplace

_GRACE_SECONDS = 60
"""The compiler has its own time limit; ours only has to catch a child that ignores it."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""For every child, so that several do not take each other's cores, and always, so that no byte can
depend on how many there are."""


class BucketsDisagree(TraceshipError):
    """Two buckets of one model came out with other tensors or inputs."""

    id = "buckets-disagree"

    def __init__(self, *, bucket: str) -> None:
        super().__init__(
            what=f"the bucket {bucket} was traced from another model than the first bucket",
            why="its tensors or inputs differ",
            fix="leave the model's folder alone during a compile, then run it again",
        )


@dataclass(frozen=True)
class TracedBucket:
    """A saved graph, of a translation two. Paths relative to the staging folder; ``bytes`` of both."""

    shape: Shape
    path: str
    decoder: str | None
    bytes: int
    seconds: float
    coverage: Coverage | None
    result: TraceResult


@dataclass(frozen=True)
class TracedModel:
    """Every bucket of a model in the staging folder, not yet proven.

    ``weights`` is the path of the shared tensors, relative to ``staging``; ``None`` where each
    graph holds its own.
    """

    staging: Path
    buckets: tuple[TracedBucket, ...]
    weights: str | None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """In positional order."""
        return self.buckets[0].result.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """In positional order."""
        return self.buckets[0].result.outputs

    @property
    def generation(self) -> Generation | None:
        """How a translation is searched for."""
        return self.buckets[0].result.generation

    @property
    def adopted(self) -> tuple[str, ...]:
        """Of each bucket the digest of the user's own file; empty where we traced."""
        found = (bucket.result.adopted for bucket in self.buckets)
        # Python 3.10 makes a new empty tuple here, which msgspec does not take for the default.
        return tuple(sha256 for sha256 in found if sha256 is not None) or ()

    @property
    def built_with(self) -> BuiltWith:
        """The versions that traced."""
        return self.buckets[0].result.built_with

    @property
    def coverage(self) -> Coverage | None:
        """Of the bucket with the least."""
        found = [bucket.coverage for bucket in self.buckets if bucket.coverage is not None]
        return min(found, key=lambda coverage: coverage.percent, default=None)


def trace_buckets(
    request: CompileRequest,
    model: ModelJob,
    shapes: tuple[Shape, ...],
    *,
    place: Workplace,
    report: Callable[[str], None],
    only: Shape | None = None,
) -> TracedModel:
    """Trace the buckets, each in its own process, as many at once as cores and memory allow.

    Bytes and order do not depend on how many there are at once. The first bucket's child writes
    the shared tensors; each of the others only has the same digest of them.

    Args:
        only: trace this bucket and leave the others out.

    Raises:
        CoverageTooLow, TooManyPartitions, FallbackNotAllowed: below the policy, and not waived.
        CompilerOutOfMemory, CompilerTimedOut, NothingCompiled, GraphTooLarge,
        OperatorNotSupported, CompilerCrashed, CompilerMissing, PipelineDoesNotFit, DiskFull,
        CoverageUnknown, TraceFailed, BucketsDisagree, ReproductionExists: see there.
    """
    repro.check_folder(request.work.repro)
    (place.staging / "graphs").mkdir()
    weights = shared_weights(request)
    writers = {shapes[0]: weights}
    wanted = shapes if only is None else (only,)
    jobs = {shape: make_job(request, model, shape, place, writers.get(shape)) for shape in wanted}
    finished = _run(request, model, jobs, place, report)
    buckets = tuple(finished[shape] for shape in wanted)
    check_alike(buckets)
    return TracedModel(staging=place.staging, buckets=buckets, weights=weights)


def shared_weights(request: CompileRequest) -> str | None:
    """Where the tensors lie that all buckets share, relative to staging; a Neuron graph holds its own."""
    return WEIGHTS if request.target == "cpu" else None


def check_alike(buckets: Sequence[TracedBucket]) -> None:
    """Refuse buckets that were not traced from one model.

    Raises:
        BucketsDisagree: the first that differs from the first of all.
    """
    for bucket in buckets[1:]:
        if _essence(bucket.result) != _essence(buckets[0].result):
            raise BucketsDisagree(bucket=bucket.shape.name)


def inputs_path(place: Workplace, shape: Shape) -> Path:
    """Where the bucket's example inputs are kept, or taken from if they are there already."""
    return place.scratch / f"{shape.name}.inputs"


def _run(
    request: CompileRequest,
    model: ModelJob,
    jobs: dict[Shape, TraceJob],
    place: Workplace,
    report: Callable[[str], None],
) -> dict[Shape, TracedBucket]:
    """Run the children; the first that fails ends the others."""
    each = max(tracing_bytes(request.target, model, shape) for shape in jobs)
    width = tracing_width(each, len(jobs), request.work.jobs, Machine())
    if width.told is not None:
        report(width.told)
    shape_of = {shape.name: shape for shape in jobs}
    traced: dict[Shape, TracedBucket] = {}
    with Children[TraceResult]() as children:
        for ended in children.run([_task(request, job, place) for job in jobs.values()], width=width.buckets):
            shape = shape_of[ended.task.name]
            try:
                traced[shape] = _traced(request, ended, jobs[shape], shape, report)
            except TraceshipError as error:
                _keep(error, request, jobs[shape], ended, report)
                raise
            report(_told(traced[shape]))
    return traced


def _told(bucket: TracedBucket) -> str:
    text = f"traced {bucket.shape} in {bucket.seconds:.1f} s, graph {bucket.bytes / 1e6:.2f} MB"
    if bucket.coverage is not None:
        text += f", {bucket.coverage.percent:g} % of operators on the device"
    return text


def _essence(result: TraceResult) -> tuple[object, ...]:
    return result.inputs, result.outputs, result.weights_sha256, result.generation


def make_job(
    request: CompileRequest, model: ModelJob, shape: Shape, place: Workplace, weights: str | None
) -> TraceJob:
    """What the child is told; ``weights`` relative to staging, ``None`` to write none."""
    options = request.compiler
    return TraceJob(
        model=model,
        target=request.target,
        batch=shape.batch,
        length=shape.length,
        graph=str(place.staging / graph_path(shape.batch, shape.length)),
        decoder=str(place.staging / decoder_path(shape.batch, shape.length)) if model.seq2seq else None,
        weights=None if weights is None else str(place.staging / weights),
        workdir=str(place.scratch / f"compiler-{shape.name}"),
        inputs=str(inputs_path(place, shape)),
        compiler_args=neuron_arguments(request),
        compiler_timeout=options.timeout_seconds,
        minimum_segment_size=options.minimum_segment_size,
        single_fusion_ratio=options.single_fusion_ratio,
        separate_weights=options.separate_weights,
        dynamic_batch=options.dynamic_batch,
    )


def _task(request: CompileRequest, job: TraceJob, place: Workplace) -> Task[TraceResult]:
    return Task(
        module="compile.trace",
        job=job,
        answer=TraceResult,
        folder=place.scratch,
        name=bucket_name(job.batch, job.length),
        timeout=request.compiler.timeout_seconds + _GRACE_SECONDS,
        environment=_ONE_THREAD,
    )


def _traced(
    request: CompileRequest,
    ended: Finished[TraceResult],
    job: TraceJob,
    shape: Shape,
    report: Callable[[str], None],
) -> TracedBucket:
    """What the child made, past the coverage gate."""
    try:
        answer = ended.read()
    except ChildFailed as failed:
        if request.debug:
            report(failed.log)
        raise cause(failed, request, shape) from failed
    coverage = coverage_of(answer.log, request, shape) if request.target == "inf1" else None
    return TracedBucket(
        shape=shape,
        path=graph_path(shape.batch, shape.length),
        decoder=None if job.decoder is None else decoder_path(shape.batch, shape.length),
        bytes=sum(Path(path).stat().st_size for path in (job.graph, job.decoder) if path is not None),
        seconds=ended.seconds,
        coverage=coverage,
        result=answer.result,
    )


def _keep(
    error: TraceshipError,
    request: CompileRequest,
    job: TraceJob,
    ended: Finished[TraceResult],
    report: Callable[[str], None],
) -> None:
    """Leave the failed bucket's reproduction where it was asked for, and say where that is."""
    if request.work.repro is None:
        return
    case = repro.Case(
        request=request,
        model=job.model,
        shape=Shape(batch=job.batch, length=job.length),
        inputs=Path(job.inputs),
        log=ended.task.log(),
    )
    written = repro.write(request.work.repro, error, case)
    report(f"the failed bucket can be run again with: python {written}/repro.py")
