"""docs/settings.md out of the model, so that the page cannot lie. ``python -m settings.document``"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from settings.model import Settings

_HEAD = """\
# traceship.toml

Generated from `settings/model.py` by `python -m settings.document`; a test compares the two.
A key that is not here is refused with the nearest valid one. `[stage.NAME]` repeats any table
and overrides it when the command runs with `--stage NAME`. `[fleet]` and `[endpoint]` exist
only if you write them: no table, no stack. Several models, fleets and endpoints in one file:
`[service.NAME]` ([services-and-stages.md](services-and-stages.md)).
"""


def markdown() -> str:
    """The whole page."""
    return _HEAD + "".join(_tables(Settings))


def _tables(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """A heading and a table for each section of ``model``, and for those below it."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        section = _section(field.annotation)
        if section is not None:
            many = get_origin(field.annotation) is tuple
            yield _table(f"[[{path}]]" if many else f"[{path}]", section)
            yield from _tables(section, f"{path}.")
        elif not prefix:
            yield f"\n## [{path}]\n\n{_text(field)}\n"


def _table(title: str, model: type[BaseModel]) -> str:
    fields = ((field.alias or name, field) for name, field in model.model_fields.items())
    rows = [_row(key, field) for key, field in fields if _section(field.annotation) is None]
    table = "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])
    about = re.fullmatch(r"\[\[?[a-z_.]+\]\]?: (.+?)\.?", " ".join((model.__doc__ or "").split()))
    note = f"{about[1][0].upper()}{about[1][1:]}.\n\n" if about and "." in title else ""
    return f"\n## {title}\n\n{note}{table}\n"


def _section(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *get_args(annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _row(key: str, field: FieldInfo) -> str:
    default = "required" if field.default is PydanticUndefined else f"`{_toml(field.default)}`"
    limits = _limits(field)
    text = _text(field) + (f" ({limits})" if limits else "")
    return f"| `{key}` | {_type(field.annotation)} | {default} | {text} |"


def _text(field: FieldInfo) -> str:
    return re.sub(r"\s+", " ", field.description or "").replace("``", "`").replace("|", "\\|")


def _toml(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is typing.Annotated:
        return _type(get_args(annotation)[0])
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(_type(a) for a in get_args(annotation) if a is not type(None))
    if get_origin(annotation) is tuple:
        return f"list of {_type(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return "table of " + " to ".join(_type(part) for part in get_args(annotation))
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation, str(annotation))


def _limits(field: FieldInfo) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "pattern": "matches", "min_length": "at least"}
    found = [
        f"{sign} `{getattr(rule, name)}`"
        for rule in field.metadata
        for name, sign in signs.items()
        if getattr(rule, name, None) is not None
    ]
    return ", ".join(found).replace("|", "\\|")


if __name__ == "__main__":
    print(markdown(), end="")
