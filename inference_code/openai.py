"""POST /v1/embeddings: embeddings as OpenAI's API asks for them, of an artifact that pools.

Source: OpenAI's API reference, "Create embeddings". Off unless ``TRACESHIP_OPENAI=1``. Token numbers
in place of texts are refused: they are those of another tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from artifact.manifest import Manifest
from inference_code import strict_json
from inference_code.allowance import Allowance
from inference_code.answering import Prepared, settled
from inference_code.embeddings import FEATURE_EXTRACTION, pools
from inference_code.errors import BadRequest, RequestError, UnknownModel
from inference_code.load import Model
from inference_code.requests import Request, Text, fields, kind, string
from inference_code.rows import Outputs
from inference_code.task import Answered
from inference_code.tasks import answers

_SHAPE = 'send {"model", "input"} with a text or a list of texts as input'
_PARAMETERS = {name: FEATURE_EXTRACTION.parameters[name] for name in ("dimensions", "encoding_format")}


def speaks(manifest: Manifest) -> bool:
    """Whether the artifact gives each text one vector."""
    return manifest.task == "feature-extraction" and pools(manifest)


def prepared(body: bytes, model: Model, *, most: int) -> Prepared:
    """Bytes to a request and its rows.

    Raises:
        UnknownModel: the request is for another one.
        RequestError: whatever else is wrong with it.
    """
    value = fields("the body", strict_json.decode(body), {"input", "model", "user", *_PARAMETERS}, _SHAPE)
    asked = string("model", value.get("model"), _SHAPE)
    known = model.manifest.source.id
    # "hub:ORG/NAME" is ORG/NAME to everybody else.
    if asked not in (known, known.rpartition(":")[2], model.artifact.digest):
        raise UnknownModel(found=asked, known=known)
    if value.get("user") is not None:
        string("user", value["user"], "send a text, or leave it out")
    parameters = {name: check(name, value[name]) for name, check in _PARAMETERS.items() if name in value}
    request = Request(items=_items(value.get("input")), single=False, parameters=parameters)
    try:
        return settled(request, model, most=most)
    except BadRequest as error:
        raise BadRequest(
            field=error.field.removeprefix("parameters."), why=error.why, fix=error.fix
        ) from None


def _items(value: Any) -> tuple[Text, ...]:
    if isinstance(value, str):
        return (Text("input", value, None),)
    if not isinstance(value, list):
        why = "it is missing or null" if value is None else f"it is {kind(value)}"
        raise BadRequest(field="input", why=why, fix=_SHAPE)
    if not value:
        raise BadRequest(field="input", why="it is empty", fix="send at least one text")
    return tuple(
        Text(f"input[{at}]", string(f"input[{at}]", text, _SHAPE), None) for at, text in enumerate(value)
    )


def written(
    outputs: Sequence[Outputs], asked: Prepared, model: Model, allowance: Allowance | None = None
) -> bytes:
    """The list of embeddings, with the tokens that were read.

    Raises:
        InferenceFailed: a number is not finite.
        AnswerTooLarge, DeadlinePassed: see ``Allowance``.
    """
    (request,) = asked.requests
    inputs = [
        Answered(item=item, rows=rows, outputs=[output])
        for item, rows, output in zip(request.items, asked.rows_of, outputs)
    ]
    allowance = allowance or Allowance()
    found = answers(inputs, request.parameters, model.encoder)
    data = [
        msgspec.Raw(
            allowance.take(msgspec.json.encode({"object": "embedding", "index": at, "embedding": vector}))
        )
        for at, vector in enumerate(found)
    ]
    tokens = sum(row.length for row in asked.rows)
    return msgspec.json.encode(
        {
            "object": "list",
            "data": data,
            "model": model.manifest.source.id,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def error_body(error: RequestError) -> bytes:
    """{"error": {"message", "type", "param", "code"}}; ``code`` is the error's id."""
    kinds = {429: "rate_limit_error"} | dict.fromkeys((500, 503, 504), "server_error")
    found = {
        "message": error.message,
        "type": kinds.get(error.status, "invalid_request_error"),
        "param": error.field if isinstance(error, BadRequest) else None,
        "code": error.id,
    }
    return msgspec.json.encode({"error": found})


_TEXT = {"type": "string"}
_COUNT = {"type": "integer"}


def _object(properties: Mapping[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    wanted = list(properties) if required is None else list(required)
    return {"type": "object", "properties": properties, "required": wanted, "additionalProperties": False}


OPENAI_SCHEMAS: Mapping[str, Any] = {
    "openai.request": _object(
        {
            "model": {
                **_TEXT,
                "description": "The manifest's source.id, or its name alone, or the digest.",
            },
            "input": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
            "user": {"type": ["string", "null"]},
            **{name: {**one.schema, "description": one.says} for name, one in _PARAMETERS.items()},
        },
        required=("model", "input"),
    ),
    "openai.response": _object(
        {
            "object": {"const": "list"},
            "data": {
                "type": "array",
                "items": _object(
                    {
                        "object": {"const": "embedding"},
                        "index": _COUNT,
                        "embedding": {
                            "anyOf": [
                                {"type": "array", "items": {"type": "number"}},
                                {"type": "string", "contentEncoding": "base64"},
                            ]
                        },
                    }
                ),
            },
            "model": _TEXT,
            "usage": _object({"prompt_tokens": _COUNT, "total_tokens": _COUNT}),
        }
    ),
    "openai.error": _object(
        {
            "error": _object(
                {
                    "message": _TEXT,
                    "type": {"enum": ["invalid_request_error", "rate_limit_error", "server_error"]},
                    "param": {"type": ["string", "null"]},
                    "code": _TEXT,
                }
            )
        }
    ),
}
