"""The compile stage as one call: source, preflight, trace, prove, package."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from artifact.manifest import WEIGHTS, Manifest
from compile.buckets import trace_buckets
from compile.jobs import ModelJob
from compile.package import OutputNotWritable, Packaged, check_out, package
from compile.parity import ProvenModel, prove
from compile.preflight import Plan, plan
from compile.request import About, BucketReport, CompiledArtifact, CompileRequest, Workplace
from compile.source import resolve
from compile.tasks import output_names

Report = Callable[[str], None]
"""Called with one line of progress for people."""


def compile_model(request: CompileRequest, report: Report) -> CompiledArtifact:
    """Trace, prove and package one model. ``request.out`` is a whole artifact afterwards, or untouched.

    Raises:
        UsageError: the request does not fit the model or the place (see source.py, preflight.py).
        ProofFailed: parity or coverage; nothing is written.
        TraceshipError: the compiler or the machine failed (see trace.py, package.py).
    """
    started = time.monotonic()
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
        traced = trace_buckets(request, model, planned.shapes, place=place, weights=WEIGHTS, report=report)
        with _timed(report, lambda: f"parity within {proven.parity.tolerance:g}: {_told(proven)}"):
            proven = prove(traced, request, planned, model, place)
        with _timed(report, lambda: f"packaged {packaged.digest[:12]} at {packaged.path}"):
            source.check_unchanged()
            packaged = package(proven, source, planned, request)
    return _compiled(request, planned, proven, packaged, time.monotonic() - started)


@contextmanager
def _timed(report: Report, told: Callable[[], str]) -> Iterator[None]:
    """Report a step with its seconds once it has succeeded; ``told`` is asked then."""
    started = time.monotonic()
    yield
    report(f"{told()} ({time.monotonic() - started:.1f} s)")


@contextmanager
def _workplace(out: Path) -> Iterator[Workplace]:
    """Two folders beside ``out``, on its file system so that a rename suffices; gone afterwards."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        base = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    except OSError as error:
        raise OutputNotWritable(path=str(out.parent), why=error.strerror or str(error)) from error
    place = Workplace(staging=base / "artifact", scratch=base / "scratch")
    try:
        place.staging.mkdir()
        place.scratch.mkdir()
        yield place
    finally:
        shutil.rmtree(base)


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
