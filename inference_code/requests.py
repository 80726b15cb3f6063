"""JSON data in, inputs and checked parameters out, in the Hugging Face inference shape.

    {"inputs": input | [input, …], "parameters": {…}}

A single input gets a single answer, a list gets a list. Pairs with ``tasks.py``, which says
what an input of a task is and which parameters it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any

import msgspec

from inference_code.errors import BadRequest
from inference_code.parameters import Check, Schema

_ENVELOPE = 'send {"inputs": …}, and "parameters" if there are any'
_ROOT = frozenset({"inputs", "parameters"})
_TEXT = 'send a text, {"text", "text_pair"}, or a list of those'

BODY: Schema = {"type": "object", "required": ["inputs"], "additionalProperties": False}
"""JSON Schema of what ``parse`` takes, but for the properties, which are the task's."""

TEXT: Schema = {"type": "string"}
"""JSON Schema of what ``read_text`` takes."""

TEXT_OR_PAIR: Schema = {
    "anyOf": [
        TEXT,
        {
            "type": "object",
            "properties": {"text": TEXT, "text_pair": {"type": ["string", "null"]}},
            "required": ["text"],
            "additionalProperties": False,
        },
    ]
}
"""Of what ``read_text_or_pair`` takes."""

_PAIR: Schema = {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}
TEXT_OR_ANY_PAIR: Schema = {
    "anyOf": [
        *TEXT_OR_PAIR["anyOf"],
        _PAIR,
        {"type": "array", "items": _PAIR, "minItems": 1, "maxItems": 1},
    ]
}
"""Of what ``read_text_or_any_pair`` takes."""


class Text(msgspec.Struct, frozen=True):
    """One input. ``field`` is its place in the request, for errors."""

    field: str
    text: str
    pair: str | None


class Request(msgspec.Struct, frozen=True):
    """What to answer. ``items`` are of the task's own kind; ``parameters`` only what was sent.

    hub: the answer is nested as Hugging Face's inference API does it, not as a pipeline.
    """

    items: tuple[Any, ...]
    single: bool
    parameters: Mapping[str, Any]
    hub: bool = False


def parse(
    value: Any,
    known: Mapping[str, Check],
    read: Callable[[str, Any], Any],
    *,
    at_root: bool = False,
    defaults: Mapping[str, Any] | None = None,
) -> Request:
    """Return the request that ``value`` describes.

    Args:
        known: the task's parameters by name, each with its check.
        read: the task's reader of one input, given its field name and JSON value.
        at_root: whether parameters may stand beside "inputs", as embedding clients send them.
        defaults: of Hugging Face's inference API, if the client speaks it; else None.

    Raises:
        BadRequest: a wrong type, an unknown key or an unknown parameter, by name.
    """
    value = fields("the body", value, _ROOT | known.keys() if at_root else _ROOT, _ENVELOPE)
    if "inputs" not in value:
        raise BadRequest(field='"inputs"', why="it is missing", fix=_ENVELOPE)
    inputs = value["inputs"]
    single = not isinstance(inputs, list)
    items = (
        (read("inputs", inputs),)
        if single
        else tuple(read(f"inputs[{at}]", item) for at, item in enumerate(inputs))
    )
    parameters = _parameters(value.get("parameters"), known)
    for name in value.keys() - _ROOT:
        if name in parameters:
            raise BadRequest(field=f'"{name}"', why="parameters has it, too", fix="send it once")
        parameters[name] = known[name](name, value[name])
    return Request(
        items=items, single=single, parameters={**(defaults or {}), **parameters}, hub=defaults is not None
    )


def read_text_or_pair(field: str, value: Any) -> Text:
    """An input that is a text or {"text", "text_pair"}."""
    if isinstance(value, str):
        return Text(field=field, text=value, pair=None)
    value = fields(field, value, {"text", "text_pair"}, _TEXT)
    pair = value.get("text_pair")
    if pair is not None:
        pair = string(f"{field}.text_pair", pair, _TEXT)
    return Text(field=field, text=string(f"{field}.text", value.get("text"), _TEXT), pair=pair)


def read_text_or_any_pair(field: str, value: Any) -> Text:
    """Also a list of two texts, alone or as the one item of a list, as transformers' pipeline takes it."""
    pair = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(pair, list):
        return read_text_or_pair(field, value)
    if len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise BadRequest(field=field, why="it is no list of two texts", fix=_TEXT)
    return Text(field=field, text=pair[0], pair=pair[1])


def read_text(field: str, value: Any) -> Text:
    """An input that is a text and nothing else."""
    return Text(field=field, text=string(field, value, "send a text, or a list of texts"), pair=None)


def fields(field: str, value: Any, known: Set[str], shape: str) -> dict[str, Any]:
    """``value`` if it is an object without keys beyond ``known``.

    Args:
        shape: what to send instead, for the error.

    Raises:
        BadRequest: naming the field or the key.
    """
    if not isinstance(value, dict):
        raise BadRequest(field=field, why=f"it is {kind(value)}, not an object", fix=shape)
    for key in value:
        if key not in known:
            where = _quoted(key) if field == "the body" else f"{field}.{_quoted(key)}"
            raise BadRequest(field=where, why="there is no such key", fix=shape)
    return value


def string(field: str, value: Any, shape: str) -> str:
    """``value`` if it is a string, else ``BadRequest``; a key that is missing reads as null."""
    if isinstance(value, str):
        return value
    why = "it is missing or null" if value is None else f"it is {kind(value)}, not a text"
    raise BadRequest(field=field, why=why, fix=shape)


def texts(field: str, value: Any, shape: str) -> tuple[str, ...]:
    """``value`` if it is a list of strings, else ``BadRequest``."""
    if not isinstance(value, list):
        why = "it is missing or null" if value is None else f"it is {kind(value)}, not a list"
        raise BadRequest(field=field, why=why, fix=shape)
    return tuple(string(f"{field}[{at}]", item, shape) for at, item in enumerate(value))


def _parameters(value: Any, known: Mapping[str, Check]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(field="parameters", why=f"it is {kind(value)}", fix="send an object")
    names = ", ".join(sorted(known)) or "none"
    for name in value:
        if name not in known:
            raise BadRequest(
                field=f"parameters.{_quoted(name)}",
                why="this task has no such parameter",
                fix=f"use these: {names}" if known else "send none, this task has no parameters",
            )
    return {name: known[name](f"parameters.{name}", given) for name, given in value.items()}


def _quoted(key: str) -> str:
    shown = key if len(key) <= 40 else key[:40] + "…"
    return '"' + "".join(c if c.isprintable() else "?" for c in shown) + '"'


def kind(value: Any) -> str:
    """The JSON type of a value, as a sentence says it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "a string"}
    return kinds.get(type(value), "a number")
