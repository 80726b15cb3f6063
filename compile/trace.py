"""One bucket traced in a fresh process: the parent's half, and ``python -m compile.trace``.

Makes ``graphs/*.pt``; ``artifact/graphs.py`` loads them, on both sides.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifact.errors import TraceshipError
from artifact.manifest import BuiltWith, Coverage, Generation, Tensor, decoder_path, graph_path
from compile.backends.neuron_log import (
    CompilerOutOfMemory,
    CompilerTimedOut,
    CoverageTooLow,
    TraceFailed,
    explain,
    read_coverage,
)
from compile.children import ChildFailed, child_main, run
from compile.jobs import ModelJob, TraceJob, TraceResult
from compile.request import CompileRequest, Shape, Workplace

if TYPE_CHECKING:
    import torch

_GRACE_SECONDS = 60
"""The compiler has its own time limit; ours only has to catch a child that ignores it."""


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
    weights: str,
    report: Callable[[str], None],
) -> TracedModel:
    """Trace each bucket in turn, each in its own process.

    Raises:
        CoverageTooLow: below the policy, and not waived.
        CompilerOutOfMemory, CompilerTimedOut, NothingCompiled, GraphTooLarge,
        OperatorNotSupported, CoverageUnknown, TraceFailed, BucketsDisagree: see there.
    """
    (place.staging / "graphs").mkdir()
    shared = weights if request.target == "cpu" else None
    traced: list[TracedBucket] = []
    for shape in shapes:
        job = make_job(request, model, shape, place, shared if not traced else None)
        bucket = _trace_one(request, job, shape, place, report)
        if traced and _essence(bucket.result) != _essence(traced[0].result):
            raise BucketsDisagree(bucket=shape.name)
        traced.append(bucket)
        report(_told(bucket))
    return TracedModel(staging=place.staging, buckets=tuple(traced), weights=shared)


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
        compiler_args=options.arguments,
        compiler_timeout=options.timeout_seconds,
        minimum_segment_size=options.minimum_segment_size,
        single_fusion_ratio=options.single_fusion_ratio,
        separate_weights=options.separate_weights,
    )


def _trace_one(
    request: CompileRequest, job: TraceJob, shape: Shape, place: Workplace, report: Callable[[str], None]
) -> TracedBucket:
    started = time.monotonic()
    limit = request.compiler.timeout_seconds + _GRACE_SECONDS
    try:
        answer = run("compile.trace", job, TraceResult, folder=place.scratch, name=shape.name, timeout=limit)
    except ChildFailed as failed:
        if request.debug:
            report(failed.log)
        raise _cause(failed, request, shape) from failed
    coverage = None
    if request.target == "inf1":
        coverage = read_coverage(answer.log, shape.name)
        _check_coverage(coverage, request, shape)
    return TracedBucket(
        shape=shape,
        path=graph_path(shape.batch, shape.length),
        decoder=None if job.decoder is None else decoder_path(shape.batch, shape.length),
        bytes=sum(Path(path).stat().st_size for path in (job.graph, job.decoder) if path is not None),
        seconds=time.monotonic() - started,
        coverage=coverage,
        result=answer.result,
    )


def _cause(failed: ChildFailed, request: CompileRequest, shape: Shape) -> TraceshipError:
    code, seconds = failed.exit_code_of_child, request.compiler.timeout_seconds
    if code is None:
        return CompilerTimedOut(bucket=shape.name, seconds=seconds)
    if request.target == "inf1":
        return explain(failed.log, code, shape.name, seconds)
    if code in (-9, 137):
        return CompilerOutOfMemory(bucket=shape.name)
    return TraceFailed(bucket=shape.name, why=failed.why)


def _check_coverage(coverage: Coverage, request: CompileRequest, shape: Shape) -> None:
    waived = any(waiver.gate == "coverage" for waiver in request.waivers)
    minimum = request.compiler.min_coverage
    if coverage.percent < minimum and not waived:
        raise CoverageTooLow(
            bucket=shape.name,
            percent=coverage.percent,
            minimum=minimum,
            fallback=coverage.fallback,
        )


def trace_here(job: TraceJob) -> TraceResult:
    """Trace in this process; only the first trace of a process has reproducible bytes.

    The example inputs are seeded random ids, never a user's text: a trace may keep them.
    """
    import torch
    from safetensors.torch import save

    from compile.backends.protocol import TraceOptions, backend_of
    from compile.model import load_model, vocabulary, weight_bytes, wrap
    from compile.samples import random_feed
    from compile.seq2seq import Decoder, decoder_feed, generation_of

    torch.set_num_threads(1)  # one small forward; more threads only get in each other's way
    backend = backend_of(job.target)
    model = load_model(job.model)
    wrapper = wrap(model, job.model)
    names = wrapper.names
    feed = random_feed(job.model, names, (job.batch, job.length), vocabulary(model))
    inputs = tuple(feed[name] for name in names)
    with torch.no_grad():
        shapes = [tuple(output.shape) for output in wrapper(*inputs)]
    generation = generation_of(model, job.model) if job.model.seq2seq else None
    parts: list[tuple[Any, tuple[torch.Tensor, ...], str]] = [(wrapper, inputs, job.graph)]
    if generation is not None and job.decoder is not None:
        states = wrapper(*inputs)[0].detach()
        decoder = Decoder(model).eval().requires_grad_(False)
        parts.append((decoder, decoder_feed(generation, states, feed["attention_mask"]), job.decoder))
    tensors: dict[str, torch.Tensor] | None = None
    for part, arguments, path in parts:
        workdir = Path(job.workdir) / Path(path).stem
        workdir.mkdir(parents=True)
        traced = backend.trace(
            part,
            arguments,
            TraceOptions(
                arguments=job.compiler_args,
                timeout_seconds=job.compiler_timeout,
                workdir=workdir,
                weight_bytes=weight_bytes(part),
                minimum_segment_size=job.minimum_segment_size,
                single_fusion_ratio=job.single_fusion_ratio,
                separate_weights=job.separate_weights,
            ),
        )
        Path(path).write_bytes(traced.graph)
        if traced.weights is not None:
            tensors = {**(tensors or {}), **traced.weights}
    weights = None if tensors is None else save(tensors)
    if weights is not None and job.weights is not None:
        Path(job.weights).write_bytes(weights)
    return TraceResult(
        inputs=tuple(_input(job, name) for name in names),
        outputs=tuple(_output(job, name, shape) for name, shape in zip(job.model.outputs, shapes)),
        weights_sha256=None if weights is None else hashlib.sha256(weights).hexdigest(),
        built_with=_built_with(*backend.versions()),
        generation=generation,
    )


def _input(job: TraceJob, name: str) -> Tensor:
    choices = () if job.model.choices is None else (job.model.choices,)
    return Tensor(name=name, dtype="int64", shape=("batch", *choices, "length"))


def _output(job: TraceJob, name: str, shape: tuple[int, ...]) -> Tensor:
    symbols: tuple[str | int, ...] = ("batch", *shape[1:])
    if job.model.token_level:
        symbols = ("batch", "length", *shape[2:])
    return Tensor(name=name, dtype="float32", shape=symbols)


def _built_with(torch_neuron: str | None, neuron_cc: str | None) -> BuiltWith:
    import platform

    import tokenizers
    import torch
    import transformers

    described = torch.__config__.show()
    _, _, capability = described.partition("CPU capability usage: ")
    return BuiltWith(
        torch=torch.__version__.partition("+")[0],
        transformers=transformers.__version__,
        tokenizers=tokenizers.__version__,
        torch_neuron=torch_neuron,
        neuron_cc=neuron_cc,
        cpu=f"{platform.machine()} {capability.splitlines()[0].strip() if capability else 'unknown'}",
    )


if __name__ == "__main__":
    sys.exit(child_main(TraceJob, trace_here, sys.argv[1:]))
