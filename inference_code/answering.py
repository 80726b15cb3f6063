"""From the bytes of a request to rows, and from outputs to the bytes of an answer.

What the HTTP server and the hooks of the stock container share, free of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from inference_code import strict_json
from inference_code.encoding import Row
from inference_code.errors import RequestError
from inference_code.load import LoadedModel
from inference_code.requests import Request, parse
from inference_code.tasks import Outputs, answers, task_of


def error_body(error: RequestError) -> bytes:
    """{"error": id, "message": one sentence}"""
    return msgspec.json.encode({"error": error.id, "message": error.message})


def prepared(body: bytes, model: LoadedModel) -> tuple[Request, list[Row]]:
    """Bytes to a request and its rows.

    Raises:
        RequestError: whatever is wrong with it.
    """
    request = parse(strict_json.decode(body), task_of(model.manifest).parameters)
    return request, [model.encoder.encode(text) for text in request.texts]


def written(outputs: Sequence[Outputs], request: Request, model: LoadedModel) -> bytes:
    """The JSON body of an answer."""
    found: Any = answers(outputs, request.parameters, model.manifest, single=request.single)
    return msgspec.json.encode(found)
