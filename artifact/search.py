"""Greedy and beam search with a static decoder graph: the same loop proves and serves.

Token-exact with transformers' ``generate`` for the settings of ``Generation``. Each sentence of a
batch is searched by itself; only the decoder's calls are shared. Rules and their sources:
transformers v4.36 generation/beam_search.py (hf4), v5 generation/utils.py ``_beam_search`` (hf5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artifact.manifest import Generation

if TYPE_CHECKING:
    import torch

Decode = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Token ids (rows, max_length) and step (1,) in, logits (rows, vocabulary) of the next token out."""

_NEVER = -1e9
"""transformers' own stand-in for minus infinity, which two scores can be compared with."""


def search(decode: Decode, generation: Generation, batch: int) -> list[list[int]]:
    """Find each row's best sequence.

    Args:
        decode: called once a step with ``batch x num_beams`` rows.
        batch: rows of the bucket, the unused ones included.

    Returns:
        Token ids of each row, the start token first, the end token last where there is one.
    """
    import torch

    rows = [_Row(generation) for _ in range(batch)]
    beams = generation.num_beams
    ids = torch.full((batch * beams, generation.max_length), generation.pad_token_id, dtype=torch.int64)
    for length in range(1, generation.max_length):
        for at, row in enumerate(rows):
            for beam, tokens in enumerate(row.running):
                ids[at * beams + beam, : len(tokens)] = torch.tensor(tokens)
        logits = decode(ids, torch.tensor([length - 1])).float()
        scores = logits if beams == 1 else logits.log_softmax(dim=-1)
        scores = allowed(scores, generation, length)
        for at, row in enumerate(rows):
            if not row.done:
                row.extend(scores[at * beams : (at + 1) * beams], length)
        if all(row.done for row in rows):
            break
    return [trimmed(row.best(), generation) for row in rows]


def trimmed(tokens: list[int], generation: Generation) -> list[int]:
    """Up to and with the first end token after the start; the filling behind it is dropped."""
    for at, token in enumerate(tokens[1:], start=1):
        if token == generation.eos_token_id:
            return tokens[: at + 1]
    while len(tokens) > 1 and tokens[-1] == generation.pad_token_id:
        tokens = tokens[:-1]
    return tokens


def allowed(scores: torch.Tensor, generation: Generation, length: int) -> torch.Tensor:
    """Forbidden tokens and the forced end, after the softmax as transformers' processors do it.

    Args:
        scores: (rows, vocabulary), of the token after ``length`` others.
    """
    import torch

    if generation.bad_token_ids:
        scores = scores.index_fill(1, torch.tensor(generation.bad_token_ids), float("-inf"))
    if generation.forced_eos_token_id is not None and length == generation.max_length - 1:
        scores = torch.full_like(scores, float("-inf"))
        scores[:, generation.forced_eos_token_id] = 0.0
    return scores


@dataclass
class _Row:
    """One sentence: what still runs, best first, and what is finished, as (score, tokens)."""

    generation: Generation
    running: list[list[int]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    finished: list[tuple[float, list[int]]] = field(default_factory=list)
    done: bool = False

    def __post_init__(self) -> None:
        start, beams = self.generation.decoder_start_token_id, self.generation.num_beams
        self.running = [[start] for _ in range(beams)]
        self.scores = [0.0] + [_NEVER] * (beams - 1)

    def best(self) -> list[int]:
        """The finished sequence of the highest score; without any, the best that still runs."""
        return max(self.finished, key=lambda entry: entry[0])[1] if self.finished else self.running[0]

    def extend(self, scores: torch.Tensor, length: int) -> None:
        """One step. ``scores`` (beams, vocabulary); ``length`` tokens so far."""
        if self.generation.num_beams == 1:
            self._extend_greedily(scores, length)
        else:
            self._extend_beams(scores, length)

    def _extend_greedily(self, scores: torch.Tensor, length: int) -> None:
        token = int(scores[0].argmax())
        self.running[0] = [*self.running[0], token]
        self.done = token == self.generation.eos_token_id or length + 1 == self.generation.max_length

    def _extend_beams(self, scores: torch.Tensor, length: int) -> None:
        import torch

        beams, vocabulary = scores.shape
        total = scores + torch.tensor(self.scores, dtype=scores.dtype).unsqueeze(1)
        top = total.flatten().topk(2 * beams)
        last = length + 1 == self.generation.max_length
        running: list[tuple[float, list[int]]] = []
        for rank, (score, place) in enumerate(zip(top.values.tolist(), top.indices.tolist())):
            tokens = [*self.running[place // vocabulary], place % vocabulary]
            ended = tokens[-1] == self.generation.eos_token_id
            if ended or (last and self.generation.rule == "hf5"):
                if rank < beams:
                    self._finish(score, tokens, length)
            elif len(running) < beams:
                running.append((score, tokens))
        best = float(top.values[0]) if self.generation.rule == "hf4" or not running else running[0][0]
        self.running = [tokens for _, tokens in running] or self.running
        self.scores = [score for score, _ in running] or self.scores
        self.done = not running or self._cannot_improve(best, length)
        if last and not self.done:
            for score, tokens in running:
                self._finish(score, tokens, length)
        self.done = self.done or last

    def _finish(self, score: float, tokens: list[int], length: int) -> None:
        """Keep the ``num_beams`` best; the divisor counts what was generated, the end included."""
        self.finished.append((score / length**self.generation.length_penalty, tokens))
        if len(self.finished) > self.generation.num_beams:
            self.finished.remove(min(self.finished, key=lambda entry: entry[0]))

    def _cannot_improve(self, best: float, length: int) -> bool:
        """Whether the search ends although something still runs.

        With ``early_stopping`` as soon as enough sequences are finished. Without, when the worst of
        them is no worse than the best score in reach: hf4 looks at all candidates of the step,
        finished ones included, hf5 at those that still run.
        """
        if len(self.finished) < self.generation.num_beams:
            return False
        if self.generation.early_stopping:
            return True
        worst = min(score for score, _ in self.finished)
        return bool(worst >= best / length**self.generation.length_penalty)
