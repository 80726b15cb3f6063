"""One entry per task: which parameters it knows, and how a row's outputs become an answer.

Shapes follow the Hugging Face pipelines of the same names. A new task is a function and a line
in ``TASKS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifact.errors import UsageError
from artifact.manifest import Manifest
from inference_code.errors import BadRequest, InferenceFailed
from inference_code.requests import Check

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]


class TaskUnknown(UsageError):
    """The artifact's task is not one that this server can answer."""

    id = "task-unknown"

    def __init__(self, *, task: str) -> None:
        super().__init__(
            what=f"artifacts for {task} cannot be served",
            why=f"this server knows {', '.join(sorted(TASKS))}",
            fix="use a traceship version that serves this task",
        )


@dataclass(frozen=True)
class Outputs:
    """One row of what a graph returned: per output an array without batch axis and padding."""

    arrays: tuple[FloatArray, ...]


Answer = Callable[[Outputs, Mapping[str, Any], Manifest], Any]


@dataclass(frozen=True)
class Task:
    """``whole`` is the set of parameters under which an answer shows everything the model said."""

    parameters: Mapping[str, Check]
    answer: Answer
    whole: Mapping[str, Any]


def task_of(manifest: Manifest) -> Task:
    """The entry for an artifact.

    Raises:
        TaskUnknown: see there.
    """
    if manifest.task not in TASKS:
        raise TaskUnknown(task=manifest.task)
    return TASKS[manifest.task]


def answers(
    rows: Sequence[Outputs], parameters: Mapping[str, Any], manifest: Manifest, *, single: bool
) -> Any:
    """The body of a response: one answer, or a list of them.

    Raises:
        InferenceFailed: a number is not finite; JSON could not say so.
    """
    task = task_of(manifest)
    for row in rows:
        check_finite(row)
    if single:
        return _as_pipeline(task.answer(rows[0], parameters, manifest), parameters, manifest, single=True)
    return [
        _as_pipeline(task.answer(row, parameters, manifest), parameters, manifest, single=False)
        for row in rows
    ]


def check_finite(row: Outputs) -> None:
    """Raise InferenceFailed where a graph answered with NaN or infinity."""
    import numpy as np

    for array in row.arrays:
        if not np.isfinite(array).all():
            raise InferenceFailed(why="the model's answer holds a number that is not finite")


def _embedding(row: Outputs, _parameters: Mapping[str, Any], _manifest: Manifest) -> Any:
    """Pooled by the graph: [hidden]. Otherwise [tokens][hidden], special tokens included."""
    return row.arrays[0].tolist()


def _labels(row: Outputs, parameters: Mapping[str, Any], manifest: Manifest) -> Any:
    """[{"label", "score"}] from the best down, ``top_k`` of them (default 1, null: all)."""
    scores = _applied(row.arrays[0], _function(parameters, manifest))
    ranked = sorted(zip(manifest.labels, scores.tolist()), key=lambda pair: -pair[1])
    return [{"label": label, "score": score} for label, score in ranked[: parameters.get("top_k", 1)]]


def _as_pipeline(answer: Any, parameters: Mapping[str, Any], manifest: Manifest, *, single: bool) -> Any:
    # transformers' text-classification gives [best] for one text but best, best, … for a list,
    # unless top_k was asked for. Clients of its pipelines and of AWS's toolkit rely on it.
    flat = manifest.task == "text-classification" and "top_k" not in parameters and not single
    return answer[0] if flat else answer


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
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
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


TASKS: Mapping[str, Task] = {
    "feature-extraction": Task(parameters={}, answer=_embedding, whole={}),
    "text-classification": Task(
        parameters={"top_k": _check_top_k, "function_to_apply": _check_function},
        answer=_labels,
        whole={"top_k": None},
    ),
}
