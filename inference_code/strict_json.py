"""Bytes of a request body in, plain JSON data out; everything doubtful is refused.

``msgspec`` refuses bad UTF-8, lone surrogates, NaN, infinities and trailing data, but keeps the
last of two equal keys and raises ``RecursionError`` on deep nesting; both are closed here.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from inference_code.errors import NotJson

MAX_DEPTH = 32
"""Nested arrays and objects. A request needs four."""


def decode(body: bytes) -> Any:
    """Return the JSON value that ``body`` spells.

    Raises:
        NotJson: not JSON by RFC 8259, not UTF-8, a repeated key, or nested too deeply.
    """
    try:
        value = msgspec.json.decode(body)
        _check_depth(value)
        json.loads(body, object_pairs_hook=_refuse_repeated)
    except msgspec.DecodeError as error:
        raise NotJson(why=str(error).removeprefix("JSON is malformed: ")) from None
    except UnicodeDecodeError:
        raise NotJson(why="it is not UTF-8") from None
    except RecursionError:
        raise NotJson(why=f"it is nested more than {MAX_DEPTH} deep") from None
    return value


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise NotJson(why="an object has the same key twice")
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise NotJson(why=f"it is nested more than {MAX_DEPTH} deep")


def _children(parent: Any) -> list[Any]:
    if isinstance(parent, dict):
        return list(parent.values())
    return parent if isinstance(parent, list) else []
