"""TorchScript files as a team makes them that follows transformers' guide, without us."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

ORDER = ("input_ids", "attention_mask", "token_type_ids")


class Theirs(torch.nn.Module):
    """What a team traces: its model, its order of inputs, its form of the answer."""

    def __init__(self, model: Any, order: tuple[str, ...], form: Callable[[Any], Any]) -> None:
        super().__init__()
        self.model, self.order, self.form = model, order, form

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.form(self.model(**dict(zip(self.order, tensors)), return_dict=True))


def traced_file(
    folder: Path,
    out: Path,
    *,
    order: tuple[str, ...] = ORDER,
    form: Callable[[Any], Any] = lambda answer: (answer.logits,),
    kind: str = "AutoModelForSequenceClassification",
    shape: tuple[int, int] = (1, 16),
) -> Path:
    """As the guide does: torch.jit.trace of a model in eval mode, saved with its weights."""
    model = getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager").eval()
    example = tuple(torch.ones(shape, dtype=torch.int64) for _ in order)
    with torch.no_grad():
        traced = torch.jit.trace(Theirs(model, order, form).eval(), example, strict=False, check_trace=False)
    torch.jit.save(traced, str(out))
    return out
