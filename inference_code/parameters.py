"""Checks of a request's parameters. null means what leaving the parameter out means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from inference_code.errors import BadRequest

Check = Callable[[str, Any], Any]
"""Field name and value in, the value to use out, or ``BadRequest``."""

T = TypeVar("T")


def given(parameters: Mapping[str, Any], name: str, default: T) -> T:
    """The parameter, or ``default`` where it is missing or null."""
    value: T | None = parameters.get(name)
    return default if value is None else value


def whole_number(least: int, most: int | None = None) -> Check:
    """A check for whole numbers from ``least`` to ``most``."""
    wanted = f"a whole number from {least}" + ("" if most is None else f" to {most}")

    def check(field: str, value: Any) -> int | None:
        if value is None:
            return None
        number = isinstance(value, int) and not isinstance(value, bool)
        if number and least <= value and (most is None or value <= most):
            return int(value)
        raise BadRequest(field=field, why=f"it is not {wanted}", fix="send one, or leave it out")

    return check


def truth(field: str, value: Any) -> bool | None:
    """A check for true and false."""
    if value is None or isinstance(value, bool):
        return value
    raise BadRequest(field=field, why="it is neither true nor false", fix="send one of them, or leave it out")


def one_of(*names: str) -> Check:
    """A check for one of ``names``, in any case."""

    def check(field: str, value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, str) and value.lower() in names:
            return value.lower()
        raise BadRequest(field=field, why="there is no such choice", fix=f"send one of {', '.join(names)}")

    return check


def strings(field: str, value: Any) -> list[str] | None:
    """A check for a list of strings, which may be empty."""
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise BadRequest(field=field, why="it is not a list of strings", fix="send one, or leave it out")
