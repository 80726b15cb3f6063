"""Multiple choice: {"text", "choices"} in, the choices from the best down out.

Each choice is encoded as the pair of the text; the candidates of an input stand in one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from artifact.manifest import Manifest
from inference_code.encoding import Encoder
from inference_code.errors import BadRequest
from inference_code.parameters import TRUNCATION
from inference_code.requests import Text, fields, string, texts
from inference_code.rows import Outputs, Row, softmax
from inference_code.task import Answered, Parameters, Task

_SHAPE = 'send {"text", "choices"} with a list of texts as choices, or a list of those'


@dataclass(frozen=True)
class Choices:
    """One input. ``field`` is its place in the request, for errors."""

    field: str
    text: str
    choices: tuple[str, ...]


def _read(field: str, value: Any) -> Choices:
    value = fields(field, value, {"text", "choices"}, _SHAPE)
    text = string(f"{field}.text", value.get("text"), _SHAPE)
    choices = texts(f"{field}.choices", value.get("choices"), _SHAPE)
    if not choices:
        raise BadRequest(field=f"{field}.choices", why="it is empty", fix="send at least one")
    return Choices(field, text, choices)


def _rows(item: Choices, parameters: Parameters, encoder: Encoder) -> list[Row]:
    limit, found = encoder.manifest.choices, len(item.choices)
    assert limit is not None, "Encoder refuses a manifest without"
    if found > limit:
        why = f"it has {found}, the model takes 1 to {limit}"
        fix = "send fewer, or compile with more choices"
        raise BadRequest(field=f"{item.field}.choices", why=why, fix=fix)
    cut = parameters.get("truncation")
    first, *others = (
        encoder.encode(Text(f"{item.field}.choices[{at}] with its text", item.text, choice), cut=cut)
        for at, choice in enumerate(item.choices)
    )
    return [Row(ids=first.ids, types=first.types, others=tuple(others))]


def _answer(answered: Answered[Choices], _parameters: Parameters, _encoder: Encoder) -> Any:
    """[{"choice", "text", "score"}], "choice" counted from 0; scores are a softmax over the choices sent."""
    item, (outputs,) = answered.item, answered.outputs
    scores = softmax(outputs.arrays[0][: len(item.choices)]).tolist()
    ranked = sorted(range(len(scores)), key=lambda at: -scores[at])
    return [{"choice": at, "text": item.choices[at], "score": scores[at]} for at in ranked]


def _evidence(row: Row, outputs: Outputs, _manifest: Manifest) -> Any:
    """The logit of each choice that was sent."""
    return outputs.arrays[0][: len(row.lines)].tolist()


MULTIPLE_CHOICE = Task(
    parameters={"truncation": TRUNCATION},
    read=_read,
    inputs={
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "choices": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
        "required": ["text", "choices"],
        "additionalProperties": False,
    },
    answers={
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "choice": {"type": "integer"},
                "text": {"type": "string"},
                "score": {"type": "number"},
            },
            "required": ["choice", "text", "score"],
            "additionalProperties": False,
        },
    },
    columns=(("text", "choices"),),
    rows=_rows,
    answer=_answer,
    evidence=_evidence,
)
