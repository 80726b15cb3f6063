"""XLM's and FlauBERT's tokenizers without transformers and sacremoses: Moses' rules, then merges.

The rules are data. ``compile/moses.py`` takes them from the sacremoses and the Unicode tables that
the model was proven with and lists them in the artifact's tokenizer.json; here they are applied in
that order, with the places in the text that the tokens come from. Why it is neither the
``tokenizers`` library nor sacremoses: docs/decisions/0009-moses.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from artifact.aligned import Aligned, Piece, Template
from artifact.bpe import END, Merges
from artifact.canonical import encode
from artifact.encoded import Encoded

MOSES = "Moses"
_WORD = re.compile(r"[^ ]+")
_BETWEEN_BLANKS = re.compile(r"\S+")
_DOTS = re.compile(r"\.{2,}")
_MARKER = re.compile(r"(?:DOT)+(?:MULTI)?")
_LOOKAHEAD = 8
"""Words at the end of a text that its continuation may change. The rules see past a word's end only
quotes, dots, commas and brackets that touch it, and the first character of the next word."""

Step = Callable[[Aligned], Aligned]
Token = tuple[int, int, tuple[int, int]]
"""Id, number of the word in its text, place in the text."""


class Joiner:
    """What ``tokenizers`` calls a decoder."""

    @staticmethod
    def decode(tokens: Sequence[str]) -> str:
        """The text that tokens spell together."""
        return "".join(tokens).replace(END, " ").strip()


class MosesTokenizer:
    """transformers' XLMTokenizer and FlaubertTokenizer, with the methods of ``tokenizers.Tokenizer``.

    Source: transformers, models/xlm/tokenization_xlm.py and models/flaubert/tokenization_flaubert.py.
    """

    decoder = Joiner()

    def __init__(self, model: Mapping[str, Any]) -> None:
        """
        Args:
            model: see ``compile/moses.py``, which writes it.
        """
        self._model = model
        self._added: dict[str, int] = dict(model["added"])
        self._ids: dict[str, int] = {**model["vocab"], **self._added}
        self._tokens = {number: token for token, number in self._ids.items()}
        self._unknown: int = model["vocab"][model["unk_token"]]
        self._start, self._end = self._ids[model["bos_token"]], self._ids[model["sep_token"]]
        self._special = frozenset(model["special"])
        self._apart = _any_of(model["apart"])
        self._kept = None if model["lowered_but"] is None else _any_of(model["lowered_but"])
        self._steps = [_step(name, arguments) for name, *arguments in model["steps"]]
        self._merges = Merges(tuple(pair.split(" ")) for pair in model["merges"])
        self._limit: int | None = None
        self.unsettled_words = _LOOKAHEAD + max(map(len, model["apart"]), default=0)
        """Words at the end of a text that may become others when it goes on; of a token that stands
        apart and is not complete yet, every character may be one."""

    def to_str(self, *, pretty: bool = False) -> str:  # noqa: ARG002 - the library's signature
        """The file's text."""
        return encode({"model": self._model}).decode()

    def no_padding(self) -> None:
        """Never done here."""

    def no_truncation(self) -> None:
        """Keep every token."""
        self._limit = None

    def enable_truncation(self, max_length: int, **_strategy: Any) -> None:
        """Keep ``max_length`` tokens with the special ones; of a pair, the longer text is cut first."""
        self._limit = max_length

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        """The start, and an end of each text."""
        return 3 if is_pair else 2

    def encode(self, text: str, pair: str | None = None, *, add_special_tokens: bool = True) -> Encoded:
        """Tokens of a text or pair."""
        texts = [list(self._tokenise(part)) for part in (text, pair) if part is not None]
        if self._limit is not None:
            special = self.num_special_tokens_to_add(pair is not None) if add_special_tokens else 0
            sizes = _cut([len(tokens) for tokens in texts], max(0, self._limit - special))
            texts = [tokens[:size] for tokens, size in zip(texts, sizes)]
        encoded = Encoded.empty()
        if add_special_tokens:
            encoded.add(self._start, 0)
        for number, tokens in enumerate(texts):
            for token, word, place in tokens:
                encoded.add(token, number, word, place)
            if add_special_tokens:
                encoded.add(self._end, number)
        return encoded

    def encode_batch(self, texts: Sequence[str | tuple[str, str]]) -> list[Encoded]:
        """Tokens of each text or pair."""
        return [self.encode(text) if isinstance(text, str) else self.encode(*text) for text in texts]

    def _tokenise(self, text: str) -> Iterator[Token]:
        number = 0
        for part, apart in self._parts(text):
            if apart:
                yield self._added[part.text], number, part.span(0, len(part.text))
                number += 1
                continue
            for word in self._words(part):
                yield from ((self._ids.get(piece, self._unknown), number, place) for piece, place in word)
                number += 1

    def _words(self, text: Aligned) -> Iterator[Iterator[tuple[str, tuple[int, int]]]]:
        """The pieces of each word, and their places."""
        for step in self._steps:
            text = step(text)
        return (self._pieces(text, *word.span()) for word in _WORD.finditer(text.text))

    def _pieces(self, text: Aligned, first: int, last: int) -> Iterator[tuple[str, tuple[int, int]]]:
        for piece in self._merges.split(text.text[first:last]):
            end = min(first + len(piece), last)
            yield piece, text.span(first, end)
            first = end

    def _parts(self, text: str) -> Iterator[tuple[Aligned, bool]]:
        """The tokens that stand apart, each with ``True``, and what lies between them."""
        whole = Aligned.of(text)
        if self._kept is not None:
            whole = _lowered(whole, self._kept)
        for first, end, apart in _around(self._apart, whole.text):
            yield whole.cut(first, end), apart

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        tokens = [self._tokens.get(number, self._model["unk_token"]) for number in ids]
        return self.decoder.decode([t for t in tokens if not (skip_special_tokens and t in self._special)])

    def token_to_id(self, token: str) -> int | None:
        """As the vocabulary numbers it."""
        return self._ids.get(token)

    def id_to_token(self, number: int) -> str | None:
        """As the vocabulary spells it."""
        return self._tokens.get(number)


def _cut(sizes: list[int], room: int) -> list[int]:
    """How much of each text remains when the longer one loses its last token until both fit.

    Of two that are equally long the second loses it.
    """
    if sum(sizes) <= room:
        return sizes
    if len(sizes) == 1:
        return [room]
    first, second = sizes
    if first <= room // 2:
        return [first, room - first]
    if second <= room // 2:
        return [room - second, second]
    return [room - room // 2, room // 2]


def _any_of(tokens: Sequence[str]) -> re.Pattern[str]:
    """The longest of ``tokens`` at a place; nowhere anything if there are none."""
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _around(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int, bool]]:
    """The matches of a pattern, each with ``True``, and what lies between them; no empty ones."""
    at = 0
    for match in pattern.finditer(text):
        if at < match.start():
            yield at, match.start(), False
        yield *match.span(), True
        at = match.end()
    if at < len(text):
        yield at, len(text), False


def _lowered(text: Aligned, kept: re.Pattern[str]) -> Aligned:
    """Small letters, one by one; ``kept`` stays as it is."""
    return Aligned.joined(
        text.cut(first, end) if stays else text.cut(first, end).each(str.lower)
        for first, end, stays in _around(kept, text.text)
    )


def _step(name: str, arguments: list[Any]) -> Step:
    if name == "replace":
        pattern, template = re.compile(arguments[0]), Template.parse(arguments[1])
        return lambda text: text.sub(pattern, template)
    if name == "full stops":
        return _FullStops(**arguments[0])
    return _STEPS[name]


class _FullStops:
    """A full stop at the end of a word is a word of its own, unless it belongs to an abbreviation.

    Source: sacremoses, MosesTokenizer.handles_nonbreaking_prefixes.
    """

    def __init__(
        self, *, abbreviations: Sequence[str], before_numbers: Sequence[str], letters: str, small: str
    ) -> None:
        """
        Args:
            abbreviations: words that keep their full stop.
            before_numbers: words that keep it where a number follows.
            letters, small: sets of characters, of letters and of those that show that a sentence goes on.
        """
        self._abbreviations, self._before_numbers = frozenset(abbreviations), frozenset(before_numbers)
        self._letters, self._small = re.compile(letters), re.compile(small)

    def __call__(self, text: Aligned) -> Aligned:
        words = list(_BETWEEN_BLANKS.finditer(text.text))
        following = [word[0] for word in words[1:]] + [""]
        apart = {
            word.start()
            for word, after in zip(words, following)
            if word[0].endswith(".") and len(word[0]) > 1 and not self._keeps(word[0][:-1], after)
        }
        return text.rewritten(_BETWEEN_BLANKS, lambda word: _without_stop(word, word.start() in apart))

    def _keeps(self, word: str, after: str) -> bool:
        if "." in word and self._letters.search(word):
            return True
        if word in self._abbreviations or self._small.match(after):
            return True
        return word in self._before_numbers and after[:1] in tuple("0123456789")


def _without_stop(word: re.Match[str], apart: bool) -> list[Piece] | None:
    if not apart:
        return None
    first, end = word.span()
    return [Piece(first, end - 1), Piece(end - 1, end - 1, " "), Piece(end - 1, end)]


def _hide_dots(text: Aligned) -> Aligned:
    """Two dots or more become a word that no rule about dots sees."""
    size = len(text.text)

    def marker(match: re.Match[str]) -> list[Piece]:
        first, end = match.span()
        dots = [Piece(at, at + 1, "DOT") for at in range(first, end)]
        blank = [Piece(end, end, " ")] if end < size else []
        return [Piece(first, first, " "), *dots, Piece(end - 1, end, "MULTI"), *blank]

    return text.rewritten(_DOTS, marker)


def _show_dots(text: Aligned) -> Aligned:
    """What looks like such a word becomes dots, also where it was one of the text's own."""

    def dots(match: re.Match[str]) -> list[Piece] | None:
        if not match[0].endswith("MULTI"):
            return None
        first, end = match.span()
        return [Piece(at, at + 3, ".") for at in range(first, end - len("MULTI"), 3)]

    return text.rewritten(_MARKER, dots)


def _decomposed(text: Aligned) -> Aligned:
    def decompose(part: str) -> str:
        return unicodedata.normalize("NFD", part)

    return text.each(decompose, decompose)


_STEPS: Mapping[str, Step] = {
    "strip": Aligned.strip,
    "hide dots": _hide_dots,
    "show dots": _show_dots,
    "lower": lambda text: text.each(str.lower, str.lower),
    "compose": Aligned.composed,
    "decompose": _decomposed,
}
"""Those that need nothing but the text."""
