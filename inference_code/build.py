"""Which artifact runs on which versions: the labels of ``traceship_build_info``."""

from __future__ import annotations

from importlib import metadata

from artifact.verify import VerifiedArtifact
from inference_code.metrics import Metrics


def describe(metrics: Metrics, artifact: VerifiedArtifact, release: str) -> None:
    """Tell ``metrics`` what ``artifact`` is. ``release``: its name and digest in S3, or nothing."""
    manifest = artifact.manifest
    build = {
        "digest": artifact.digest,
        "release": release,
        "task": manifest.task,
        "target": manifest.requires.target,
        "version": _installed("traceship"),
        "torch": _installed("torch"),
        "built_with_torch": manifest.requires.torch,
    }
    metrics.describe(build, manifest.buckets, choices=manifest.choices or 1)


def _installed(distribution: str) -> str:
    """Its version by its own record, without importing it; the serving image has no record of ours."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
