"""Token ids back to words: what transformers' fast tokenizers do when a pipeline asks them.

Texts come out as the decoder of tokenizer.json writes them. ``clean_up_tokenization_spaces`` of
transformers lies in another file, which an artifact does not hold, and does not count here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artifact.tokenization import AnyTokenizer


class Vocabulary:
    """The words of an artifact's tokenizer. Safe to use from several threads."""

    def __init__(self, tokenizer: AnyTokenizer, tokenizer_json: bytes) -> None:
        """
        Args:
            tokenizer_json: the bytes that ``tokenizer`` was read from.
        """
        self._tokenizer = tokenizer
        model = json.loads(tokenizer_json)["model"]
        named = model.get("unk_token")
        self.unknown_id: int | None = model.get("unk_id") if named is None else tokenizer.token_to_id(named)
        self.knows_words = bool(model.get("continuing_subword_prefix"))
        """Whether a token tells that it continues a word, as WordPiece's ``##`` does."""

    def token(self, number: int) -> str:
        """The token as the vocabulary spells it; empty for an id that it does not hold."""
        return self._tokenizer.id_to_token(number) or ""

    def join(self, tokens: Sequence[str]) -> str:
        """The text that tokens spell together."""
        decoder = self._tokenizer.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))

    def text(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        """The text of token ids."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special))

    def find(self, word: str) -> int | None:
        """The id of a token of that spelling, or of a word that is one token; None if it is neither."""
        number: int | None = self._tokenizer.token_to_id(word)
        if number is not None:
            return number
        ids = self._tokenizer.encode(word, add_special_tokens=False).ids
        return ids[0] if len(ids) == 1 and ids[0] != self.unknown_id else None
