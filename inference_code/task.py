"""What a task is to the server. Which tasks there are: ``tasks.py``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from artifact.manifest import Manifest
from inference_code.encoding import Encoder
from inference_code.parameters import Parameter, Schema
from inference_code.requests import Request
from inference_code.rows import Outputs, Row

if TYPE_CHECKING:
    from inference_code.rows import FloatArray

Item = TypeVar("Item")
Parameters = Mapping[str, Any]


class Answered(msgspec.Struct, Generic[Item], frozen=True):
    """One input, the rows that it became, and a graph's outputs for each of them."""

    item: Item
    rows: Sequence[Row]
    outputs: Sequence[Outputs]


@dataclass(frozen=True)
class Table:
    """How answers become CSV: the ``cells`` of one answer, in artifacts whose answers are ``flat``."""

    cells: Callable[[Any], Sequence[Any]]
    flat: Callable[[Manifest], bool]


@dataclass(frozen=True)
class Numbers(Generic[Item]):
    """How answers become one array.

    of: the array of one input.
    alike: whether all inputs have one shape, whatever is in them; ``alone``: there is but one.
    """

    of: Callable[[Answered[Item], Parameters], FloatArray]
    alike: Callable[[Sequence[Item], Manifest, bool], bool]


class Extent(msgspec.Struct, frozen=True):
    """How much there will be to write, as far as that is known before the model runs.

    answers: what ``top_k`` makes of the inputs; ``share``: of what a request may have, 1 is all of it.
    size: bytes of the answer, at least.
    seconds: of the thread that writes it, about; what to write on the event loop is decided by them.
    """

    answers: int = 0
    share: float = 0.0
    size: int = 0
    seconds: float = 0.0

    def __add__(self, other: Extent) -> Extent:
        return Extent(
            self.answers + other.answers,
            self.share + other.share,
            self.size + other.size,
            self.seconds + other.seconds,
        )


_ROW_SECONDS, NUMBER_SECONDS = 10e-6, 0.1e-6
"""About what an answer costs the thread that writes it, and each of its numbers."""


def numbers_of(rows: Sequence[Row], manifest: Manifest) -> int:
    """How many numbers the graphs will say of rows."""
    found = 0
    for tensor in manifest.outputs:
        size = math.prod(axis for axis in tensor.shape if isinstance(axis, int))
        found += size * (sum(row.length for row in rows) if "length" in tensor.shape else len(rows))
    return found


def by_numbers(
    _items: Sequence[Any], rows_of: Sequence[Sequence[Row]], _parameters: Parameters, encoder: Encoder
) -> Extent:
    """The extent of answers that cost what the graphs' numbers do."""
    rows = [row for rows in rows_of for row in rows]
    return Extent(seconds=_ROW_SECONDS * len(rows) + NUMBER_SECONDS * numbers_of(rows, encoder.manifest))


def _unchanged(parameters: Parameters, _encoder: Encoder) -> Parameters:
    return parameters


@dataclass(frozen=True)
class Task(Generic[Item]):
    """Functions from a request to rows, and from outputs to an answer.

    parameters: the parameters it knows by name, each with its check.
    read: field name and JSON value of one input to that input, or ``BadRequest``.
    inputs: JSON Schema of what ``read`` takes; ``answers`` of what ``answer`` gives.
    columns: what the columns of a CSV row may be, in their order; of "choices" there may be several.
    rows: an input to its rows, at least one, or a ``RequestError``.
    answer: JSON data for one input.
    evidence: what golden.json records of one row: all that the model said of it, and no more than
        is needed to compare. Pairs with ``compile/golden.py``.
    settle: parameters in the terms of this artifact, once for a request, or ``BadRequest``.
    shaped: the answers to a request, one an input, nested as the pipeline nests them; None: a list gets
        a list.
    nested: JSON Schema of what ``shaped`` gives; None: an answer, or a list of them.
    at_root: whether parameters may stand beside "inputs", too.
    hub: parameters that Hugging Face's inference API has where none are sent.
    extent: of the answers to a request, out of its inputs and the rows of each.
    """

    parameters: Mapping[str, Parameter]
    read: Callable[[str, Any], Item]
    inputs: Schema
    answers: Schema
    columns: tuple[tuple[str, ...], ...]
    rows: Callable[[Item, Parameters, Encoder], list[Row]]
    answer: Callable[[Answered[Item], Parameters, Encoder], Any]
    evidence: Callable[[Row, Outputs, Manifest], Any]
    settle: Callable[[Parameters, Encoder], Parameters] = _unchanged
    shaped: Callable[[list[Any], Request], Any] | None = None
    nested: Schema | None = None
    at_root: bool = False
    hub: Parameters = field(default_factory=dict)
    table: Table | None = None
    numbers: Numbers[Item] | None = None
    extent: Callable[[Sequence[Item], Sequence[Sequence[Row]], Parameters, Encoder], Extent] = by_numbers
