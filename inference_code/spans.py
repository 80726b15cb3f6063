"""Which spans answer best: a pure function of each token's probability to begin and to end one.

Source: transformers 4.36.2, pipelines/question_answering.py, which version 5 dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from inference_code.rows import FloatArray


class Span(msgspec.Struct, frozen=True):
    """Tokens ``first`` to ``last`` of a window's context, counted from 0, and their probability."""

    first: int
    last: int
    score: float


def best_spans(start: FloatArray, end: FloatArray, *, longest: int, top_k: int) -> list[Span]:
    """The ``top_k`` best spans, best first; of equals the one that begins, then ends, first.

    Args:
        start, end: probability of each of the context's tokens to begin and to end the answer.
        longest: tokens of the longest span allowed.
    """
    import numpy as np

    size = len(start)
    longest = min(longest, size)
    places = np.arange(size)[:, None] + np.arange(longest)
    inside = places < size
    scores = np.where(inside, start[:, None] * end[np.where(inside, places, 0)], -1.0).ravel()
    if top_k < scores.size:
        best = np.sort(np.argpartition(-scores, top_k - 1)[:top_k])
    else:
        best = np.arange(scores.size)
    best = best[np.argsort(-scores[best], kind="stable")]
    found = zip(best.tolist(), scores[best].tolist())
    return [Span(at // longest, at // longest + at % longest, score) for at, score in found if score >= 0]
