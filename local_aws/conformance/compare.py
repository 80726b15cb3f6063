"""What a template asked for against what a describe call returned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from local_aws.conformance.template import UNKNOWN

MAY_HAVE_MORE = ("Tags",)
"""Lists to which CloudFormation adds members of its own (the stack's tags)."""


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Name each place where ``found`` lacks something that ``expected`` asks for.

    ``found`` may hold more (defaults). Spelling is not compared: "1" equals 1, "true" equals
    True, and JSON in a text equals its value. An empty object or list equals an absent one.
    """
    if isinstance(expected, dict):
        yield from _object_differences(expected, _parsed(found), path)
    elif isinstance(expected, list):
        yield from _list_differences(expected, _parsed(found), path)
    elif not _same_text(expected, found):
        yield f"{path or 'value'}: asked for {_short(expected)}, found {_short(found)}"


def _object_differences(expected: dict[str, Any], found: Any, path: str) -> Iterator[str]:
    if expected and not isinstance(found, dict):
        yield f"{path}: asked for {_short(expected)}, found {_short(found)}"
        return
    for key, value in expected.items():
        yield from differences(value, found.get(key), f"{path}.{key}" if path else key)


def _list_differences(expected: list[Any], found: Any, path: str) -> Iterator[str]:
    items = list(found) if isinstance(found, (list, tuple)) else []
    if not path.endswith(MAY_HAVE_MORE) and len(items) != len(expected):
        yield f"{path}: asked for {len(expected)} members, found {len(items)}"
        return
    for index, wanted in enumerate(expected):
        match = next((item for item in items if not list(differences(wanted, item))), None)
        if match is None:
            yield f"{path}[{index}]: nothing found like {_short(wanted)}"
        else:
            items.remove(match)


def _fits(parts: list[str], text: str) -> bool:
    """Whether ``text`` is the parts in their order with something between any two of them.

    The first place that fits is as good as any later one, so nothing is tried twice; a regular
    expression would try every combination before it says no.
    """
    first, *inner, last = parts
    if not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in inner:
        at = text.find(part, at + 1, end)
        if at < 0:
            return False
        at += len(part)
    return at < end


def _same_text(expected: Any, found: Any) -> bool:
    wanted, seen = _text(expected), _text(found)
    if UNKNOWN in wanted:
        return found not in (None, "", [], {}) and _fits(wanted.split(UNKNOWN), seen)
    if wanted == seen:
        return True
    try:
        return float(wanted) == float(seen)
    except ValueError:
        return isinstance(_parsed(expected), (dict, list)) and _parsed(expected) == _parsed(found)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        return json.dumps(value, sort_keys=True)
    return "" if value is None else str(value)


def _parsed(value: Any) -> Any:
    """JSON in a text as its value; anything else as it is."""
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _short(value: Any) -> str:
    text = _text(value).replace(UNKNOWN, "…")
    return text if len(text) <= 80 else f"{text[:77]}..."
