"""Parameters of a request: what each one means, its JSON Schema and its check, side by side.

The schemas go into docs/schemas/openapi.json; a test holds schema and check to the same values.
null means what leaving the parameter out means, unless the parameter says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from inference_code.errors import BadRequest

Check = Callable[[str, Any], Any]
"""Field name and value in, the value to use out, or ``BadRequest``."""

Schema = Mapping[str, Any]
"""JSON Schema, draft 2020-12."""

T = TypeVar("T")


@dataclass(frozen=True)
class Parameter:
    """One parameter. ``says`` is its meaning in one sentence, ``schema`` what ``check`` accepts."""

    check: Check
    schema: Schema
    says: str

    def __call__(self, field: str, value: Any) -> Any:
        return self.check(field, value)


def given(parameters: Mapping[str, Any], name: str, default: T) -> T:
    """The parameter, or ``default`` where it is missing or null."""
    value: T | None = parameters.get(name)
    return default if value is None else value


def whole_number(least: int, most: int | None = None, *, says: str) -> Parameter:
    """Whole numbers from ``least`` to ``most``."""
    wanted = f"a whole number from {least}" + ("" if most is None else f" to {most}")

    def check(field: str, value: Any) -> int | None:
        if value is None:
            return None
        number = isinstance(value, int) and not isinstance(value, bool)
        if number and least <= value and (most is None or value <= most):
            return int(value)
        raise BadRequest(field=field, why=f"it is not {wanted}", fix="send one, or leave it out")

    schema = {"type": ["integer", "null"], "minimum": least}
    return Parameter(check, schema if most is None else {**schema, "maximum": most}, says)


def truth(*, says: str) -> Parameter:
    """true and false."""

    def check(field: str, value: Any) -> bool | None:
        if value is None or isinstance(value, bool):
            return value
        fix = "send one of them, or leave it out"
        raise BadRequest(field=field, why="it is neither true nor false", fix=fix)

    return Parameter(check, {"type": ["boolean", "null"]}, says)


def one_of(*names: str, says: str) -> Parameter:
    """One of ``names``, small letters and an underscore, in any case."""

    def check(field: str, value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, str) and value.isascii() and value.lower() in names:
            return value.lower()
        raise BadRequest(field=field, why="there is no such choice", fix=f"send one of {', '.join(names)}")

    return Parameter(check, {"type": ["string", "null"], "pattern": _any_case(names)}, says)


def strings(*, says: str) -> Parameter:
    """A list of strings, which may be empty."""
    return Parameter(check_strings, {"type": ["array", "null"], "items": {"type": "string"}}, says)


def check_strings(field: str, value: Any) -> list[str] | None:
    """The check of ``strings``."""
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise BadRequest(field=field, why="it is not a list of strings", fix="send one, or leave it out")


def _any_case(names: tuple[str, ...]) -> str:
    spelled = ("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in name) for name in names)
    return f"^(?:{'|'.join(spelled)})$"


_CUTS = {"longest_first": True, "only_first": True, "do_not_truncate": False}


def _check_truncation(field: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value in _CUTS:
        return _CUTS[value]
    names = ", ".join(_CUTS)
    raise BadRequest(field=field, why="there is no such choice", fix=f"send true, false or one of {names}")


TRUNCATION = Parameter(
    _check_truncation,
    {"enum": [None, True, False, *_CUTS]},
    "Whether a text longer than the largest bucket is cut or refused; left out: as compiled. The "
    "names are transformers'.",
)
