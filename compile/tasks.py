"""The tasks, as data: which model class, which outputs, how they are measured.

A task of transformers' pipeline names that is not a row here is refused. Pairs with
``architectures.py`` (what each model family needs) and ``wrapper.py`` (which uses both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from artifact.manifest import Pooling, Task

Agreement = Literal["cosine", "label", "token-label", "span", "top-k", "choice", "tokens"]
Example = Literal["text", "text-or-pair", "question", "masked", "choices"]


@dataclass(frozen=True)
class TaskSpec:
    """One task.

    Attributes:
        auto_class: transformers' class that loads body and head.
        heads: endings of the class names, one of which a checkpoint's ``architectures`` must show
            for the head to be trained; empty: any checkpoint has what the task needs.
        fields: of the model's output, picked by name.
        token_level: whether the outputs have one vector a token (unless pooled), or one a row.
        example: what a request's input is made of.
        agreement: what must agree beyond the numbers: the direction of a vector, the label of
            a row or a token, the answer's span, the order of the best words, the choice, or every
            token of a translation.
        labelled: whether the outputs are named by the config's ``id2label``.
    """

    name: Task
    auto_class: str
    heads: tuple[str, ...]
    fields: tuple[str, ...]
    token_level: bool
    example: Example
    agreement: Agreement
    labelled: bool = False


TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec(
            name="feature-extraction",
            auto_class="AutoModel",
            heads=(),
            fields=("last_hidden_state",),
            token_level=True,
            example="text",
            agreement="cosine",
        ),
        TaskSpec(
            name="text-classification",
            auto_class="AutoModelForSequenceClassification",
            heads=("ForSequenceClassification",),
            fields=("logits",),
            token_level=False,
            example="text-or-pair",
            agreement="label",
            labelled=True,
        ),
        TaskSpec(
            name="token-classification",
            auto_class="AutoModelForTokenClassification",
            heads=("ForTokenClassification",),
            fields=("logits",),
            token_level=True,
            example="text",
            agreement="token-label",
            labelled=True,
        ),
        TaskSpec(
            name="question-answering",
            auto_class="AutoModelForQuestionAnswering",
            heads=("ForQuestionAnswering", "ForQuestionAnsweringSimple"),
            fields=("start_logits", "end_logits"),
            token_level=True,
            example="question",
            agreement="span",
        ),
        TaskSpec(
            name="fill-mask",
            auto_class="AutoModelForMaskedLM",
            # pre-training checkpoints and XLM's class hold the same head under another name
            heads=("ForMaskedLM", "WithLMHeadModel", "ForPreTraining"),
            fields=("logits",),
            token_level=True,
            example="masked",
            agreement="top-k",
        ),
        TaskSpec(
            name="multiple-choice",
            auto_class="AutoModelForMultipleChoice",
            heads=("ForMultipleChoice",),
            fields=("logits",),
            token_level=False,
            example="choices",
            agreement="choice",
        ),
        TaskSpec(
            name="translation",
            auto_class="AutoModelForSeq2SeqLM",
            heads=("MTModel", "ForConditionalGeneration"),
            fields=("last_hidden_state",),  # the encoder's; the decoder has a graph of its own
            token_level=True,
            example="text",
            agreement="tokens",
        ),
    )
}

KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Inputs a tokenizer makes; every other argument of a model's ``forward`` has its default."""


def output_names(spec: TaskSpec, pooling: Pooling) -> tuple[str, ...]:
    """The names of the graph's outputs: the model's fields, or what pooling makes of them."""
    return spec.fields if pooling == "none" else ("sentence_embedding",)
