"""tokenizer.json in, a tokenizer out: the library's own, or one of those that it does not have.

Both halves load the artifact's tokenizer here, so that the one that was proven is the one that
serves. Marian checkpoints have two SentencePiece models and a vocabulary of their own numbers;
``marian_file`` packs what encoding and decoding need into one file of the same name. XLM's and
FlauBERT's are in ``moses.py``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from artifact.canonical import encode
from artifact.encoded import Encoded
from artifact.errors import ProofFailed
from artifact.moses import MOSES, MosesTokenizer

if TYPE_CHECKING:
    from typing import TypeAlias

    from tokenizers import Tokenizer

    AnyTokenizer: TypeAlias = "Tokenizer | MarianTokenizer | MosesTokenizer"

MARIAN = "Marian"
_BLANK = "\N{LOWER ONE EIGHTH BLOCK}"
"""SentencePiece's mark of a blank before a piece."""


class TokenizerBroken(ProofFailed):
    """A tokenizer.json that cannot be read."""

    id = "tokenizer-broken"

    def __init__(self, *, why: str) -> None:
        super().__init__(
            what="the artifact's tokenizer cannot be read",
            why=why,
            fix="compile the model again with this version of traceship",
        )


class MarianTokenizer:
    """transformers' MarianTokenizer without transformers, with the methods of ``tokenizers.Tokenizer``.

    Source: transformers, models/marian/tokenization_marian.py. A language code (``>>fra<<``) at the
    start is one token; what the vocabulary lacks is unknown; the end token closes every text. A code
    further on is text, as in transformers 5; 4 drops it.
    """

    decoder = None

    def __init__(self, model: Mapping[str, Any]) -> None:
        from sentencepiece import SentencePieceProcessor

        self._model = model
        self._pieces = SentencePieceProcessor(model_proto=base64.b64decode(model["spm"]))
        self._ids: dict[str, int] = dict(model["vocab"])
        self._tokens = {number: token for token, number in self._ids.items()}
        self._unknown = self._ids[model["unk_token"]]
        self._end = self._ids[model["eos_token"]]
        self._special = {model[name] for name in ("unk_token", "eos_token", "pad_token")}
        self._splitter = re.compile("(" + "|".join(map(re.escape, sorted(self._special))) + ")")
        self._limit: int | None = None

    def to_str(self, *, pretty: bool = False) -> str:  # noqa: ARG002 - the library's signature
        """The file's text."""
        return encode({"model": self._model}).decode()

    def no_padding(self) -> None:
        """Never done here."""

    def no_truncation(self) -> None:
        """Keep every token."""
        self._limit = None

    def enable_truncation(self, max_length: int, **_strategy: Any) -> None:
        """Keep the first ``max_length`` tokens, of which the last is the end."""
        self._limit = max_length

    def num_special_tokens_to_add(self, is_pair: bool) -> int:  # noqa: ARG002 - as above
        """The end token."""
        return 1

    def encode(self, text: str, pair: str | None = None, *, add_special_tokens: bool = True) -> Encoded:
        """Tokens of one text.

        Raises:
            ValueError: there is a second text, which a translation does not have.
        """
        if pair is not None:
            raise ValueError("a translation has one text")
        tokens = [token for part in self._splitter.split(text) for token in self._part(part)]
        ids = [self._ids.get(token, self._unknown) for token in tokens]
        words: list[int | None] = []
        word = -1
        for token in tokens:
            word += token.startswith(_BLANK) or word < 0
            words.append(word)
        sequences: list[int | None] = [0] * len(ids)
        if self._limit is not None and add_special_tokens:
            kept = max(0, self._limit - 1)
            ids, words, sequences = ids[:kept], words[:kept], sequences[:kept]
        if add_special_tokens:
            ids, words, sequences = [*ids, self._end], [*words, None], [*sequences, None]
        return Encoded(
            ids=ids,
            type_ids=[0] * len(ids),
            word_ids=words,
            sequence_ids=sequences,
            offsets=[(0, 0)] * len(ids),
        )

    def encode_batch(self, texts: Sequence[str | tuple[str, str]]) -> list[Encoded]:
        """Tokens of each text; errors as of ``encode``."""
        return [self.encode(text) if isinstance(text, str) else self.encode(*text) for text in texts]

    def _part(self, text: str) -> list[str]:
        if text in self._special:
            return [text]
        if text.startswith(">>") and (end := text.find("<<")) != -1:
            return [text[: end + 2], *self._pieces.encode(text[end + 2 :], out_type=str)]
        pieces: list[str] = self._pieces.encode(text, out_type=str)
        return pieces

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        words: list[str] = []
        pieces: list[str] = []
        for token in (self._tokens.get(number, self._model["unk_token"]) for number in ids):
            if token not in self._special:
                pieces.append(token)
            elif not skip_special_tokens:
                words += [_joined(pieces), token, " "]
                pieces = []
        return "".join([*words, _joined(pieces)]).strip()

    def token_to_id(self, token: str) -> int | None:
        """As the vocabulary numbers it."""
        return self._ids.get(token)

    def id_to_token(self, number: int) -> str | None:
        """As the vocabulary spells it."""
        return self._tokens.get(number)


def _joined(pieces: Sequence[str]) -> str:
    return "".join(pieces).replace(_BLANK, " ").removeprefix(" ")


def marian_file(
    spm: bytes, vocabulary: Mapping[str, int], *, unknown: str, end: str, padding: str
) -> MarianTokenizer:
    """Pack a Marian checkpoint's tokenizer.

    Args:
        spm: the source's SentencePiece model.
        vocabulary: vocab.json.
    """
    return MarianTokenizer(
        {
            "type": MARIAN,
            "spm": base64.b64encode(spm).decode(),
            "vocab": dict(vocabulary),
            "unk_token": unknown,
            "eos_token": end,
            "pad_token": padding,
        }
    )


def load_tokenizer(data: bytes) -> AnyTokenizer:
    """The tokenizer of an artifact, without padding and truncation.

    Raises:
        TokenizerBroken: of no known kind.
    """
    from tokenizers import Tokenizer

    try:
        text = data.decode()
        if f'"type":"{MARIAN}"' in text:
            return MarianTokenizer(json.loads(text)["model"])
        if f'"type":"{MOSES}"' in text:
            return MosesTokenizer(json.loads(text)["model"])
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:
        # tokenizers raises bare Exception, and sentencepiece RuntimeError, for all they dislike.
        raise TokenizerBroken(why=str(error)) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
