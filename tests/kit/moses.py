"""XLM and FlauBERT checkpoints as published ones are: vocab.json and merges.txt, no tokenizer.json."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.kit.models import tiny_model

_TEXTS = Path(__file__).parents[2] / "compile/texts.json"
_SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", *(f"<special{number}>" for number in range(10)))
_MERGES = 250
CLASSES = {"xlm": "XLMTokenizer", "flaubert": "FlaubertTokenizer"}


def moses_tokenizer(folder: Path, architecture: str, letters: str = "", **described: Any) -> int:
    """Write the tokenizer's files to ``folder``; return the size of its vocabulary.

    Merges are those of the proof's texts, with their counts behind them. The vocabulary lacks rare
    letters and every ninth merge, as published ones lack some: what is merged beyond them is known.

    Args:
        letters: characters that the vocabulary holds at any rate.
        described: keys of tokenizer_config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    merges, pieces = _trained()
    forced = (letter + end for letter in letters for end in ("", "</w>"))
    tokens = dict.fromkeys(
        [*_SPECIAL, *pieces, *forced, *(a + b for n, (a, b) in enumerate(merges) if n % 9)]
    )
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = [f"{first} {second} {9_000 - number}\n" for number, (first, second) in enumerate(merges)]
    (folder / "merges.txt").write_text("".join(lines), encoding="utf-8")
    config = {"tokenizer_class": CLASSES[architecture], "model_max_length": 64, **described}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return len(vocabulary)


@cache
def _trained() -> tuple[list[tuple[str, str]], list[str]]:
    """The most frequent pairs of the texts, merged one after the other, and the letters that are not rare."""
    texts = " ".join(json.loads(_TEXTS.read_text(encoding="utf-8"))["texts"]).lower()
    words = {(*word[:-1], word[-1] + "</w>"): count for word, count in Counter(texts.split()).items()}
    letters = Counter(piece for word, count in words.items() for piece in word * count)
    merges = []
    for _ in range(_MERGES):
        pairs = Counter(pair for word, count in words.items() for pair in [*pairwise(word)] * count)
        best = max(sorted(pairs), key=pairs.__getitem__)
        merges.append(best)
        words = {_merged(word, best): count for word, count in words.items()}
    return merges, sorted(letter for letter, count in letters.items() if count > 1)


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    pieces: list[str] = []
    for piece in word:
        if pieces and (pieces[-1], piece) == pair:
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return tuple(pieces)


def moses_model(folder: Path, architecture: str, **settings: Any) -> Path:
    """A tiny random checkpoint with that tokenizer; ``settings`` are ``tiny_model``'s."""
    size = moses_tokenizer(folder, architecture)
    return tiny_model(folder, architecture, vocab_size=size, pad_token_id=2, tokenizer=False, **settings)
