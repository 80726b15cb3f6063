"""What a compile hands back, made up: for tests of what is drawn and printed from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from artifact.manifest import BuiltWith, Coverage
from compile.jobs import Filling, Verdict
from compile.request import About, BucketReport, CompiledArtifact, Figure, Metric

COUNTS = (900, *([0] * 8), 3, 40, 700, 5000, 220, 9, *([0] * 14))
"""Exactly 0, then differences from 1e-8 to 1e-5."""


def compiled_example(**changes: Any) -> CompiledArtifact:
    """A compile of two buckets for inf1, everything passed."""
    verdicts = [
        Verdict(gate=gate, bucket=bucket, passed=True, compared=1200, why="largest difference 3e-06")
        for bucket in ("b1_s32", "b8_s128")
        for gate in ("parity", "padding")
    ]
    settings: dict[str, Any] = {
        "path": Path("/made/artifact"),
        "digest": "ab" * 32,
        "target": "inf1",
        "task": "text-classification",
        "buckets": (
            BucketReport(batch=1, length=32, bytes=1_500_000, seconds=41.25),
            BucketReport(batch=8, length=128, bytes=2_500_000, seconds=77.5),
        ),
        "parity": tuple(
            Figure(
                bucket=bucket,
                output="logits",
                max_abs=3e-6,
                mean_abs=1e-7,
                compared=sum(COUNTS),
                min_cosine=0.999998,
                histogram=COUNTS,
            )
            for bucket in ("b1_s32", "b8_s128")
        ),
        "coverage": Coverage(
            percent=97.5, compiled=390, total=400, partitions=2, fallback=("aten::embedding",)
        ),
        "waivers": (),
        "seconds": 140.0,
        "about": About(
            source="pypi:example-model",
            revision="1.0",
            architecture="bert",
            tier="neuron-default",
            tolerance=1e-2,
            built_with=BuiltWith(
                torch="1.13.1",
                transformers="4.36.2",
                tokenizers="0.15.2",
                torch_neuron="1.13.1.2.11.13.0",
                neuron_cc="1.24.0.0",
                cpu="x86_64 AVX2",
            ),
            files_bytes=91_000_000,
        ),
        "verdicts": tuple(verdicts),
        "fillings": (
            Filling(bucket="b1_s32", texts=20, tokens=480, places=640),
            Filling(bucket="b8_s128", texts=20, tokens=600, places=3072),
        ),
    }
    settings["metric"] = Metric(name="accuracy", examples=40, reference=0.925, graph=0.9)
    return CompiledArtifact(**{**settings, **changes})
