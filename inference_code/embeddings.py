"""Feature extraction: a text or pair in, its vector or its tokens' vectors out.

``{"source_sentence", "sentences"}`` asks for the cosines of the first with each of the others, as
Hugging Face's sentence-similarity does; it takes artifacts that pool.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifact.manifest import Manifest
from inference_code.encoding import Encoder
from inference_code.errors import BadRequest
from inference_code.parameters import TRUNCATION, one_of, truth, whole_number
from inference_code.requests import TEXT_OR_PAIR, Text, fields, read_text_or_pair, string, texts
from inference_code.rows import Outputs, Row
from inference_code.task import Answered, Extent, Numbers, Parameters, Table, Task, by_numbers, numbers_of

if TYPE_CHECKING:
    from inference_code.rows import FloatArray

_SHAPE = 'send {"source_sentence", "sentences"} with a list of texts as sentences'
_SMALLEST_NORM = 1e-12
"""As in torch.nn.functional.normalize."""
_SMALLEST_NUMBER = 4
"""Bytes of a number in any form: ``0.0,`` or a float32."""


@dataclass(frozen=True)
class Comparison:
    """One input: sentences to compare with ``source``. ``field`` is its place, for errors."""

    field: str
    source: str
    sentences: tuple[str, ...]


Item = Text | Comparison


def _read(field: str, value: Any) -> Item:
    if not (isinstance(value, dict) and "source_sentence" in value):
        return read_text_or_pair(field, value)
    value = fields(field, value, {"source_sentence", "sentences"}, _SHAPE)
    source = string(f"{field}.source_sentence", value["source_sentence"], _SHAPE)
    return Comparison(field, source, texts(f"{field}.sentences", value.get("sentences"), _SHAPE))


def _settle(parameters: Parameters, encoder: Encoder) -> Parameters:
    """``truncate`` is ``truncation`` by the name that embedding clients have for it."""
    size, asked = encoder.manifest.outputs[0].shape[-1], parameters.get("dimensions")
    if asked not in (None, size):
        why = f"it is {asked}, the model's vectors have {size} numbers"
        raise BadRequest(field="parameters.dimensions", why=why, fix="send that number, or leave it out")
    cut, truncate = (parameters.get(name) for name in ("truncation", "truncate"))
    if None not in (cut, truncate) and cut != truncate:
        why = "truncation says the opposite"
        raise BadRequest(field="parameters.truncate", why=why, fix="send one of the two")
    return {**parameters, "truncation": truncate if cut is None else cut}


def _rows(item: Item, parameters: Parameters, encoder: Encoder) -> list[Row]:
    cut = parameters.get("truncation")
    if isinstance(item, Text):
        return [encoder.encode(item, cut=cut)]
    if not pools(encoder.manifest):
        why = "the model gives each token a vector, and none to a sentence"
        raise BadRequest(field=item.field, why=why, fix="send a text, or compile with pooling")
    source = Text(f"{item.field}.source_sentence", item.source, None)
    others = (
        Text(f"{item.field}.sentences[{at}]", sentence, None) for at, sentence in enumerate(item.sentences)
    )
    return [encoder.encode(text, cut=cut) for text in (source, *others)]


def _answer(answered: Answered[Item], parameters: Parameters, _encoder: Encoder) -> Any:
    """Pooled by the graph: [hidden]. Otherwise [tokens][hidden], special tokens included.

    In base64 each [hidden] is a string: its numbers as float32, the least significant byte first.
    A comparison is answered by one cosine a sentence.
    """
    if isinstance(answered.item, Comparison):
        return _cosines(answered.outputs)
    array = _array(answered, parameters)
    if parameters.get("encoding_format") != "base64":
        return array.tolist()
    rows = [
        base64.b64encode(row.tobytes()).decode() for row in array.astype("<f4").reshape(-1, array.shape[-1])
    ]
    return rows[0] if array.ndim == 1 else rows


def _array(answered: Answered[Item], parameters: Parameters) -> FloatArray:
    array = answered.outputs[0].arrays[0]
    return _unit(array) if parameters.get("normalize") else array


def _unit(vectors: FloatArray) -> FloatArray:
    import numpy as np

    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = vectors / np.maximum(norms, np.float32(_SMALLEST_NORM))
    return unit


def _cosines(outputs: Sequence[Outputs]) -> list[float]:
    import numpy as np

    source, *others = (_unit(one.arrays[0]) for one in outputs)
    return [float(np.dot(source, other)) for other in others]


def _extent(
    items: Sequence[Item], rows_of: Sequence[Sequence[Row]], parameters: Parameters, encoder: Encoder
) -> Extent:
    written = [row for item, rows in zip(items, rows_of) if isinstance(item, Text) for row in rows]
    size = _SMALLEST_NUMBER * numbers_of(written, encoder.manifest)
    return by_numbers(items, rows_of, parameters, encoder) + Extent(size=size)


def _evidence(_row: Row, outputs: Outputs, _manifest: Manifest) -> Any:
    return outputs.arrays[0].tolist()


def pools(manifest: Manifest) -> bool:
    """Whether each text gets one vector."""
    return manifest.embedding is not None and manifest.embedding.pooling != "none"


def _alike(items: Sequence[Item], manifest: Manifest, alone: bool) -> bool:
    """Vectors of tokens are as many as the tokens: with one input only is the shape known."""
    return all(isinstance(item, Text) for item in items) and (alone or pools(manifest))


_NUMBERS = {"type": "array", "items": {"type": "number"}}
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_VECTOR = {"anyOf": [_NUMBERS, _BASE64]}
_COMPARISON = {
    "type": "object",
    "properties": {
        "source_sentence": {"type": "string"},
        "sentences": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["source_sentence", "sentences"],
    "additionalProperties": False,
}

FEATURE_EXTRACTION: Task[Item] = Task(
    parameters={
        "normalize": truth(says="Whether vectors get the length 1; left out: as the graph gives them."),
        "encoding_format": one_of(
            "float", "base64", says="base64: each vector as the base64 of its float32, little-endian."
        ),
        "dimensions": whole_number(1, says="Refused unless it is the length of the model's vectors."),
        "truncation": TRUNCATION,
        "truncate": truth(says="As truncation."),
        "truncation_direction": one_of("right", says="The end at which a text is cut."),
    },
    read=_read,
    inputs={"anyOf": [*TEXT_OR_PAIR["anyOf"], _COMPARISON]},
    answers={"anyOf": [_VECTOR, {"type": "array", "items": _VECTOR}]},
    columns=(("text",), ("text", "text_pair")),
    rows=_rows,
    answer=_answer,
    evidence=_evidence,
    settle=_settle,
    extent=_extent,
    at_root=True,
    table=Table(cells=lambda answer: [answer] if isinstance(answer, str) else answer, flat=pools),
    numbers=Numbers(of=_array, alike=_alike),
)
