"""The model families, as data: what their config leaves unsaid and what they do differently.

``config.json`` of a checkpoint holds only what differs from the class's defaults, and reading
those through transformers costs an import of torch; the defaults that the checks need are
columns here, and a test compares each with transformers' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifact.manifest import Support, Target, Task

ENCODER_TASKS: tuple[Task, ...] = (
    "feature-extraction",
    "text-classification",
    "token-classification",
    "question-answering",
    "fill-mask",
    "multiple-choice",
)


@dataclass(frozen=True)
class Architecture:
    """One ``model_type``.

    Attributes:
        positions_after_pad: position ids start at ``pad_token_id + 1``, so that many rows of
            the position table cannot be used (the RoBERTa family).
        pooler_switch: the base class takes ``add_pooling_layer``; off, an untrained pooler is
            neither loaded nor carried along.
        pad_token_id, max_positions, hidden, intermediate, heads, layers: the
            class's defaults where ``config.json`` is silent.
        hidden_key, intermediate_key, heads_key, layers_key: what the config calls them.
        intermediate_per_hidden: set where no key says the intermediate size: it over the hidden one.
        pad_key: what the config calls the padding's id, beside ``pad_token_id``.
        targets: where it is allowed.
        refusal: why it is not allowed on the other target.
        since: the first transformers that has it, where the container's 4.36 does not.
        without: tasks for which transformers has no class of this family.
        needs_waiver: tasks whose answer depends on the padding, and why.
        tokenizer_decides_types: its ``forward`` adds token types of which its config says nothing.
        seq2seq: an encoder and a decoder; such a family translates and does nothing else.
        support: ``generic`` for a family that is not in the table.
    """

    model_type: str
    positions_after_pad: bool
    pooler_switch: bool
    pad_token_id: int | None
    max_positions: int = 512
    hidden: int = 768
    intermediate: int = 3072
    heads: int = 12
    layers: int = 12
    hidden_key: str = "hidden_size"
    intermediate_key: str = "intermediate_size"
    heads_key: str = "num_attention_heads"
    layers_key: str = "num_hidden_layers"
    intermediate_per_hidden: int | None = None
    pad_key: str = "pad_token_id"
    targets: tuple[Target, ...] = ("cpu", "inf1")
    refusal: str = ""
    since: str | None = None
    without: tuple[Task, ...] = ()
    needs_waiver: tuple[tuple[Task, ...], str] = ((), "")
    tokenizer_decides_types: bool = False
    seq2seq: bool = False
    support: Support = "listed"


def _bert_like(
    model_type: str, *, pooler_switch: bool = True, pad_token_id: int = 0, **other: Any
) -> Architecture:
    return Architecture(
        model_type=model_type,
        positions_after_pad=False,
        pooler_switch=pooler_switch,
        pad_token_id=pad_token_id,
        **other,
    )


_NO_XSOFTMAX = "torch.neuron cannot save its XSoftmax function (huggingface/optimum-neuron, model_configs.py)"


def _deberta(model_type: str, **other: Any) -> Architecture:
    return _bert_like(
        model_type,
        pooler_switch=False,
        targets=("cpu",),
        refusal=_NO_XSOFTMAX,
        **other,
    )


def _xlm_like(model_type: str) -> Architecture:
    """Four times the hidden size between, which the config does not say: XLM's TransformerFFN."""
    return Architecture(
        model_type=model_type,
        positions_after_pad=False,
        pooler_switch=False,
        pad_token_id=2,
        hidden=2048,
        intermediate=8192,
        heads=16,
        hidden_key="emb_dim",
        heads_key="n_heads",
        layers_key="n_layers",
        intermediate_per_hidden=4,
        pad_key="pad_index",
        tokenizer_decides_types=True,
    )


def _roberta_like(model_type: str) -> Architecture:
    return Architecture(
        model_type=model_type,
        positions_after_pad=True,
        pooler_switch=True,
        pad_token_id=1,
    )


ARCHITECTURES: dict[str, Architecture] = {
    row.model_type: row
    for row in (
        _bert_like("albert", hidden=4096, intermediate=16384, heads=64),
        _bert_like("bert"),
        _roberta_like("camembert"),
        _bert_like(
            "convbert",
            pooler_switch=False,
            pad_token_id=1,
            needs_waiver=(ENCODER_TASKS, "its convolution reads the padding"),
        ),
        _deberta("deberta", without=("multiple-choice",)),
        _deberta("deberta-v2", hidden=1536, intermediate=6144, heads=24, layers=24),
        Architecture(
            model_type="distilbert",
            positions_after_pad=False,
            pooler_switch=False,
            pad_token_id=0,
            hidden_key="dim",
            intermediate_key="hidden_dim",
            heads_key="n_heads",
            layers=6,
            layers_key="n_layers",
        ),
        _bert_like("electra", pooler_switch=False, hidden=256, intermediate=1024, heads=4),
        _xlm_like("flaubert"),
        Architecture(
            model_type="marian",
            positions_after_pad=False,
            pooler_switch=False,
            pad_token_id=58100,
            max_positions=1024,
            hidden=1024,
            intermediate=4096,
            heads=16,
            hidden_key="d_model",
            intermediate_key="encoder_ffn_dim",
            heads_key="encoder_attention_heads",
            layers_key="encoder_layers",
            seq2seq=True,
        ),
        _bert_like("mobilebert", hidden=512, intermediate=512, heads=4, layers=24),
        Architecture(
            model_type="modernbert",
            positions_after_pad=False,
            pooler_switch=False,
            pad_token_id=50283,
            max_positions=8192,
            intermediate=1152,
            layers=22,
            targets=("cpu",),
            refusal="the Inf1 container's transformers 4.36 does not have it",
            since="4.48",
        ),
        _roberta_like("mpnet"),
        _roberta_like("roberta"),
        _bert_like(
            "roformer",
            pooler_switch=False,
            max_positions=1536,
            needs_waiver=(("multiple-choice",), "its head reads the last position, which is padding"),
        ),
        _xlm_like("xlm"),
        _roberta_like("xlm-roberta"),
    )
}


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The row of a config's ``model_type``; for a family that is not in the table, a generic one.

    The generic row assumes nothing that a gate would not see: inputs come from the model's own
    ``forward``, and a padding id that the config does not give must come from the tokenizer.
    """
    model_type = str(config["model_type"])
    return ARCHITECTURES.get(model_type) or Architecture(
        model_type=model_type,
        positions_after_pad=False,
        pooler_switch=False,
        pad_token_id=None,
        max_positions=_GENERIC_POSITIONS,
        seq2seq=bool(config.get("is_encoder_decoder")),
        support="generic",
    )


_GENERIC_POSITIONS = 131_072
"""No limit of ours where neither table nor config knows one; the trace itself finds the model's."""


def pad_token_id(row: Architecture, config: Mapping[str, Any]) -> int | None:
    """The id that fills a row up to the bucket; ``None``: only the tokenizer knows it."""
    value = config.get("pad_token_id", config.get(row.pad_key))
    return row.pad_token_id if value is None else int(value)


def usable_positions(row: Architecture, config: Mapping[str, Any]) -> int:
    """Longest sequence, in tokens, that the position table can number."""
    rows = int(config.get("max_position_embeddings", row.max_positions))
    return rows - ((pad_token_id(row, config) or 0) + 1) if row.positions_after_pad else rows
