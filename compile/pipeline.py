"""The compile stage as one call: source, preflight, trace, prove, package."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from artifact.manifest import Manifest
from compile.buckets import TracedModel, shared_weights, trace_buckets
from compile.drafts import beside
from compile.jobs import ModelJob
from compile.package import Packaged, check_out, package
from compile.packages import installed
from compile.parity import ProvenModel, prove
from compile.parts import assemble, write_part
from compile.preflight import Plan, plan
from compile.request import About, BadBucket, BucketReport, CompiledArtifact, CompileRequest, Shape, Workplace
from compile.source import ModelSource, resolve
from compile.tasks import output_names

Report = Callable[[str], None]
"""Called with one line of progress for people."""


class Trace(Protocol):
    """Fills the staging folder with the graphs of a model."""

    def __call__(
        self,
        request: CompileRequest,
        model: ModelJob,
        shapes: tuple[Shape, ...],
        *,
        place: Workplace,
        report: Report,
    ) -> TracedModel: ...


def compile_model(request: CompileRequest, report: Report, *, trace: Trace | None = None) -> CompiledArtifact:
    """Trace, prove and package one model. ``request.out`` is a whole artifact afterwards, or untouched.

    Args:
        trace: makes the graphs in place of our own traces.

    Raises:
        UsageError: the request does not fit the model or the place (see source.py, preflight.py).
        ProofFailed: parity or coverage; nothing is written.
        TraceshipError: the compiler or the machine failed (see trace.py, package.py).
    """
    started = time.monotonic()
    with _prepared(request, report) as ready:
        traced = _traced(request, ready, report, trace)
        with _timed(report, lambda: f"parity within {proven.parity.tolerance:g}: {_told(proven)}"):
            proven = prove(traced, request, ready.planned, ready.model, ready.place)
        with _timed(report, lambda: f"packaged {packaged.digest[:12]} at {packaged.path}"):
            ready.source.check_unchanged()
            packaged = package(proven, ready.source, ready.planned, request)
    return _compiled(request, ready.planned, proven, packaged, time.monotonic() - started)


def compile_part(request: CompileRequest, shape: Shape, report: Report) -> None:
    """Trace one bucket of the request; ``request.out`` is a part afterwards, or untouched.

    The same request with ``work.parts`` proves and packages it with the others.

    Raises:
        BadBucket: the request has no such bucket.
        UsageError, ProofFailed, TraceshipError: as ``compile_model``, but for what the proof raises.
    """
    if shape not in request.shapes:
        raise BadBucket(bucket=str(shape), why="it is not among the model's buckets")
    with _prepared(request, report) as ready:
        shapes = ready.planned.shapes
        traced = trace_buckets(request, ready.model, shapes, place=ready.place, report=report, only=shape)
        ready.source.check_unchanged()
        write_part(traced, request.out)


@dataclass(frozen=True)
class _Ready:
    """A request whose model was found and fits, and where the work goes on."""

    source: ModelSource
    planned: Plan
    model: ModelJob
    place: Workplace


@contextmanager
def _prepared(request: CompileRequest, report: Report) -> Iterator[_Ready]:
    check_out(request.out)
    with _timed(report, lambda: f"read {request.model}: {len(source.identity.files)} files"):
        source = resolve(
            request.model,
            revision=request.revision,
            identity=request.identity,
            allowed=request.allowed,
            report=report,
        )
    planned = plan(request, source)
    if planned.row.support == "generic":
        report(f"{planned.row.model_type} is in no table of ours: the gates alone speak for it")
    with _workplace(request.out) as place:
        model = model_job(request, planned, source.expose(place.scratch / "model"))
        yield _Ready(source=source, planned=planned, model=model, place=place)


def _traced(request: CompileRequest, ready: _Ready, report: Report, trace: Trace | None) -> TracedModel:
    """The model's buckets, traced here or taken as they were traced before."""
    shapes, place = ready.planned.shapes, ready.place
    if trace is not None:
        return trace(request, ready.model, shapes, place=place, report=report)
    if request.work.parts is None:
        return trace_buckets(request, ready.model, shapes, place=place, report=report)
    with _timed(report, lambda: f"took {len(shapes)} traced buckets"):
        return assemble(
            request.work.parts,
            shapes,
            staging=place.staging,
            weights=shared_weights(request),
            seq2seq=ready.model.seq2seq,
        )


@contextmanager
def _timed(report: Report, told: Callable[[], str]) -> Iterator[None]:
    """Report a step with its seconds once it has succeeded; ``told`` is asked then."""
    started = time.monotonic()
    yield
    report(f"{told()} ({time.monotonic() - started:.1f} s)")


@contextmanager
def _workplace(out: Path) -> Iterator[Workplace]:
    """Two folders beside ``out``, on its file system so that a rename suffices; gone afterwards."""
    with beside(out) as base:
        place = Workplace(staging=base / "artifact", scratch=base / "scratch")
        place.staging.mkdir()
        place.scratch.mkdir()
        yield place


def model_job(request: CompileRequest, planned: Plan, folder: Path) -> ModelJob:
    """How the children load and wrap the model; ``folder`` is the exposed one."""
    spec = planned.spec
    return ModelJob(
        folder=str(folder),
        task=spec.name,
        auto_class=spec.auto_class,
        fields=spec.fields,
        outputs=output_names(spec, request.pooling),
        token_level=spec.token_level and request.pooling == "none",
        choices=planned.choices,
        without_pooler=planned.row.pooler_switch and not spec.heads,
        pooling=request.pooling,
        normalize=request.normalize,
        pad_token_id=planned.pad_token_id,
        seq2seq=planned.row.seq2seq,
        max_target_length=request.max_target_length,
        num_beams=request.num_beams,
        token_types=planned.token_types,
        remote_code=request.trust_remote_code,
    )


def _told(proven: ProvenModel) -> str:
    parts = []
    for figure in proven.figures:
        cosine = "" if figure.min_cosine is None else f", cosine {figure.min_cosine:.6f}"
        parts.append(
            f"{figure.bucket} {figure.output} max {figure.max_abs:.2g}, mean {figure.mean_abs:.2g}{cosine}"
        )
    return "; ".join(parts)


def _compiled(
    request: CompileRequest, planned: Plan, proven: ProvenModel, packaged: Packaged, seconds: float
) -> CompiledArtifact:
    return CompiledArtifact(
        path=packaged.path,
        digest=packaged.digest,
        target=request.target,
        task=request.task,
        buckets=tuple(
            BucketReport(
                batch=b.shape.batch, length=b.shape.length, bytes=b.bytes, seconds=round(b.seconds, 3)
            )
            for b in proven.traced.buckets
        ),
        parity=proven.figures,
        coverage=proven.traced.coverage,
        waivers=proven.waivers,
        seconds=round(seconds, 3),
        support=planned.row.support,
        metric=proven.metric,
        about=_about(packaged.manifest),
        verdicts=proven.verdicts,
        fillings=proven.fillings,
        packages=installed(),
    )


def _about(manifest: Manifest) -> About:
    return About(
        source=manifest.source.id,
        revision=manifest.source.revision,
        architecture=manifest.architecture,
        tier=manifest.parity.tier,
        tolerance=manifest.parity.tolerance,
        built_with=manifest.built_with,
        files_bytes=sum(file.size for file in manifest.files),
    )
