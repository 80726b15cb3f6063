"""What the graphs are asked during tracing and proof.

Tracing never sees a text: its inputs are seeded random ids. The proof uses the sentences of
``texts.json``, tokenised with the artifact's own tokenizer.json as the server does it, and masks
that no tokenizer makes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Text = str | tuple[str, str]
Feed = dict[str, torch.Tensor]
"""Tensors by input name, int64, each of shape (batch, length)."""

_SEED = 20_240_229


@dataclass(frozen=True)
class Row:
    """One text as token ids and token types, special tokens included, without padding."""

    text: Text
    ids: tuple[int, ...]
    types: tuple[int, ...]


def load_texts(*, pairs: bool) -> list[Text]:
    """The sentences, and with ``pairs`` the pairs of sentences among them."""
    data = json.loads(Path(__file__).with_name("texts.json").read_text(encoding="utf-8"))
    texts: list[Text] = list(data["texts"])
    if not pairs:
        return texts
    mixed: list[Text] = [(first, second) for first, second in data["pairs"]]
    return mixed + texts


def tokenise(tokenizer: Tokenizer, texts: Sequence[Text], length: int | None) -> list[Row]:
    """Turn texts into rows of at most ``length`` tokens, cut as the server cuts (``None``: whole)."""
    if length is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(length)
    return [_row(tokenizer, text) for text in texts]


def _row(tokenizer: Tokenizer, text: Text) -> Row:
    encoding = tokenizer.encode(text) if isinstance(text, str) else tokenizer.encode(text[0], text[1])
    return Row(text=text, ids=tuple(encoding.ids), types=tuple(encoding.type_ids))


def arrange(rows: Sequence[Row], names: Sequence[str], batch: int, length: int, pad_token_id: int) -> Feed:
    """Lay at most ``batch`` rows into a bucket: right-padded, missing rows all padding, mask 0."""
    ids = torch.full((batch, length), pad_token_id, dtype=torch.int64)
    mask = torch.zeros((batch, length), dtype=torch.int64)
    types = torch.zeros((batch, length), dtype=torch.int64)
    for index, row in enumerate(rows):
        size = len(row.ids)
        ids[index, :size] = torch.tensor(row.ids)
        mask[index, :size] = 1
        types[index, :size] = torch.tensor(row.types)
    whole = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return {name: whole[name] for name in names}


def random_feed(names: Sequence[str], batch: int, length: int, vocabulary: int, pad_token_id: int) -> Feed:
    """Seeded random ids under a mask of another length in each row, both token types in use.

    The same for the same arguments on every machine: torch's CPU generator is specified by seed.
    """
    generator = torch.Generator().manual_seed(_SEED)
    ids = torch.randint(0, vocabulary, (batch, length), generator=generator)
    lengths = torch.tensor([max(1, length - (3 * row + 1) % length) for row in range(batch)])
    mask = (torch.arange(length).unsqueeze(0) < lengths.unsqueeze(1)).to(torch.int64)
    types = (torch.arange(length).unsqueeze(0) >= (lengths // 2).unsqueeze(1)).to(torch.int64) * mask
    ids = torch.where(mask == 1, ids, torch.full_like(ids, pad_token_id))
    whole = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return {name: whole[name] for name in names}


def adversarial_feeds(feed: Feed) -> dict[str, Feed]:
    """The same ids under masks that no tokenizer makes; shapes stay those of ``feed``.

    ``all-ones``: no padding anywhere. ``holes``: every third position of every other row masked,
    so that each row has its own pattern. The first position stays visible, for ``cls``.
    """
    mask = feed["attention_mask"]
    holes = torch.ones_like(mask)
    for row in range(mask.shape[0]):
        holes[row, 1 + row % 3 :: 3] = 0
    return {
        "all-ones": {**feed, "attention_mask": torch.ones_like(mask)},
        "holes": {**feed, "attention_mask": holes},
    }


def with_empty_row(feed: Feed, pad_token_id: int) -> Feed:
    """``feed`` with its last row all padding under a mask of zeros."""
    emptied = {name: tensor.clone() for name, tensor in feed.items()}
    for name, tensor in emptied.items():
        tensor[-1] = pad_token_id if name == "input_ids" else 0
    return emptied
