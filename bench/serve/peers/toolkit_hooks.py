"""inference.py for AWS's Hugging Face toolkit: model_fn and predict_fn, as the Inf1 sample has them."""

import os
import sys
from typing import Any

sys.path.insert(0, os.environ["BENCH_PEERS"])
from embedder import Embedder


def model_fn(_folder: str, _context: Any = None) -> Embedder:
    return Embedder()


def predict_fn(data: dict[str, Any], model: Embedder, _context: Any = None) -> list[float]:
    return model([data["inputs"]])[0]
