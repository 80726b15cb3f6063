"""What a tokenizer makes of each word, kept: a text is looked up word by word and hardly ever tokenised.

Only for tokenizers that treat a text as its words one by one: BERT's normalizer and splitter in front of
WordPiece (``remembers``). There the tokens of a text are those of its pieces between blanks and of its
punctuation, one after the other: the normalizer looks at single characters, and at marks above the one
before; the splitter and WordPiece never look across a blank or ASCII punctuation. An added token such as
[MASK] holds punctuation itself: a text with one is cut at blanks alone.
tests/inference_code/test_word_memory.py holds all that.

A known word costs a thirtieth of what the tokenizer takes for it, a new one about as much as in its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

MOST_WORDS = 32_768
"""Kept at once, some 8 MB. Then all are forgotten: the frequent ones are back at once."""
LONGEST_WORD = 64
"""Characters of a word that is kept. Longer ones are rarely seen twice."""
_PROBE = "a"
_PIECE = re.compile(r"[^ !-/:-@\[-`{-~]+|[!-/:-@\[-`{-~]")
"""What stands between blanks and ASCII punctuation, and each mark of that."""


def remembers(tokenizer_json: bytes) -> bool:
    """Whether a tokenizer.json describes one that works word by word."""
    found = json.loads(tokenizer_json)
    kinds = [(found.get(part) or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and all(
        _within_a_word(token) for token in found.get("added_tokens") or ()
    )


def memory_of(tokenizer: Any, tokenizer_json: bytes) -> WordMemory | None:
    """A memory for ``tokenizer``, which neither pads nor truncates; None where it must be asked each time."""
    if not remembers(tokenizer_json):
        return None
    bare, whole = (tokenizer.encode(_PROBE, add_special_tokens=special).ids for special in (False, True))
    return WordMemory(tokenizer, tokenizer_json) if bare and len(_places(bare, whole)) == 1 else None


def _places(part: list[int], whole: list[int]) -> list[int]:
    """Where ``part`` stands in ``whole``: once, if special tokens stand around a text and nowhere in it."""
    return [at for at in range(len(whole) - len(part) + 1) if whole[at : at + len(part)] == part]


def _within_a_word(token: dict[str, Any]) -> bool:
    """An added token is searched for in the text before it is split, so it may not hold a blank itself."""
    content = token["content"]
    return bool(content) and not token.get("normalized", True) and " " not in content


class WordMemory:
    """Safe to use from several threads: what two of them learn at once is the same."""

    def __init__(self, tokenizer: Any, tokenizer_json: bytes) -> None:
        """
        Args:
            tokenizer: made of ``tokenizer_json``, which ``remembers``; neither pads nor truncates.
        """
        self._tokenizer = tokenizer
        self._added = [token["content"] for token in json.loads(tokenizer_json).get("added_tokens") or ()]
        self._known: dict[str, Sequence[int]] = {}
        bare, whole = (tokenizer.encode(_PROBE, add_special_tokens=special) for special in (False, True))
        (before,) = _places(bare.ids, whole.ids)
        after = before + len(bare.ids)
        self._ids = whole.ids[:before], whole.ids[after:]
        self._types = whole.type_ids[:before], whole.type_ids[before], whole.type_ids[after:]
        self.special = len(whole.ids) - len(bare.ids)
        """Tokens that stand around those of a text."""

    def tokens(self, text: str) -> list[int]:
        """Ids of a text without special ones."""
        whole = any(map(text.__contains__, self._added))
        words = text.split(" ") if whole else _PIECE.findall(text)
        known = self._known
        try:
            return list(chain.from_iterable(map(known.__getitem__, words)))
        except KeyError:
            # A copy: another thread may have everything forgotten meanwhile.
            found = {word: known.get(word) for word in words}
        learned = {word: self._learn(word) if ids is None else ids for word, ids in found.items()}
        return list(chain.from_iterable([learned[word] for word in words]))

    def row(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        """Ids and types with the special ones."""
        (first, last), (front, each, back) = self._ids, self._types
        return [*first, *tokens, *last], [*front, *[each] * len(tokens), *back]

    def _learn(self, word: str) -> Sequence[int]:
        ids: list[int] = self._tokenizer.encode(word, add_special_tokens=False).ids
        if len(word) <= LONGEST_WORD:
            if len(self._known) >= MOST_WORDS:
                self._known = {}
            self._known[word] = tuple(ids)
        return ids
