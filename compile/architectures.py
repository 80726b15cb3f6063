"""The model families, as data: what their config leaves unsaid and what they do differently.

``config.json`` of a checkpoint holds only what differs from the class's defaults, and reading
those through transformers costs an import of torch; the defaults that the checks need are
columns here, and a test compares each with transformers' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifact.manifest import Target


@dataclass(frozen=True)
class Architecture:
    """One ``model_type``.

    Attributes:
        positions_after_pad: position ids start at ``pad_token_id + 1``, so that many rows of
            the position table cannot be used (the RoBERTa family).
        token_types: ``forward`` takes ``token_type_ids``.
        pooler_switch: the base class takes ``add_pooling_layer``; off, an untrained pooler is
            neither loaded nor carried along.
        pad_token_id, max_positions, type_vocab_size, hidden, intermediate, heads: the class's
            defaults where ``config.json`` is silent.
        hidden_key, intermediate_key, heads_key: what the config calls them.
        targets: where it is allowed.
    """

    model_type: str
    positions_after_pad: bool
    token_types: bool
    pooler_switch: bool
    pad_token_id: int
    max_positions: int = 512
    type_vocab_size: int = 2
    hidden: int = 768
    intermediate: int = 3072
    heads: int = 12
    hidden_key: str = "hidden_size"
    intermediate_key: str = "intermediate_size"
    heads_key: str = "num_attention_heads"
    targets: tuple[Target, ...] = ("cpu", "inf1")


def _bert_like(model_type: str, *, pooler_switch: bool = True, **defaults: int) -> Architecture:
    return Architecture(
        model_type=model_type,
        positions_after_pad=False,
        token_types=True,
        pooler_switch=pooler_switch,
        pad_token_id=0,
        **defaults,  # type: ignore[arg-type]
    )


def _roberta_like(model_type: str, *, token_types: bool = True) -> Architecture:
    return Architecture(
        model_type=model_type,
        positions_after_pad=True,
        token_types=token_types,
        pooler_switch=True,
        pad_token_id=1,
    )


ARCHITECTURES: dict[str, Architecture] = {
    row.model_type: row
    for row in (
        _bert_like("albert", hidden=4096, intermediate=16384, heads=64),
        _bert_like("bert"),
        _roberta_like("camembert"),
        Architecture(
            model_type="distilbert",
            positions_after_pad=False,
            token_types=False,
            pooler_switch=False,
            pad_token_id=0,
            hidden_key="dim",
            intermediate_key="hidden_dim",
            heads_key="n_heads",
        ),
        _bert_like("electra", pooler_switch=False, hidden=256, intermediate=1024, heads=4),
        _roberta_like("mpnet", token_types=False),
        _roberta_like("roberta"),
        _roberta_like("xlm-roberta"),
    )
}


def pad_token_id(row: Architecture, config: Mapping[str, Any]) -> int:
    """The id that fills a row up to the bucket."""
    value = config.get("pad_token_id")
    return row.pad_token_id if value is None else int(value)


def usable_positions(row: Architecture, config: Mapping[str, Any]) -> int:
    """Longest sequence, in tokens, that the position table can number."""
    rows = int(config.get("max_position_embeddings", row.max_positions))
    return rows - (pad_token_id(row, config) + 1) if row.positions_after_pad else rows


def uses_token_types(row: Architecture, config: Mapping[str, Any]) -> bool:
    """Whether ``token_type_ids`` can change an answer: taken, and with more than one type."""
    return row.token_types and int(config.get("type_vocab_size", row.type_vocab_size)) > 1
