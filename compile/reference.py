"""Sentence embeddings by plain transformers, one text at a time: a yardstick that shares no code with us.

``python -m compile.reference FOLDER POOLING NORMALIZE`` reads a JSON list of texts from
standard input and prints a JSON list of vectors. No padding, no batch, no wrapper, no trace:
whatever a served artifact answers is compared with this (``traceship demo``, tests/e2e).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from artifact.manifest import Pooling


def embed(folder: str, texts: Sequence[str], *, pooling: Pooling, normalize: bool) -> list[list[float]]:
    """Return one vector a text, float32, from the untraced model in ``folder``."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    vectors = []
    with torch.no_grad():
        for text in texts:
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            vector = states[0] if pooling == "cls" else states.mean(dim=0)
            vectors.append(torch.nn.functional.normalize(vector, dim=0) if normalize else vector)
    return [vector.tolist() for vector in vectors]


if __name__ == "__main__":
    folder, pooling, normalize = sys.argv[1:]
    asked: Pooling = "cls" if pooling == "cls" else "mean"
    print(json.dumps(embed(folder, json.load(sys.stdin), pooling=asked, normalize=normalize == "true")))
