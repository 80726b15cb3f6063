"""How fast one replica of an artifact is, for the lock: measured here, or estimated and labelled so.

``python -m compile.measure PATH`` prints one JSON object. It runs in a process of its own, so
that the command which asks stays free of torch. The stacks derive scaling targets and start-up
time-outs from the figures (``artifact/release.py``, ``Throughput``).
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from artifact.graphs import load_graph, load_weights, prepare
from artifact.manifest import Bucket, Manifest
from artifact.verify import VerifiedArtifact, verify

_SECONDS = 1.0
_ESTIMATES = Path(__file__).parent / "data/inf1_throughput.json"


@dataclass(frozen=True)
class Speed:
    """``per_second`` rows of the best bucket; ``load_seconds`` from verified bytes to every graph loaded."""

    per_second: float
    load_seconds: float
    measured: bool
    source: str


def measure(artifact: VerifiedArtifact) -> Speed:
    """Time the bucket with the most tokens (cpu), or look the architecture up (inf1).

    A graph compiled for Inf1 cannot run where it was compiled, so its figure is the vendor's
    for the nearest reference model, marked as an estimate.
    """
    if artifact.manifest.requires.target == "inf1":
        return _estimated(artifact.manifest)
    return _measured(artifact)


def _measured(artifact: VerifiedArtifact) -> Speed:
    import torch

    torch.set_num_threads(1)
    manifest = artifact.manifest
    prepare(manifest.requires.target)
    bucket = max(manifest.buckets, key=lambda b: b.batch * b.length)
    started = time.perf_counter()
    weights = load_weights(artifact.take(manifest.weights)) if manifest.weights else None
    paths = (path for each in manifest.buckets for path in (each.path, each.decoder) if path is not None)
    graphs = {path: load_graph(artifact.take(path), weights) for path in paths}
    graph = graphs[bucket.path]
    load_seconds = time.perf_counter() - started
    inputs = [torch.ones(bucket.batch, bucket.length, dtype=torch.int64) for _ in manifest.inputs]
    with torch.no_grad():
        graph(*inputs)
        rows, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < _SECONDS or rows == 0:
            graph(*inputs)
            rows += bucket.batch
    return Speed(
        per_second=round(rows / elapsed, 1),
        load_seconds=round(load_seconds, 2),
        measured=True,
        source=f"measured when shipped: bucket {bucket.batch}x{bucket.length}, one thread",
    )


def _estimated(manifest: Manifest) -> Speed:
    table = json.loads(_ESTIMATES.read_text())
    rows = [r for r in table["rows"] if manifest.architecture.startswith(r["architecture"])]
    row = rows[0] if rows else table["rows"][0]
    figure = row["batched_per_second"] if _batched(manifest.buckets) else row["single_per_second"]
    return Speed(
        per_second=figure,
        load_seconds=table["load_seconds"],
        measured=False,
        source=f"estimate: {row['model']} at length 128 on inf1.xlarge ({table['source']}); "
        "this model was not measured on Inf1",
    )


def _batched(buckets: tuple[Bucket, ...]) -> bool:
    return any(bucket.batch > 1 for bucket in buckets)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(verify(Path(sys.argv[1]))))))
