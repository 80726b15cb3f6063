"""The one JSON object that ``python -m compile --json`` prints, written and read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec

from artifact.manifest import Coverage, Waiver
from compile.jobs import Filling, Verdict
from compile.packages import Package
from compile.request import About, BucketReport, CompiledArtifact, Figure, Metric


def result_data(compiled: CompiledArtifact) -> dict[str, Any]:
    """As printed: ``min_cosine`` is left out where it has no meaning."""
    return {
        "path": str(compiled.path),
        "digest": compiled.digest,
        "target": compiled.target,
        "task": compiled.task,
        "buckets": [dataclasses.asdict(bucket) for bucket in compiled.buckets],
        "parity": [_figure_data(figure) for figure in compiled.parity],
        "coverage": msgspec.to_builtins(compiled.coverage),
        "waivers": msgspec.to_builtins(compiled.waivers),
        "seconds": compiled.seconds,
        "support": compiled.support,
        "metric": None if compiled.metric is None else dataclasses.asdict(compiled.metric),
        "cached": compiled.cached,
        "about": msgspec.to_builtins(compiled.about),
        "verdicts": msgspec.to_builtins(compiled.verdicts),
        "fillings": msgspec.to_builtins(compiled.fillings),
        "packages": msgspec.to_builtins(compiled.packages),
    }


def read_result(data: dict[str, Any], path: Path) -> CompiledArtifact:
    """The inverse, for a runner; ``path`` is where the artifact is on this side."""
    return CompiledArtifact(
        path=path,
        digest=data["digest"],
        target=data["target"],
        task=data["task"],
        buckets=msgspec.convert(data["buckets"], tuple[BucketReport, ...]),
        parity=msgspec.convert(data["parity"], tuple[Figure, ...]),
        coverage=msgspec.convert(data["coverage"], Coverage | None),
        waivers=msgspec.convert(data["waivers"], tuple[Waiver, ...]),
        seconds=data["seconds"],
        support=data["support"],
        metric=msgspec.convert(data["metric"], Metric | None),
        cached=data["cached"],
        about=msgspec.convert(data["about"], About),
        verdicts=msgspec.convert(data["verdicts"], tuple[Verdict, ...]),
        fillings=msgspec.convert(data["fillings"], tuple[Filling, ...]),
        packages=msgspec.convert(data["packages"], tuple[Package, ...]),
    )


def _figure_data(figure: Figure) -> dict[str, Any]:
    data = dataclasses.asdict(figure)
    if figure.min_cosine is None:
        del data["min_cosine"]
    return data
