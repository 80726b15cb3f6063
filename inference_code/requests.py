"""JSON data in, texts and checked parameters out, in the Hugging Face inference shape.

    {"inputs": "text" | {"text": "…", "text_pair": "…"} | [of those], "parameters": {…}}

A single input gets a single answer, a list gets a list. Pairs with ``tasks.py``, which says
which parameters a task knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inference_code.errors import BadRequest

Check = Callable[[str, Any], Any]
"""Field name and value in, the value to use out, or ``BadRequest``."""

_SHAPE = 'send {"inputs": …} with a text, {"text", "text_pair"}, or a list of those'


@dataclass(frozen=True)
class Text:
    """One input. ``field`` is its place in the request, for errors."""

    field: str
    text: str
    pair: str | None


@dataclass(frozen=True)
class Request:
    """What to answer. ``parameters`` holds only what the client sent."""

    texts: tuple[Text, ...]
    single: bool
    parameters: Mapping[str, Any]


def parse(value: Any, known: Mapping[str, Check]) -> Request:
    """Return the request that ``value`` describes.

    Args:
        known: the task's parameters by name, each with its check.

    Raises:
        BadRequest: a wrong type, an unknown key or an unknown parameter, by name.
    """
    if not isinstance(value, dict):
        raise BadRequest(field="the body", why=f"it is {_kind(value)}, not an object", fix=_SHAPE)
    for key in value:
        if key not in {"inputs", "parameters"}:
            raise BadRequest(field=_quoted(key), why="there is no such key", fix=_SHAPE)
    if "inputs" not in value:
        raise BadRequest(field='"inputs"', why="it is missing", fix=_SHAPE)
    inputs = value["inputs"]
    single = not isinstance(inputs, list)
    texts = (
        (_text("inputs", inputs),)
        if single
        else tuple(_text(f"inputs[{at}]", item) for at, item in enumerate(inputs))
    )
    return Request(texts=texts, single=single, parameters=_parameters(value.get("parameters"), known))


def _text(field: str, value: Any) -> Text:
    if isinstance(value, str):
        return Text(field=field, text=value, pair=None)
    if not isinstance(value, dict):
        raise BadRequest(field=field, why=f"it is {_kind(value)}", fix=_SHAPE)
    for key in value:
        if key not in {"text", "text_pair"}:
            raise BadRequest(field=f"{field}.{_quoted(key)}", why="there is no such key", fix=_SHAPE)
    pair = value.get("text_pair")
    if not isinstance(value.get("text"), str):
        raise BadRequest(field=f"{field}.text", why="it is missing or no string", fix=_SHAPE)
    if pair is not None and not isinstance(pair, str):
        raise BadRequest(field=f"{field}.text_pair", why=f"it is {_kind(pair)}", fix=_SHAPE)
    return Text(field=field, text=value["text"], pair=pair)


def _parameters(value: Any, known: Mapping[str, Check]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(field="parameters", why=f"it is {_kind(value)}", fix="send an object")
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


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "a string"}
    return kinds.get(type(value), "a number")
