"""From the bytes of a request to rows, and from outputs to the bytes of an answer.

What the HTTP server and the hooks of the stock container share, free of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from inference_code import strict_json
from inference_code.errors import RequestError, TooManyInputs
from inference_code.load import Model
from inference_code.requests import Request, parse
from inference_code.rows import Outputs, Row
from inference_code.task import Answered
from inference_code.tasks import answers, task_of


@dataclass(frozen=True)
class Prepared:
    """A request whose parameters are settled, with the rows of each of its inputs."""

    request: Request
    rows_of: tuple[list[Row], ...]

    @property
    def rows(self) -> list[Row]:
        """All rows in order: what to run."""
        return [row for rows in self.rows_of for row in rows]


def error_body(error: RequestError) -> bytes:
    """{"error": id, "message": one sentence}"""
    return msgspec.json.encode({"error": error.id, "message": error.message})


def prepared(body: bytes, model: Model, *, most: int) -> Prepared:
    """Bytes to a request and its rows.

    Args:
        most: inputs that one request may have; every window of a long context and every mask
            after the first counts as one.

    Raises:
        RequestError: whatever is wrong with it.
    """
    return arranged(strict_json.decode(body), model, most=most)


def arranged(value: Any, model: Model, *, most: int) -> Prepared:
    """JSON data to a request and its rows; arguments and errors as for ``prepared``."""
    task, encoder = task_of(model.manifest), model.encoder
    request = parse(value, task.parameters, task.read)
    if len(request.items) > most:
        raise TooManyInputs(found=str(len(request.items)), limit=most)
    parameters = task.settle(request.parameters, encoder)
    rows_of: list[list[Row]] = []
    weight = 0
    for item in request.items:
        rows = task.rows(item, parameters, encoder)
        weight += sum(row.weight for row in rows)
        if weight > most:
            found = f"at least {weight}, windows and masks counted"
            raise TooManyInputs(found=found, limit=most)
        rows_of.append(rows)
    settled = Request(items=request.items, single=request.single, parameters=parameters)
    return Prepared(request=settled, rows_of=tuple(rows_of))


def written(outputs: Sequence[Outputs], asked: Prepared, model: Model) -> bytes:
    """The JSON body of an answer to ``outputs``, one for each of the request's rows in order."""
    inputs, at = [], 0
    for item, rows in zip(asked.request.items, asked.rows_of):
        inputs.append(Answered(item=item, rows=rows, outputs=outputs[at : at + len(rows)]))
        at += len(rows)
    request = asked.request
    found: Any = answers(inputs, request.parameters, model.encoder, single=request.single)
    return msgspec.json.encode(found)
