"""Text classification: a text or pair in, labels with their scores out, as the pipeline gives them.

Source: transformers 5.24, pipelines/text_classification.py; ``return_all_scores`` as in 4.36.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from artifact.manifest import Manifest
from inference_code.encoding import Encoder
from inference_code.errors import BadRequest
from inference_code.parameters import TRUNCATION, Parameter, one_of, truth
from inference_code.requests import TEXT_OR_ANY_PAIR, Request, Text, read_text_or_any_pair
from inference_code.rows import Outputs, Row, softmax
from inference_code.task import Answered, Parameters, Table, Task

if TYPE_CHECKING:
    from inference_code.rows import FloatArray


def _rows(item: Text, parameters: Parameters, encoder: Encoder) -> list[Row]:
    return [encoder.encode(item, cut=parameters.get("truncation"))]


def _answer(answered: Answered[Text], parameters: Parameters, encoder: Encoder) -> Any:
    """[{"label", "score"}] from the best down, ``top_k`` of them (default 1, null: all).

    ``return_all_scores`` gives all of them in the order of the labels.
    """
    if "top_k" not in parameters and parameters.get("return_all_scores"):
        return _scored(answered.outputs[0], parameters, encoder.manifest)
    return _ranked(answered.outputs[0], parameters, encoder.manifest)[: parameters.get("top_k", 1)]


def _shaped(found: list[Any], request: Request) -> Any:
    """transformers' pipeline gives [best] for one text but best, best, … for a list, unless top_k was
    asked for, and nests one text's ``return_all_scores``. Hugging Face's inference API always nests.

    Clients of either rely on it.
    """
    if request.hub:
        return found
    if "top_k" not in request.parameters:
        if request.parameters.get("return_all_scores"):
            return found
        if not request.single:
            return [labels[0] for labels in found]
    return found[0] if request.single else found


def _evidence(_row: Row, outputs: Outputs, manifest: Manifest) -> Any:
    """Every label with its score, from the best down."""
    return _ranked(outputs, {}, manifest)


def _ranked(outputs: Outputs, parameters: Parameters, manifest: Manifest) -> list[dict[str, Any]]:
    return sorted(_scored(outputs, parameters, manifest), key=lambda entry: -float(entry["score"]))


def _scored(outputs: Outputs, parameters: Parameters, manifest: Manifest) -> list[dict[str, Any]]:
    scores = _applied(outputs.arrays[0], _function(parameters, manifest))
    return [{"label": label, "score": score} for label, score in zip(manifest.labels, scores.tolist())]


def _function(parameters: Parameters, manifest: Manifest) -> str:
    """transformers' own choice, where none was asked for."""
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


def _cells(answer: Any) -> list[Any]:
    return [cell for entry in answer for cell in (entry["label"], entry["score"])]


_TOP_K = Parameter(
    _check_top_k,
    {"type": ["integer", "null"], "minimum": 1},
    "How many labels, the best first; null: all. Left out: the best one.",
)
_LABEL = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "score": {"type": "number"}},
    "required": ["label", "score"],
    "additionalProperties": False,
}
_LABELS = {"type": "array", "items": _LABEL}

TEXT_CLASSIFICATION = Task(
    parameters={
        "top_k": _TOP_K,
        "return_all_scores": truth(
            says="transformers' older word for top_k null: all labels, in the order of the checkpoint, "
            "and one text's in a list of their own. top_k overrides it."
        ),
        "function_to_apply": one_of(
            "softmax", "sigmoid", "none", says="From logits to scores; left out: by the checkpoint."
        ),
        "truncation": TRUNCATION,
    },
    read=read_text_or_any_pair,
    inputs=TEXT_OR_ANY_PAIR,
    answers=_LABELS,
    columns=(("text",), ("text", "text_pair")),
    rows=_rows,
    answer=_answer,
    evidence=_evidence,
    shaped=_shaped,
    nested={"anyOf": [_LABELS, {"type": "array", "items": _LABELS}]},
    hub={"top_k": None},
    table=Table(cells=_cells, flat=lambda _manifest: True),
)
