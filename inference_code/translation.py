"""translation: a text in, {"translation_text"} out; the search is the one that the compile proved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from artifact.manifest import Generation, Manifest
from artifact.search import search
from inference_code.encoding import Encoder
from inference_code.errors import InferenceFailed
from inference_code.parameters import TRUNCATION
from inference_code.requests import TEXT, Request, Text, read_text
from inference_code.rows import NOT_FINITE, Outputs, Row
from inference_code.task import Answered, Extent, Parameters, Task

if TYPE_CHECKING:
    import torch

    from artifact.graphs import Graph

_TEXT_SECONDS = 100e-6
"""About what a target text costs the thread that writes it."""


def translated(
    decoder: Graph, generation: Generation, states: torch.Tensor, mask: torch.Tensor
) -> list[Outputs]:
    """Search each row's translation; one array of token ids a row, the start first.

    Raises:
        InferenceFailed: a graph answered with NaN or infinity.

    Args:
        states: of the encoder, (batch, length, hidden); ``mask`` (batch, length).
    """
    import numpy as np

    beams = generation.num_beams
    repeated, seen = states.repeat_interleave(beams, dim=0), mask.repeat_interleave(beams, dim=0)

    def decode(ids: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = decoder(ids, repeated, seen, step)[0]
        return _finite(logits)

    _finite(states)
    found = search(decode, generation, states.shape[0])
    return [Outputs(arrays=(np.asarray(tokens),)) for tokens in found]


def _finite(numbers: torch.Tensor) -> torch.Tensor:
    """Token ids would hide a NaN: the search always finds some."""
    if not bool(numbers.isfinite().all()):
        raise InferenceFailed(why=NOT_FINITE)
    return numbers


def _rows(item: Text, parameters: Parameters, encoder: Encoder) -> list[Row]:
    return [encoder.encode(item, cut=parameters.get("truncation"))]


def _answer(answered: Answered[Text], _parameters: Parameters, encoder: Encoder) -> Any:
    ids = [int(token) for token in answered.outputs[0].arrays[0]]
    return {"translation_text": encoder.vocabulary.text(ids, skip_special=True)}


def _evidence(_row: Row, outputs: Outputs, _manifest: Manifest) -> Any:
    """Every token, the start first."""
    return [int(token) for token in outputs.arrays[0]]


def _shaped(found: list[Any], _request: Request) -> Any:
    """The pipeline gives a list even for one text."""
    return found


def _extent(
    _items: Sequence[Text], rows_of: Sequence[Sequence[Row]], _parameters: Parameters, _encoder: Encoder
) -> Extent:
    return Extent(seconds=_TEXT_SECONDS * sum(map(len, rows_of)))


_TRANSLATED = {
    "type": "object",
    "properties": {"translation_text": {"type": "string"}},
    "required": ["translation_text"],
    "additionalProperties": False,
}

TRANSLATION: Task[Text] = Task(
    parameters={"truncation": TRUNCATION},
    read=read_text,
    inputs=TEXT,
    answers=_TRANSLATED,
    columns=(("text",),),
    rows=_rows,
    answer=_answer,
    evidence=_evidence,
    shaped=_shaped,
    extent=_extent,
    nested={"type": "array", "items": _TRANSLATED},
)
