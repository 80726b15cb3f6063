"""The tasks, as data: which model class, which output, how it is measured.

A task of transformers' pipeline names that is not a row here is refused. Pairs with
``architectures.py`` (what each model family needs) and ``wrapper.py`` (which uses both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from artifact.manifest import Pooling, Task

Agreement = Literal["cosine", "label"]


@dataclass(frozen=True)
class TaskSpec:
    """One task.

    Attributes:
        auto_class: transformers' class that loads body and head.
        head: ending of the class name that a checkpoint's ``architectures`` must show for the
            head to be trained; ``None``: any checkpoint has what the task needs.
        field: of the model's output, picked by name.
        pairs: whether a request may be ``{"text", "text_pair"}``.
        agreement: what must agree beyond the numbers: the direction of a vector, or the label.
    """

    name: Task
    auto_class: str
    head: str | None
    field: str
    pairs: bool
    agreement: Agreement


TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec(
            name="feature-extraction",
            auto_class="AutoModel",
            head=None,
            field="last_hidden_state",
            pairs=False,
            agreement="cosine",
        ),
        TaskSpec(
            name="text-classification",
            auto_class="AutoModelForSequenceClassification",
            head="ForSequenceClassification",
            field="logits",
            pairs=True,
            agreement="label",
        ),
    )
}

KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Inputs a tokenizer makes; every other argument of a model's ``forward`` has its default."""


def output_name(spec: TaskSpec, pooling: Pooling) -> str:
    """The name of the graph's output: the model's field, or what pooling makes of it."""
    return spec.field if pooling == "none" else "sentence_embedding"
