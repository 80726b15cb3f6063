"""Why a key has no entry: the nearest one that is there, and the fields that differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

_ABOUT_THE_MODEL = ("weights", "config")
_LONG = 40
"""Longer values are shown by their beginning; digests tell enough by it."""


@dataclass(frozen=True)
class Difference:
    """One field that differs; ``None`` where a side does not have it."""

    field: str
    here: Any
    there: Any

    def __str__(self) -> str:
        return f"{self.field}: {_shown(self.here)} here, {_shown(self.there)} there"


@dataclass(frozen=True)
class Nearest:
    """The entry with the fewest differing fields."""

    key: str
    differences: tuple[Difference, ...]


def nearest(document: Document, entries: Iterable[tuple[str, Document]]) -> Nearest | None:
    """The entry most like ``document``: of the same model, of the same task if there is one.

    An entry is of the same model if its source has the same name, or its weights or its config
    are equal. Among equally near ones the first wins.
    """
    alike = [(key, other) for key, other in entries if _same_model(document, other)]
    found = [Nearest(key=key, differences=differences(document, other)) for key, other in alike]
    return min(found, key=_distance, default=None)


def differences(here: Document, there: Document) -> tuple[Difference, ...]:
    """Every field that differs, by its dotted name, sorted.

    The spelling of the model's files follows from weights and config, so that it is a field of
    its own only where those are equal.
    """
    left, right = _fields(here), _fields(there)
    names = sorted(name for name in {*left, *right} if left.get(name) != right.get(name))
    if any(name.split(".")[0] in _ABOUT_THE_MODEL for name in names):
        names = [name for name in names if not name.startswith("spelling.")]
    return tuple(Difference(field=name, here=left.get(name), there=right.get(name)) for name in names)


def summary(found: Nearest | None) -> str:
    """One line: which groups of fields differ, and how many fields of each."""
    if found is None:
        return "no entry of this model"
    groups: dict[str, list[str]] = {}
    for difference in found.differences:
        groups.setdefault(difference.field.split(".")[0], []).append(difference.field)
    told = [names[0] if len(names) == 1 else f"{len(names)} of {group}" for group, names in groups.items()]
    return f"the nearest entry, {found.key[:12]}, differs in {', '.join(told)}"


def _distance(found: Nearest) -> tuple[int, int]:
    groups = {difference.field.split(".")[0] for difference in found.differences}
    return len(groups), len(found.differences)


def _same_model(here: Document, there: Document) -> bool:
    if any(here.get(part) == there.get(part) for part in _ABOUT_THE_MODEL):
        return True
    return bool(here["source"]["id"] == there.get("source", {}).get("id") != "its content")


def _fields(value: Any, name: str = "") -> dict[str, Any]:
    """Leaves by dotted name; a list is one leaf."""
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found.update(_fields(inner, f"{name}.{key}" if name else str(key)))
    return found


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    text = str(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"
