"""Token ids back to words: what transformers' fast tokenizers do when a pipeline asks them.

Texts come out as the decoder of tokenizer.json writes them. ``clean_up_tokenization_spaces`` of
transformers lies in another file, which an artifact does not hold, and does not count here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

if TYPE_CHECKING:
    from artifact.tokenization import AnyTokenizer


_TOKEN_BY_TOKEN = ("WordPiece", "Metaspace", "ByteLevel")
_CUT_SHORT = "\N{REPLACEMENT CHARACTER}"


class Vocabulary:
    """The words of an artifact's tokenizer. Safe to use from several threads."""

    def __init__(self, tokenizer: AnyTokenizer, tokenizer_json: bytes) -> None:
        """
        Args:
            tokenizer_json: the bytes that ``tokenizer`` was read from.
        """
        self._tokenizer = tokenizer
        described = json.loads(tokenizer_json)
        model = described["model"]
        named = model.get("unk_token")
        self.unknown_id: int | None = model.get("unk_id") if named is None else tokenizer.token_to_id(named)
        self.knows_words = bool(model.get("continuing_subword_prefix"))
        """Whether a token tells that it continues a word, as WordPiece's ``##`` does."""
        self.special: frozenset[int] = _special(tokenizer)
        self._anchor = _anchor(tokenizer, described)

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

    @property
    def goes_token_by_token(self) -> bool:
        """Whether a text is what some tokens ``begin`` and what ``more`` of the next ones adds, and so on."""
        return self._anchor is not None

    def begin(self, ids: Sequence[int]) -> str | None:
        """The text of tokens, special ones shown; None: it ends within a character, which more may end."""
        return _unless_cut(self.text(ids))

    def more(self, ids: Sequence[int]) -> str | None:
        """What tokens add to a text that has begun; None as for ``begin``."""
        assert self._anchor is not None, "asked only where texts go token by token"
        token, shown = self._anchor
        return _unless_cut(self.text([token, *ids])[len(shown) :])

    def find(self, word: str) -> int | None:
        """The id of a token of that spelling, or of a word that is one token; None if it is neither."""
        number: int | None = self._tokenizer.token_to_id(word)
        if number is not None:
            return number
        ids = self._tokenizer.encode(word, add_special_tokens=False).ids
        return ids[0] if len(ids) == 1 and ids[0] != self.unknown_id else None


def _unless_cut(text: str) -> str | None:
    return None if text.endswith(_CUT_SHORT) else text


def _special(tokenizer: AnyTokenizer) -> frozenset[int]:
    """What ``skip_special`` leaves out."""
    if not isinstance(tokenizer, Tokenizer):
        return frozenset()
    return frozenset(
        number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special
    )


def _anchor(tokenizer: AnyTokenizer, described: dict[str, Any]) -> tuple[int, str] | None:
    """A token that ends with a whole character, and its text; None: the decoder looks at more than a token.

    The decoders named above write each token by itself, but for the first: its blank goes. Bytes are put
    together to characters at the end (tokenizers 0.23, decoders/). A test compares them with whole texts.
    """
    decoder = described.get("decoder") or {"type": None}
    if not isinstance(tokenizer, Tokenizer) or decoder["type"] not in (None, *_TOKEN_BY_TOKEN):
        return None
    for number in range(tokenizer.get_vocab_size()):
        shown = str(tokenizer.decode([number], skip_special_tokens=False))
        if shown and not shown.endswith(_CUT_SHORT):
            return number, shown
    return None
