"""How far two sets of outputs are apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from compile import histogram


@dataclass
class Tally:
    """Differences of one output, gathered over many batches. Shapes are compared first.

    ``vectors``: rows are directions, whose cosine means something.
    """

    vectors: bool = False
    max_abs: float = 0.0
    total_abs: float = 0.0
    min_cosine: float = 1.0
    compared: int = 0
    finite: bool = True
    same_shape: bool = True
    histogram: list[int] = field(default_factory=histogram.empty)

    def add(self, found: torch.Tensor, expected: torch.Tensor) -> None:
        """Compare two tensors of shape (n, width), each row a vector that is worth comparing."""
        if found.shape != expected.shape:
            self.same_shape = False
            return
        if not bool(torch.isfinite(found).all() and torch.isfinite(expected).all()):
            self.finite = False
            return
        difference = (found.double() - expected.double()).abs()
        if difference.numel() == 0:
            return
        self.max_abs = max(self.max_abs, float(difference.max()))
        self.total_abs += float(difference.sum())
        self.compared += difference.numel()
        self.histogram = histogram.add(self.histogram, histogram.count(difference))
        if not self.vectors:
            return
        cosine = torch.nn.functional.cosine_similarity(found.double(), expected.double(), dim=-1)
        self.min_cosine = min(self.min_cosine, float(cosine.min()))

    def within(self, tolerance: float) -> bool:
        """Whether something was compared and all of it is close enough."""
        return self.compared > 0 and self.same_shape and self.finite and self.max_abs <= tolerance

    def why(self, tolerance: float) -> str:
        """The verdict in words."""
        if not self.same_shape:
            return "the outputs have different shapes"
        if not self.finite:
            return "an output is NaN or Inf"
        return f"largest difference {self.max_abs:.3g}, allowed {tolerance:g}"


def worth_comparing(output: torch.Tensor, mask: torch.Tensor, *, token_level: bool) -> torch.Tensor:
    """The vectors of an output that mean something, as (n, width).

    Token level: the positions under the mask. Otherwise: the rows with any token. A shape that
    does not fit the mask is returned as it is, for ``Tally`` to see that it differs.
    """
    seen = mask.bool() if token_level else mask.bool().flatten(1).any(dim=1)
    if output.shape[: seen.dim()] != seen.shape:
        return output
    return output[seen].reshape(int(seen.sum()), -1)
