"""Texts that carry a number, and the one right answer to each: who gets another's is found out.

For the handmade embedding model with mean pooling (``handmade.Recipe``'s default), whose answer is
the mean of its words' vectors. Each digit of a tag has words of its own, so no two tags share a mean.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from tests.kit.handmade import CLS, SEP, Tiny, World

TAGS = 50**4
_MOST_FILLERS = 8
_TOLERANCE = 1e-5


class Tagged:
    """``tag`` from 0 to ``TAGS`` - 1."""

    def __init__(self, world: World) -> None:
        tiny = Tiny(world.recipe)
        self._vectors = (tiny.words + tiny.types[0]).detach().numpy()

    def text(self, tag: int) -> str:
        """Four to eleven words."""
        return " ".join(f"w{word}" for word in _words(tag))

    def body(self, *tags: int) -> bytes:
        """A request for one tag, or for a list of them."""
        texts = [self.text(tag) for tag in tags]
        return json.dumps({"inputs": texts if len(texts) > 1 else texts[0]}).encode()

    def right(self, body: bytes, *tags: int) -> bool:
        """Whether ``body`` answers exactly these tags, in their order."""
        found: Any = json.loads(body)
        vectors = np.array(found if len(tags) > 1 else [found])
        wanted = np.array([self._vector(tag) for tag in tags])
        return vectors.shape == wanted.shape and bool(np.abs(vectors - wanted).max() <= _TOLERANCE)

    def _vector(self, tag: int) -> Any:
        ids = [CLS, *(word + 4 for word in _words(tag)), SEP]
        return self._vectors[ids].mean(axis=0)


def _words(tag: int) -> list[int]:
    digits = [50 * place + tag // 50**place % 50 for place in range(4)]
    return digits + [0] * (tag % _MOST_FILLERS)
