"""Examples in, tensors in a bucket's shape out; and the masks that no tokenizer makes.

Tracing never sees a text: its inputs are seeded random ids. The proof uses ``examples.py``,
tokenised with the artifact's own tokenizer.json as the server does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from artifact.tokenization import AnyTokenizer
    from compile.examples import Example, Text
    from compile.jobs import ModelJob

Feed = dict[str, torch.Tensor]
"""Tensors by input name, int64, each (batch, length), or (batch, choices, length)."""

_SEED = 20_240_229


@dataclass(frozen=True)
class Tokens:
    """One text or pair as token ids and token types, special tokens included, without padding.

    ``sequences``: for each token 0 or 1, the text of the pair it comes from; ``None``: special.
    """

    ids: tuple[int, ...]
    types: tuple[int, ...]
    sequences: tuple[int | None, ...]


@dataclass(frozen=True)
class Row:
    """One example as tokens, of each of its parts."""

    example: Example
    parts: tuple[Tokens, ...]

    @property
    def length(self) -> int:
        """Tokens of the longest part."""
        return max(len(part.ids) for part in self.parts)


def tokenise(tokenizer: AnyTokenizer, examples: Sequence[Example], length: int | None) -> list[Row]:
    """Turn examples into rows of at most ``length`` tokens, cut as the server cuts (``None``: whole)."""
    if length is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(length)
    return [
        Row(example=example, parts=tuple(_tokens(tokenizer, text) for text in example.parts))
        for example in examples
    ]


def _tokens(tokenizer: AnyTokenizer, text: Text) -> Tokens:
    encoding = tokenizer.encode(text) if isinstance(text, str) else tokenizer.encode(text[0], text[1])
    return Tokens(
        ids=tuple(encoding.ids), types=tuple(encoding.type_ids), sequences=tuple(encoding.sequence_ids)
    )


def arrange(model: ModelJob, names: Sequence[str], rows: Sequence[Row], shape: tuple[int, int]) -> Feed:
    """Lay at most ``batch`` rows into a bucket: right-padded, missing rows all padding, mask 0.

    Args:
        shape: (batch, length) of the bucket.
    """
    batch, length = shape
    width = model.choices or 1
    ids = torch.full((batch * width, length), model.pad_token_id, dtype=torch.int64)
    mask = torch.zeros((batch * width, length), dtype=torch.int64)
    types = torch.zeros((batch * width, length), dtype=torch.int64)
    for index, row in enumerate(rows):
        for at, part in enumerate(row.parts, start=index * width):
            size = len(part.ids)
            ids[at, :size] = torch.tensor(part.ids)
            mask[at, :size] = 1
            types[at, :size] = torch.tensor(part.types)
    return _chosen(model, names, batch, {"input_ids": ids, "attention_mask": mask, "token_type_ids": types})


def _chosen(model: ModelJob, names: Sequence[str], batch: int, whole: Feed) -> Feed:
    if model.choices is None:
        return {name: whole[name] for name in names}
    return {name: whole[name].view(batch, model.choices, -1) for name in names}


def random_feed(model: ModelJob, names: Sequence[str], shape: tuple[int, int], vocabulary: int) -> Feed:
    """Seeded random ids under a mask of another length in each row, both token types in use.

    The same for the same arguments on every machine: torch's CPU generator is specified by seed.
    """
    batch, length = shape
    rows = batch * (model.choices or 1)
    generator = torch.Generator().manual_seed(_SEED)
    ids = torch.randint(0, vocabulary, (rows, length), generator=generator)
    lengths = torch.tensor([max(1, length - (3 * row + 1) % length) for row in range(rows)])
    mask = (torch.arange(length).unsqueeze(0) < lengths.unsqueeze(1)).to(torch.int64)
    types = (torch.arange(length).unsqueeze(0) >= (lengths // 2).unsqueeze(1)).to(torch.int64) * mask
    ids = torch.where(mask == 1, ids, torch.full_like(ids, model.pad_token_id))
    return _chosen(model, names, batch, {"input_ids": ids, "attention_mask": mask, "token_type_ids": types})


def adversarial_feeds(feed: Feed) -> dict[str, Feed]:
    """The same ids under masks that no tokenizer makes; shapes stay those of ``feed``.

    ``all-ones``: no padding anywhere. ``holes``: every third position of every row masked, from
    another one in each, so that each row has its own pattern. The first position stays
    visible, for ``cls``.
    """
    mask = feed["attention_mask"]
    holes = torch.ones_like(mask)
    flat = holes.view(-1, holes.shape[-1])
    for row in range(flat.shape[0]):
        flat[row, 1 + row % 3 :: 3] = 0
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
