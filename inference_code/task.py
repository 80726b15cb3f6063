"""What a task is to the server. Which tasks there are: ``tasks.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from artifact.manifest import Manifest
from inference_code.encoding import Encoder
from inference_code.parameters import Check
from inference_code.rows import Outputs, Row

Item = TypeVar("Item")
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Answered(Generic[Item]):
    """One input, the rows that it became, and a graph's outputs for each of them."""

    item: Item
    rows: Sequence[Row]
    outputs: Sequence[Outputs]


def _unchanged(parameters: Parameters, _encoder: Encoder) -> Parameters:
    return parameters


@dataclass(frozen=True)
class Task(Generic[Item]):
    """Functions from a request to rows, and from outputs to an answer.

    parameters: the parameters it knows by name, each with its check.
    read: field name and JSON value of one input to that input, or ``BadRequest``.
    rows: an input to its rows, at least one, or a ``RequestError``.
    answer: JSON data for one input.
    evidence: what golden.json records of one row: all that the model said of it, and no more than
        is needed to compare. Pairs with ``compile/golden.py``.
    settle: parameters in the terms of this artifact, once for a request, or ``BadRequest``.
    """

    parameters: Mapping[str, Check]
    read: Callable[[str, Any], Item]
    rows: Callable[[Item, Parameters, Encoder], list[Row]]
    answer: Callable[[Answered[Item], Parameters, Encoder], Any]
    evidence: Callable[[Row, Outputs, Manifest], Any]
    settle: Callable[[Parameters, Encoder], Parameters] = _unchanged
