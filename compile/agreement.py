"""What must agree beyond the numbers, task by task, with margins so that near-ties do not count.

A difference within the tolerance may turn an answer whose lead is below twice that; such answers
are not judged. A task without any judged answer fails: undecided is not proven.

    cosine       vectors: the cosine is at least ``MIN_COSINE``
    label        one label, several labels, or a number (a regression has nothing beyond it)
    token-label  the label of every token
    choice       the best candidate
    span         the best start and end inside the context
    top-k        the ``TOP`` best words at each mask, in their order
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from compile.comparison import Batch
    from compile.jobs import CompareJob

MIN_COSINE = 0.999
"""Least cosine to the untraced vector. Source: a swap of two inputs gives 0.3 to 0.64 on MiniLM,
bfloat16 rounding 0.9999."""

TOP = 5
"""Words whose order is compared: the default ``top_k`` of transformers' fill-mask pipeline."""

MAX_ANSWER_TOKENS = 15
"""Longest answer. Source: ``max_answer_len`` of transformers' question-answering pipeline."""


@dataclass
class Agreement:
    """Answers of one bucket, judged batch by batch."""

    job: CompareJob
    kind: str
    mask_token_id: int | None = None
    compared: int = 0
    wrong: int = 0

    def add(self, batch: Batch) -> None:
        """Judge a batch of real examples; outputs as the graph and the untraced model gave them."""
        if any(found.shape != expected.shape for found, expected in zip(batch.found, batch.expected)):
            self.wrong += 1
            return
        decided, agrees = self._judge(batch)
        self.compared += int(decided.sum())
        self.wrong += int((decided & ~agrees).sum())

    @property
    def passed(self) -> bool:
        return self.wrong == 0 and self.compared > 0

    @property
    def why(self) -> str:
        if self.compared == 0:
            return "every answer of the model itself is undecided within the tolerance"
        return f"{self.wrong} of {self.compared} answers mean something else"

    def _judge(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        margin = 2 * self.job.tolerance
        if self.kind == "span":
            return spans(batch, 2 * margin)
        found, expected = batch.compared[0]
        if self.kind == "cosine":
            return cosines(found, expected)
        if self.kind == "top-k":
            ids, mask = batch.feed["input_ids"], batch.feed["attention_mask"]
            masked = ids[mask.bool()] == self.mask_token_id
            return top(found[masked], expected[masked], margin)
        return labels(found, expected, margin, self.job.problem_type)


def cosines(found: torch.Tensor, expected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors (n, width): which have a direction, and which point the same way."""
    cosine = torch.nn.functional.cosine_similarity(found.double(), expected.double(), dim=-1)
    return expected.double().norm(dim=-1) > 0, cosine >= MIN_COSINE


def labels(
    found: torch.Tensor, expected: torch.Tensor, margin: float, problem: str | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, labels): which lead by more than ``margin``, and which say the same.

    With several labels at once each logit is a decision of its own, at 0.
    """
    if problem == "multi_label_classification":
        return expected.abs() > margin, (found > 0) == (expected > 0)
    if problem == "regression" or expected.shape[-1] < 2:
        return torch.ones_like(expected, dtype=torch.bool), torch.isfinite(found)
    best = expected.topk(2, dim=-1).values
    return best[:, 0] - best[:, 1] > margin, found.argmax(dim=-1) == expected.argmax(dim=-1)


def top(found: torch.Tensor, expected: torch.Tensor, margin: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, vocabulary): for each rank, is the gap below it clear, and are the words above it
    the same? Returns two tensors of shape (n, ranks)."""
    ranks = min(TOP, expected.shape[-1] - 1)
    best = expected.topk(ranks + 1, dim=-1)
    decided = best.values[:, :-1] - best.values[:, 1:] > margin
    theirs = found.topk(ranks, dim=-1).indices
    agrees = [
        theirs[:, :rank].sort(dim=-1).values == best.indices[:, :rank].sort(dim=-1).values
        for rank in range(1, ranks + 1)
    ]
    return decided, torch.stack([same.all(dim=-1) for same in agrees], dim=-1)


def spans(batch: Batch, margin: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Start and end logits (batch, length): one decision for each row that has a context."""
    decided, agrees = [], []
    for index, row in enumerate(batch.rows):
        inside = [at for at, sequence in enumerate(row.parts[0].sequences) if sequence == 1]
        if not inside:
            continue
        expected = _span_scores(batch.expected, index, inside)
        found = _span_scores(batch.found, index, inside)
        lead = expected.topk(min(2, expected.numel())).values
        decided.append(lead.numel() == 1 or float(lead[0] - lead[1]) > margin)
        agrees.append(int(expected.argmax()) == int(found.argmax()))
    return torch.tensor(decided, dtype=torch.bool), torch.tensor(agrees, dtype=torch.bool)


def _span_scores(outputs: tuple[torch.Tensor, ...], index: int, inside: list[int]) -> torch.Tensor:
    """Flat scores of every span of at most ``MAX_ANSWER_TOKENS`` context tokens."""
    start, end = (output[index, inside].double() for output in outputs)
    scores = start.unsqueeze(1) + end.unsqueeze(0)
    allowed = torch.ones_like(scores, dtype=torch.bool).triu() & ~torch.ones_like(
        scores, dtype=torch.bool
    ).triu(MAX_ANSWER_TOKENS)
    return scores.masked_fill(~allowed, float("-inf")).flatten()
