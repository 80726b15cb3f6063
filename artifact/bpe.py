"""Byte-pair encoding of a word, as XLM's and FlauBERT's tokenizers in transformers do it.

Not the BPE of the ``tokenizers`` library, which wants an id for every letter and every merge; these
vocabularies keep only the pieces that are frequent.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from heapq import heapify, heappop, heappush

END = "</w>"
"""Closes the last piece of a word."""
_REMEMBERED = 65_536
_LONGEST_REMEMBERED = 64
"""Words and their characters; so what is remembered stays below some tens of megabytes."""


class Merges:
    """Pairs of pieces that become one, the first of the list before all others."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._split)

    def split(self, word: str) -> tuple[str, ...]:
        """The pieces of a word that is not empty; together they spell it, with ``END``."""
        return self._remembered(word) if len(word) <= _LONGEST_REMEMBERED else self._split(word)

    def _split(self, word: str) -> tuple[str, ...]:
        """Merge every place of the best pair from the left, then look for the best pair again.

        With a heap, since a word of a hundred thousand letters may be somebody's request. A place
        is the index of the pair's left piece; an emptied piece is one that went into its left
        neighbour.
        """
        pieces = [*word[:-1], word[-1] + END]
        size = len(pieces)
        before, after = list(range(-1, size - 1)), list(range(1, size + 1))

        def rank(place: int) -> int | None:
            if place < 0 or after[place] >= size:
                return None
            return self._ranks.get((pieces[place], pieces[after[place]]))

        heap = [(found, place) for place in range(size) if (found := rank(place)) is not None]
        heapify(heap)
        while heap:
            best, merged = heap[0][0], []
            while heap and heap[0][0] == best:
                place = heappop(heap)[1]
                if rank(place) != best:
                    continue
                gone = after[place]
                pieces[place] += pieces[gone]
                pieces[gone] = ""
                after[place] = after[gone]
                if after[place] < size:
                    before[after[place]] = place
                merged.append(place)
            for place in {*merged, *(before[place] for place in merged)}:
                if (found := rank(place)) is not None:
                    heappush(heap, (found, place))
        return tuple(piece for piece in pieces if piece)
