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
