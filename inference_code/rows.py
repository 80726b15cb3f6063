"""What goes into a graph for one input, and what comes out: rows of tokens and their outputs.

What is made for each request is a ``msgspec.Struct`` here and in the modules around: a frozen dataclass
takes nine times as long to make (docs/decisions/0027-lean-front.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import msgspec

from inference_code.errors import InferenceFailed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

T = TypeVar("T")


class Marks(msgspec.Struct, frozen=True):
    """Where the tokens of a row come from, one entry per token.

    ``offsets`` are first and last-plus-one character in the text that holds the token; ``words``
    the word's number in it, or None; ``sequences`` 0 for the text, 1 for its pair, None for the
    special tokens that the tokenizer added.
    """

    offsets: Sequence[tuple[int, int]]
    words: Sequence[int | None]
    sequences: Sequence[int | None]


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """Which of a row's tokens have outputs that are wanted: the first ``length``, or those of ``keep``."""

    length: int
    keep: tuple[int, ...] | None = None


class Row(msgspec.Struct, frozen=True):
    """Tokens with special tokens: ids and token types of equal length.

    ``marks`` is there where an answer needs it. ``others`` are the further candidates of
    multiple-choice, which stand beside this one in the same row of a batch. ``keep`` names the
    tokens whose outputs are wanted; None wants all.
    """

    ids: Sequence[int]
    types: Sequence[int]
    marks: Marks | None = None
    others: tuple[Row, ...] = ()
    keep: tuple[int, ...] | None = None

    @property
    def lines(self) -> tuple[Row, ...]:
        """This line of tokens and those beside it."""
        return (self, *self.others)

    @property
    def length(self) -> int:
        """Tokens of the longest line: what a bucket must hold."""
        return max(len(line.ids) for line in self.lines) if self.others else len(self.ids)

    @property
    def tokens(self) -> int:
        """Of all lines together."""
        return sum(len(line.ids) for line in self.lines) if self.others else len(self.ids)

    @property
    def wanted(self) -> Wanted:
        """What is to be cut out of a graph's outputs for this row."""
        return Wanted(length=self.length, keep=self.keep)

    @property
    def weight(self) -> int:
        """What the row counts for in a request: one, or its places to fill if they are more."""
        return 1 if self.keep is None else max(1, len(self.keep))

    def picked(self, *parts: range) -> Row:
        """The row that holds only the tokens of ``parts``, in that order; each steps by one."""

        def of(column: Sequence[T]) -> list[T]:
            return list(chain.from_iterable(column[part.start : part.stop] for part in parts))

        marks = self.marks and Marks(
            offsets=of(self.marks.offsets), words=of(self.marks.words), sequences=of(self.marks.sequences)
        )
        return Row(ids=of(self.ids), types=of(self.types), marks=marks)


class Outputs(msgspec.Struct, frozen=True):
    """One row of what a graph returned: per output an array without batch axis and padding.

    Where the row keeps some tokens only, the arrays hold those. ``finite`` is False where a worker found
    NaN or infinity among them; who runs graphs by itself asks ``all_finite``.
    """

    arrays: tuple[FloatArray, ...]
    finite: bool = True


NOT_FINITE = "the model's answer holds a number that is not finite"


def all_finite(outputs: Outputs) -> bool:
    """Whether a graph answered with numbers only, neither NaN nor infinity."""
    import numpy as np

    return all(bool(np.isfinite(array).all()) for array in outputs.arrays)


def check_finite(outputs: Outputs) -> None:
    """Raise InferenceFailed where a graph answered with NaN or infinity: JSON could not say so."""
    if not all_finite(outputs):
        raise InferenceFailed(why=NOT_FINITE)


def softmax(logits: FloatArray) -> FloatArray:
    """Over the last axis, in float32."""
    import numpy as np

    scores: FloatArray = np.exp(logits - logits.max(axis=-1, keepdims=True)).astype(np.float32, copy=False)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores
