"""One entry per task: how its inputs become rows, and how a row's outputs become an answer.

Shapes follow the Hugging Face pipelines of the same names. A task is a ``Task`` (task.py) and a
line in ``TASKS``; the two that read a plain text are here, each other one has a module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from artifact.errors import UsageError
from artifact.manifest import Manifest
from inference_code.encoding import Encoder
from inference_code.errors import BadRequest
from inference_code.fill_mask import FILL_MASK
from inference_code.multiple_choice import MULTIPLE_CHOICE
from inference_code.question_answering import QUESTION_ANSWERING
from inference_code.requests import Text, read_text_or_pair
from inference_code.rows import Outputs, Row, check_finite, softmax
from inference_code.task import Answered, Parameters, Task
from inference_code.token_classification import TOKEN_CLASSIFICATION
from inference_code.translation import TRANSLATION

if TYPE_CHECKING:
    from inference_code.rows import FloatArray


class TaskUnknown(UsageError):
    """The artifact's task is not one that this server can answer."""

    id = "task-unknown"

    def __init__(self, *, task: str) -> None:
        super().__init__(
            what=f"artifacts for {task} cannot be served",
            why=f"this server knows {', '.join(sorted(TASKS))}",
            fix="use a traceship version that serves this task",
        )


def task_of(manifest: Manifest) -> Task[Any]:
    """The entry for an artifact.

    Raises:
        TaskUnknown: see there.
    """
    if manifest.task not in TASKS:
        raise TaskUnknown(task=manifest.task)
    return TASKS[manifest.task]


def answers(
    inputs: Sequence[Answered[Any]], parameters: Mapping[str, Any], encoder: Encoder, *, single: bool
) -> Any:
    """The body of a response: one answer, or a list of them.

    Raises:
        InferenceFailed: a number is not finite.
    """
    task = task_of(encoder.manifest)
    for outputs in (outputs for answered in inputs for outputs in answered.outputs):
        check_finite(outputs)
    found = [
        _as_pipeline(task.answer(answered, parameters, encoder), parameters, encoder.manifest, single=single)
        for answered in inputs
    ]
    return found[0] if single else found


def _whole_text(item: Text, _parameters: Parameters, encoder: Encoder) -> list[Row]:
    return [encoder.encode(item)]


def _embedding(answered: Answered[Text], _parameters: Parameters, _encoder: Encoder) -> Any:
    """Pooled by the graph: [hidden]. Otherwise [tokens][hidden], special tokens included."""
    return answered.outputs[0].arrays[0].tolist()


def _embedding_evidence(_row: Row, outputs: Outputs, _manifest: Manifest) -> Any:
    return outputs.arrays[0].tolist()


def _labels(answered: Answered[Text], parameters: Parameters, encoder: Encoder) -> Any:
    """[{"label", "score"}] from the best down, ``top_k`` of them (default 1, null: all)."""
    return _ranked(answered.outputs[0], parameters, encoder.manifest)[: parameters.get("top_k", 1)]


def _label_evidence(_row: Row, outputs: Outputs, manifest: Manifest) -> Any:
    """Every label with its score, from the best down."""
    return _ranked(outputs, {}, manifest)


def _ranked(outputs: Outputs, parameters: Parameters, manifest: Manifest) -> list[dict[str, Any]]:
    scores = _applied(outputs.arrays[0], _function(parameters, manifest))
    ranked = sorted(zip(manifest.labels, scores.tolist()), key=lambda pair: -pair[1])
    return [{"label": label, "score": score} for label, score in ranked]


def _as_pipeline(answer: Any, parameters: Mapping[str, Any], manifest: Manifest, *, single: bool) -> Any:
    # transformers' text-classification gives [best] for one text but best, best, … for a list,
    # unless top_k was asked for. Clients of its pipelines and of AWS's toolkit rely on it.
    if manifest.task == "text-classification" and "top_k" not in parameters and not single:
        return answer[0]
    # translation gives a list even for one text
    return [answer] if manifest.task == "translation" and single else answer


def _function(parameters: Mapping[str, Any], manifest: Manifest) -> str:
    """transformers' own choice (pipelines/text_classification.py), where none was asked for."""
    asked: str | None = parameters.get("function_to_apply")
    if asked is not None:
        return asked
    if manifest.problem_type == "regression":
        return "none"
    if manifest.problem_type == "multi_label_classification" or len(manifest.labels) == 1:
        return "sigmoid"
    return "softmax"


def _applied(logits: FloatArray, function: str) -> FloatArray:
    import numpy as np

    if function == "sigmoid":
        with np.errstate(over="ignore"):  # exp(1000) is inf, and 1 / inf the right score
            scores = 1.0 / (1.0 + np.exp(-logits))
    elif function == "softmax":
        return softmax(logits)
    else:
        return logits
    return scores.astype(np.float32)


def _check_top_k(field: str, value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise BadRequest(
        field=field, why="it is no positive whole number", fix="send one, or null for all labels"
    )


def _check_function(field: str, value: Any) -> str | None:
    if value in (None, "softmax", "sigmoid", "none"):
        return None if value is None else str(value)
    raise BadRequest(field=field, why="there is no such function", fix="send softmax, sigmoid or none")


TASKS: Mapping[str, Task[Any]] = {
    "feature-extraction": Task(
        parameters={},
        read=read_text_or_pair,
        rows=_whole_text,
        answer=_embedding,
        evidence=_embedding_evidence,
    ),
    "fill-mask": FILL_MASK,
    "multiple-choice": MULTIPLE_CHOICE,
    "question-answering": QUESTION_ANSWERING,
    "text-classification": Task(
        parameters={"top_k": _check_top_k, "function_to_apply": _check_function},
        read=read_text_or_pair,
        rows=_whole_text,
        answer=_labels,
        evidence=_label_evidence,
    ),
    "token-classification": TOKEN_CLASSIFICATION,
    "translation": TRANSLATION,
}
