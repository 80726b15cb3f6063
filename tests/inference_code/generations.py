"""Make the kept artifact of this Python's generation: ``python -m tests.inference_code.generations``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch

from compile.pipeline import compile_model
from tests.compile.world import make_request
from tests.kit.models import tiny_model

KEPT = Path(__file__).parent / "generations"
LABELS = ("no", "yes", "maybe")


def main() -> None:
    """Compile a tiny classifier and put it where the tests look for it."""
    out = KEPT / f"torch-{torch.__version__.partition('+')[0]}"
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model(Path(folder) / "model", labels=LABELS)
        request = make_request(model, Path(folder) / "out", "1x16", "2x32", task="text-classification")
        compile_model(request, print)
        shutil.copytree(Path(folder) / "out", out)


if __name__ == "__main__":
    main()
