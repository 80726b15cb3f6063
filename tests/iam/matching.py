"""Wildcards, policy variables and ARNs. Source: IAM user guide, "IAM JSON policy elements"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_PARTS = 6
"""arn:partition:service:region:account:resource"""


def matches(pattern: str, value: str, context: Mapping[str, object], *, ignore_case: bool = False) -> bool:
    """Whether ``value`` fits ``pattern``: ``*`` any text, ``?`` one character, ``${key}`` from the context.

    ``${*}``, ``${?}`` and ``${$}`` are those characters themselves. A variable without a value fits
    nothing, unless it brings a default: ``${key, 'text'}``.
    """
    expression = _expression(pattern, context)
    if expression is None:
        return False
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
    return _compiled(expression, flags).fullmatch(value) is not None


def action_matches(pattern: str, action: str) -> bool:
    """Actions are compared without regard to case, and hold no variables."""
    return _compiled(_glob(pattern), re.DOTALL | re.IGNORECASE).fullmatch(action) is not None


def arn_matches(pattern: str, value: str, context: Mapping[str, object]) -> bool:
    """As the operators on ARNs compare: each of the six parts by itself."""
    wanted, found = pattern.split(":", _PARTS - 1), value.split(":", _PARTS - 1)
    if pattern == "*":
        return True
    return len(wanted) == len(found) and all(
        matches(part, other, context) for part, other in zip(wanted, found)
    )


def filled(text: str, context: Mapping[str, object]) -> str | None:
    """``text`` with its variables replaced, None where one has no value."""
    parts: list[str] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        value = _value(match[1], context)
        if value is None:
            return None
        parts += [text[end : match.start()], value]
        end = match.end()
    return "".join([*parts, text[end:]])


def _expression(pattern: str, context: Mapping[str, object]) -> str | None:
    """A regular expression: wildcards count in the pattern, never in what a variable brings."""
    parts: list[str] = []
    end = 0
    for match in _VARIABLE.finditer(pattern):
        value = _value(match[1], context)
        if value is None:
            return None
        parts += [_glob(pattern[end : match.start()]), re.escape(value)]
        end = match.end()
    return "".join([*parts, _glob(pattern[end:])])


def _value(inside: str, context: Mapping[str, object]) -> str | None:
    if inside in ("*", "?", "$"):
        return inside
    key, comma, default = inside.partition(",")
    found = {name.lower(): value for name, value in context.items()}.get(key.strip().lower())
    if isinstance(found, str):
        return found
    return default.strip().strip("'") if comma else None


@cache
def _compiled(expression: str, flags: int) -> re.Pattern[str]:
    return re.compile(expression, flags)


def _glob(text: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in text)
