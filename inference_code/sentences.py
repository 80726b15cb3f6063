"""A text with another token in one of its places, many times over: the same as decoding each text whole.

Decoding 500 tokens takes half a millisecond, and a request may ask for a thousand words for each of its
masks. Where the tokenizer writes token by token, what stands around a place is decoded once.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from inference_code.errors import TooManyAnswers
from inference_code.vocabulary import Vocabulary

MAX_WHOLE_TOKENS = 1_048_576
"""Tokens of one input that are decoded in whole texts: a second's work."""


class Sentences:
    """Texts of one row of tokens. ``filled`` decodes all of the row only where nothing less is right.

    Args:
        ids: of tokens that the vocabulary holds.
        places: where tokens are to be put, in rising order; at least one.
        padding: a token that no text shows.
        skip_special: nor does it show special tokens.
        few: texts that are decoded whole, before it is worth while to look closer.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        ids: Sequence[int],
        places: Sequence[int],
        *,
        padding: int,
        skip_special: bool,
        few: int = 8,
    ) -> None:
        self._vocabulary = vocabulary
        self._ids = ids
        self._skip_special = skip_special
        self._hidden = vocabulary.special | {padding} if skip_special else {padding}
        self._padding = padding
        self._whole_tokens = 0
        self._more: dict[int, str | None] = {}
        self._places = places
        self._few = few
        self._place: int | None = None
        self._split: tuple[list[int], str | None] | None = None

    def filled(self, place: int, token: int) -> str:
        """The text with ``token`` at ``place``.

        Raises:
            TooManyAnswers: see ``MAX_WHOLE_TOKENS``.
        """
        if self._few:
            self._few -= 1
            return self._whole(place, token)
        if self._parts is None:
            return self._whole(place, token)
        if place != self._place:
            at = 2 * self._number[place] + 1
            self._before, self._after = "".join(self._parts[:at]), "".join(self._parts[at + 1 :])
            self._place, self._split = place, None
        begins = self._opens and not self._number[place]
        if begins and (token in self._hidden or not self._vocabulary.token(token)):
            return self._whole(place, token)  # what follows begins the text
        if token in self._hidden:
            return self._before + self._after
        middle = self._vocabulary.begin([token]) if begins else self._added(token)
        if middle is not None:
            return self._before + middle + self._after
        # It ends within a character: the token after it tells what becomes of that.
        following, rest = self._split = self._split or self._after_one(place)
        middle = (self._vocabulary.begin if begins else self._vocabulary.more)([token, *following])
        if middle is None or rest is None:
            return self._whole(place, token)
        return self._before + middle + rest

    @functools.cached_property
    def _number(self) -> dict[int, int]:
        return {place: number for number, place in enumerate(self._places)}

    @functools.cached_property
    def _opens(self) -> bool:
        """Whether the first place begins the text."""
        return not self._shown(0, self._places[0])

    @functools.cached_property
    def _parts(self) -> list[str] | None:
        """The text before the first place, what stands in it now, the text up to the second, and so on.

        None: the decoder looks at more than a token, a character goes on over one of their ends, or what
        begins the text depends on the place.
        """
        places = self._places
        if not self._vocabulary.goes_token_by_token:
            return None
        if self._opens and len(places) > 1 and not self._shown(places[0], places[0] + 1):
            return None
        parts = [self._vocabulary.begin(self._shown(0, places[0]))]
        for place, end in zip(places, [*places[1:], len(self._ids)]):
            begins = self._opens and place == places[0]
            here = self._shown(place, place + 1)
            parts.append(self._vocabulary.begin(here) if begins else self._vocabulary.more(here))
            parts.append(self._vocabulary.more(self._shown(place + 1, end)))
        whole = [part for part in parts if part is not None]
        return whole if len(whole) == len(parts) else None

    def _after_one(self, place: int) -> tuple[list[int], str | None]:
        """The first token after ``place``, and the text that follows it, if that is one by itself."""
        after = self._shown(place + 1, len(self._ids))
        whole = self._vocabulary.more(after[:1]) is not None
        return after[:1], self._vocabulary.more(after[1:]) if whole else None

    def _added(self, token: int) -> str | None:
        if token not in self._more:
            self._more[token] = self._vocabulary.more([token])
        return self._more[token]

    def _whole(self, place: int, token: int) -> str:
        self._whole_tokens += len(self._ids)
        if self._whole_tokens > MAX_WHOLE_TOKENS:
            limit = MAX_WHOLE_TOKENS // len(self._ids)
            raise TooManyAnswers(found=limit + 1, limit=limit)
        ids = [*self._ids[:place], token, *self._ids[place + 1 :]]
        ids = [number for number in ids if number != self._padding]
        return self._vocabulary.text(ids, skip_special=self._skip_special)

    def _shown(self, first: int, last: int) -> list[int]:
        return [number for number in self._ids[first:last] if number not in self._hidden]
