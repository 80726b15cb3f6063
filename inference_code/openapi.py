"""The server's OpenAPI 3.1 document, out of the tasks. ``python -m inference_code.openapi docs/schemas``

Published once for all tasks; ``document`` of one task is what an artifact's own server takes.
Whatever is refused for its length in tokens or its number of inputs is beyond a schema.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from artifact.serving import EMBEDDINGS, HUB, INVOCATIONS, METRICS, PING
from inference_code import media
from inference_code.openai import OPENAI_SCHEMAS
from inference_code.requests import BODY
from inference_code.task import Task
from inference_code.tasks import TASKS

FILE = "openapi.json"
_LINES = (media.LINES, *media.ALIASES[media.LINES])

_REFUSALS: Mapping[str, str] = {
    "400": "What was sent cannot be used; the message names the field.",
    "404": "There is no such route, or no model of that name.",
    "405": "The route takes another method, which Allow names.",
    "406": "The answer has no form that Accept takes.",
    "408": "The request did not arrive in time.",
    "413": "The body or the answer is too large, or there are too many inputs or answers.",
    "414": "The target is too long.",
    "415": "The body is of a type that is not read here, or compressed.",
    "429": "The queue is full, or there is too much to write already.",
    "431": "The head is too large, or has too many headers.",
    "500": "The model gave no answer, or the server made a mistake.",
    "503": "The server is not ready, is stopping, or did not start the request in time.",
    "504": "The answer was not ready, or not written, in time.",
}
_OF_ANY_ROUTE = ("400", "405", "408", "414", "431", "500")
_HEADERS = {
    "429": {"Retry-After": {"schema": {"type": "integer"}}},
    "503": {"Retry-After": {"schema": {"type": "integer"}}},
    "405": {"Allow": {"schema": {"enum": ["GET", "POST"]}}},
}


def document(tasks: Iterable[str] = TASKS, *, openai: bool = True) -> dict[str, Any]:
    """The document of a server for one of ``tasks``, as JSON data.

    Args:
        openai: whether it has the route of OpenAI's embeddings.
    """
    known = {name: TASKS[name] for name in sorted(tasks)}
    schemas: dict[str, Any] = {"Error": _error()}
    for name, task in known.items():
        schemas.update(_schemas(name, task))
    paths = {
        PING: {"get": _ping()},
        METRICS: {"get": _metrics()},
        INVOCATIONS: {
            "post": _answering("invoke", "Answers as a pipeline of transformers gives them.", known)
        },
        HUB: {
            "post": _answering(
                "infer",
                "Answers as Hugging Face's inference API nests them: text-classification gives every label "
                "unless top_k says otherwise, in a list of its own for each text.",
                known,
            )
        },
    }
    if openai and "feature-extraction" in known:
        paths[EMBEDDINGS] = {"post": _embeddings()}
        schemas.update(OPENAI_SCHEMAS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "traceship",
            "version": "1",
            "description": "What the inference server takes and answers. docs/requests.md tells it in words.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }


def text() -> str:
    """The published file."""
    return json.dumps(document(), indent=2, sort_keys=True) + "\n"


def _schemas(name: str, task: Task[Any]) -> dict[str, Any]:
    parameters = {
        known: {**parameter.schema, "description": parameter.says}
        for known, parameter in task.parameters.items()
    }
    return {
        f"{name}.input": task.inputs,
        f"{name}.parameters": {
            "type": ["object", "null"],
            "properties": parameters,
            "additionalProperties": False,
        },
        f"{name}.request": _request(name, parameters if task.at_root else {}),
        f"{name}.answer": task.answers,
        f"{name}.response": task.nested or {"anyOf": [_ref(f"{name}.answer"), _list_of(f"{name}.answer")]},
    }


def _request(name: str, beside: Mapping[str, Any]) -> dict[str, Any]:
    properties = {
        "inputs": {"anyOf": [_ref(f"{name}.input"), _list_of(f"{name}.input")]},
        "parameters": _ref(f"{name}.parameters"),
    }
    return {**BODY, "properties": {**properties, **beside}}


def _answering(operation: str, says: str, tasks: Mapping[str, Task[Any]]) -> dict[str, Any]:
    body = {
        media.JSON: {"schema": _any_of(f"{name}.request" for name in tasks)},
        **{kind: _text("A request or an input a line, as JSON.") for kind in _LINES},
        media.CSV: _text("An input a row, in the columns of the task."),
    }
    responses = _any_of(f"{name}.response" for name in tasks)["anyOf"]
    of_lines = {"type": "array", "description": "To a body of lines or rows: one answer each."}
    answers = {
        media.JSON: {"schema": {"anyOf": [*responses, of_lines]}},
        **{kind: _text("An answer a line, as JSON.") for kind in _LINES},
    }
    if any(task.table is not None for task in tasks.values()):
        answers[media.CSV] = _text("An answer a row.")
    if any(task.numbers is not None for task in tasks.values()):
        answers[media.NPY] = {"schema": {"type": "string", "format": "binary"}}
    return {
        "operationId": operation,
        "summary": says,
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": {"description": "The answers, in the order of the inputs.", "content": answers},
            **_refusals(status for status in _REFUSALS if status != "404"),
        },
    }


def _embeddings() -> dict[str, Any]:
    return {
        "operationId": "embeddings",
        "summary": "Embeddings as OpenAI's API asks for them, where the server was told to have the route.",
        "requestBody": {
            "required": True,
            "content": {media.JSON: {"schema": _ref("openai.request")}},
        },
        "responses": {
            "200": {
                "description": "One embedding for each text, in their order.",
                "content": {media.JSON: {"schema": _ref("openai.response")}},
            },
            **_refusals(_REFUSALS, error="openai.error"),
        },
    }


def _ping() -> dict[str, Any]:
    return {
        "operationId": "ping",
        "summary": "200 when an inference would succeed.",
        "responses": {"200": {"description": "Ready."}, **_refusals((*_OF_ANY_ROUTE, "503"))},
    }


def _metrics() -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": "metrics",
        "summary": "Figures for Prometheus.",
        "responses": {"200": {"description": "All of them.", "content": content}, **_refusals(_OF_ANY_ROUTE)},
    }


def _refusals(statuses: Iterable[str], *, error: str = "Error") -> dict[str, Any]:
    return {status: _refusal(status, error) for status in statuses}


def _refusal(status: str, error: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": _REFUSALS[status],
        "content": {media.JSON: {"schema": _refused(status, error)}},
    }
    return {**found, "headers": _HEADERS[status]} if status in _HEADERS else found


def _refused(status: str, error: str) -> dict[str, Any]:
    """What is refused before the route is known has the common form."""
    return (
        _ref(error)
        if status not in {"400", "408", "414", "431"} or error == "Error"
        else _any_of((error, "Error"))
    )


def _error() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "error": {"type": "string", "description": "A stable name of the error."},
            "message": {
                "type": "string",
                "description": "What is wrong, why, and what to do, in a sentence.",
            },
        },
        "required": ["error", "message"],
        "additionalProperties": False,
    }


def _text(says: str) -> dict[str, Any]:
    return {"schema": {"type": "string", "description": says}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(name)}


def _any_of(names: Iterable[str]) -> dict[str, Any]:
    return {"anyOf": [_ref(name) for name in names]}


if __name__ == "__main__":
    (Path(sys.argv[1]) / FILE).write_text(text(), encoding="utf-8")
