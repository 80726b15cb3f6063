"""Which tasks there are. A task is a ``Task`` (task.py), a module of its own and a line in ``TASKS``.

Shapes follow the Hugging Face pipelines of the same names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from artifact.errors import UsageError
from artifact.manifest import Manifest
from inference_code.embeddings import FEATURE_EXTRACTION
from inference_code.encoding import Encoder
from inference_code.fill_mask import FILL_MASK
from inference_code.multiple_choice import MULTIPLE_CHOICE
from inference_code.question_answering import QUESTION_ANSWERING
from inference_code.rows import check_finite
from inference_code.task import Answered, Parameters, Task
from inference_code.text_classification import TEXT_CLASSIFICATION
from inference_code.token_classification import TOKEN_CLASSIFICATION
from inference_code.translation import TRANSLATION


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


def answers(inputs: Sequence[Answered[Any]], parameters: Parameters, encoder: Encoder) -> Iterator[Any]:
    """JSON data for each input, made when it is asked for.

    Raises:
        InferenceFailed: a number is not finite.
    """
    task = task_of(encoder.manifest)
    for outputs in (outputs for answered in inputs for outputs in answered.outputs):
        check_finite(outputs)
    return (task.answer(answered, parameters, encoder) for answered in inputs)


TASKS: Mapping[str, Task[Any]] = {
    "feature-extraction": FEATURE_EXTRACTION,
    "fill-mask": FILL_MASK,
    "multiple-choice": MULTIPLE_CHOICE,
    "question-answering": QUESTION_ANSWERING,
    "text-classification": TEXT_CLASSIFICATION,
    "token-classification": TOKEN_CLASSIFICATION,
    "translation": TRANSLATION,
}
