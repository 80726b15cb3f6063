"""What a tokenizer of our own answers, column by column as ``tokenizers.Encoding`` does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Encoded:
    """Token ids with the columns that ``tokenizers.Encoding`` has, one entry a token."""

    ids: list[int]
    type_ids: list[int]
    word_ids: list[int | None]
    sequence_ids: list[int | None]
    offsets: list[tuple[int, int]]

    @classmethod
    def empty(cls) -> Encoded:
        """No tokens yet."""
        return cls(ids=[], type_ids=[], word_ids=[], sequence_ids=[], offsets=[])

    def add(self, token: int, text: int, word: int | None = None, place: tuple[int, int] = (0, 0)) -> None:
        """Append a token of the pair's ``text``, 0 or 1, which is its type too; a special one has no word."""
        self.ids.append(token)
        self.type_ids.append(text)
        self.word_ids.append(word)
        self.sequence_ids.append(None if word is None else text)
        self.offsets.append(place)
