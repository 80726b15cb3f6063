"""Multiple choice: {"text", "choices"} in, the choices from the best down out.

Each choice is encoded as the pair of the text; the candidates of an input stand in one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from artifact.manifest import Manifest
from inference_code.encoding import Encoder
from inference_code.errors import BadRequest
from inference_code.requests import Text, fields, kind, string
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
    text, choices = string(f"{field}.text", value.get("text"), _SHAPE), value.get("choices")
    if not isinstance(choices, list):
        why = "it is missing or null" if choices is None else f"it is {kind(choices)}, not a list"
        raise BadRequest(field=f"{field}.choices", why=why, fix=_SHAPE)
    read = tuple(string(f"{field}.choices[{at}]", choice, _SHAPE) for at, choice in enumerate(choices))
    return Choices(field=field, text=text, choices=read)


def _rows(item: Choices, _parameters: Parameters, encoder: Encoder) -> list[Row]:
    limit, found = encoder.manifest.choices, len(item.choices)
    assert limit is not None, "Encoder refuses a manifest without"
    if not 1 <= found <= limit:
        why = f"it has {found}, the model takes 1 to {limit}"
        fix = "send fewer, or compile with more choices" if found else "send at least one"
        raise BadRequest(field=f"{item.field}.choices", why=why, fix=fix)
    first, *others = (
        encoder.encode(Text(f"{item.field}.choices[{at}] with its text", item.text, choice))
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


MULTIPLE_CHOICE = Task(parameters={}, read=_read, rows=_rows, answer=_answer, evidence=_evidence)
