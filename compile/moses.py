"""transformers' XLMTokenizer and FlaubertTokenizer, written down as the rules that they apply.

Pairs with ``artifact/moses.py``, which applies them. What they do is transformers' code; character
sets, abbreviations and rewriting rules are those of the sacremoses that is installed, and of this
Python's Unicode tables. The gate ``tokenizer`` holds the result against the original.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import transformers

from artifact.moses import MOSES, MosesTokenizer
from compile.sources.errors import TokenizerUnsupported

Rule = tuple[Any, ...]

_LANGUAGES = {"XLMTokenizer": "en", "FlaubertTokenizer": "fr"}
"""Whose rules they apply. A caller in Python may name XLM another language; ``tokenizer(text)``, and
with it every pipeline, does not, whatever the languages of the checkpoint."""

_CAREFUL = {
    r'"([,.]+)': (r'(")([,.]+)', r"\2\1"),
    r'(\.+)"(\s*[^<])': (r'(\.+)(?:(")(\s*[^<]))?', r"\2\1\3"),
}
"""Rules of sacremoses in words that give the same text: with the quote in a group, so that it is known
where it went; and without trying again at every dot of a long row of them."""


def is_moses(tokenizer: Any) -> bool:
    """Whether it is one of the two. They have no fast form."""
    return type(tokenizer).__name__ in _LANGUAGES


def moses_file(own: Any) -> MosesTokenizer:
    """Pack the tokenizer of a checkpoint.

    Raises:
        TokenizerUnsupported: its added tokens or its vocabulary ask for what is not done here.
    """
    added = {str(token): number for number, token in own.added_tokens_decoder.items()}
    for token in own.added_tokens_decoder.values():
        if token.lstrip or token.rstrip or token.single_word:
            why = f"its token {str(token)!r} takes the white space beside it, or whole words only"
            raise TokenizerUnsupported(folder=own.name_or_path, why=why)
    if own.unk_token not in own.encoder:
        raise TokenizerUnsupported(folder=own.name_or_path, why=f"its vocabulary has no {own.unk_token}")
    merges = sorted((rank, pair) for pair, rank in own.bpe_ranks.items() if len(pair) == 2)
    return MosesTokenizer(
        {
            "type": MOSES,
            "vocab": own.encoder,
            "merges": [" ".join(pair) for _, pair in merges],
            "unk_token": str(own.unk_token),
            "bos_token": str(own.bos_token),
            "sep_token": str(own.sep_token),
            "added": added,
            "special": sorted(map(str, own.all_special_tokens)),
            "apart": [] if own.split_special_tokens else sorted(added),
            "lowered_but": _lowered_but(own),
            "steps": [list(rule) for rule in _rules(own)],
        }
    )


def _lowered_but(own: Any) -> list[str] | None:
    """What stays as it is where transformers 4 writes a text small before everything else."""
    if not own.do_lowercase_and_remove_accent or not transformers.__version__.startswith("4."):
        return None
    others = [str(t) for t in own.added_tokens_decoder.values() if not t.special and t.normalized]
    return sorted({*map(str, own.all_special_tokens), *others})


def _rules(own: Any) -> Iterable[Rule]:
    import sacremoses

    language = _LANGUAGES[type(own).__name__]
    normalizer = sacremoses.MosesPunctNormalizer(lang=language)
    if language == "fr":
        yield from (("replace", "``", '"'), ("replace", "''", '"'), ("compose",))
        if own.do_lowercase:
            yield ("lower",)
    for pattern, template in (*normalizer.REPLACE_UNICODE_PUNCTUATION, *normalizer.substitutions):
        yield ("replace", *_CAREFUL.get(pattern, (pattern, template)))
    yield ("strip",)
    yield ("replace", _category("C"), "")
    yield from _moses(sacremoses.MosesTokenizer(lang=language), language)
    if own.do_lowercase_and_remove_accent:
        yield from (("lower",), ("decompose",), ("replace", _category("Mn"), ""), ("lower",))


def _moses(moses: Any, language: str) -> Iterable[Rule]:
    """The rules of ``MosesTokenizer.tokenize`` without its options, up to the words between blanks."""
    apostrophes = {"en": moses.ENGLISH_SPECIFIC_APOSTROPHE, "fr": moses.FR_IT_SPECIFIC_APOSTROPHE}[language]
    yield _replace(moses, moses.DEDUPLICATE_SPACE)
    yield _replace(moses, moses.ASCII_JUNK)
    yield ("strip",)
    yield _replace(moses, moses.PAD_NOT_ISALNUM)
    yield ("hide dots",)
    for rule in (moses.COMMA_SEPARATE_1, moses.COMMA_SEPARATE_2, moses.COMMA_SEPARATE_3, *apostrophes):
        yield _replace(moses, rule)
    numeric = set(moses.NUMERIC_ONLY_PREFIXES)
    yield (
        "full stops",
        {
            "abbreviations": sorted(set(moses.NONBREAKING_PREFIXES) - numeric),
            "before_numbers": sorted(numeric),
            "letters": _set(moses.IsAlpha),
            "small": _set(moses.IsLower),
        },
    )
    yield _replace(moses, moses.DEDUPLICATE_SPACE)
    yield ("strip",)
    yield _replace(moses, moses.TRAILING_DOT_APOSTROPHE)
    yield ("show dots",)


def _replace(moses: Any, rule: tuple[Any, str]) -> Rule:
    """A rule with its sets of thousands of characters written as ranges."""
    pattern: str = rule[0].pattern
    for characters in (moses.IsAlnum, moses.IsAlpha, moses.IsN):
        pattern = pattern.replace(characters, _ranges(characters))
    return ("replace", pattern, rule[1])


@cache
def _category(category: str) -> str:
    """The set of all characters of a Unicode category or of a group of them."""
    characters = map(chr, range(sys.maxunicode + 1))
    return _set(c for c in characters if unicodedata.category(c).startswith(category))


def _set(characters: Iterable[str]) -> str:
    return f"[{_ranges(characters)}]"


def _ranges(characters: Iterable[str]) -> str:
    """The inside of a character set of a regular expression, in ASCII."""
    found: list[list[int]] = []
    for code in sorted(set(map(ord, characters))):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    escape: Callable[[int], str] = "\\U{:08x}".format
    return "".join(escape(a) if a == b else f"{escape(a)}-{escape(b)}" for a, b in found)
