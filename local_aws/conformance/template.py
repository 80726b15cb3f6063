"""A template's resources with their references replaced by what the deployed stack says.

Physical ids, exports, pseudo parameters, the region's zones and, by way of ``attributes.py``, what
Fn::GetAtt gives are filled in. What nobody can tell stays ``UNKNOWN``, which compare.py lets match
anything but nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNKNOWN = "\0"
"""Stands for a text that only the service knows; may be part of a longer one."""


def _no_attribute(_logical_id: str, _name: str) -> Any:
    return UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Known:
    """What references may resolve to.

    ``ids``: logical to physical id. ``exports``: name to value. ``pseudo``: such as AWS::Region.
    ``attribute``: from a logical id and a name such as ``Arn``. ``zones``: of the region, in order.
    ``mappings``: the template's own.
    """

    ids: Mapping[str, str]
    exports: Mapping[str, str]
    pseudo: Mapping[str, str]
    attribute: Callable[[str, str], Any] = _no_attribute
    zones: Sequence[str] = ()
    mappings: Mapping[str, Any] | None = None


def resolved(value: Any, known: Known) -> Any:
    """``value`` of a template without intrinsic functions; AWS::NoValue members are left out."""
    if isinstance(value, list):
        return [resolved(item, known) for item in value if item != _NO_VALUE]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (name, argument), *_ = value.items()
        if name == "Ref" or name.startswith("Fn::"):
            return _call(name, argument, known)
    return {key: resolved(item, known) for key, item in value.items() if item != _NO_VALUE}


def unresolved(value: Any) -> bool:
    """Whether something in ``value`` is ``UNKNOWN``, so that comparing it proves less than it seems."""
    if isinstance(value, dict):
        return any(unresolved(item) for item in value.values())
    if isinstance(value, list):
        return any(unresolved(item) for item in value)
    return isinstance(value, str) and UNKNOWN in value


_NO_VALUE = {"Ref": "AWS::NoValue"}


def _call(name: str, argument: Any, known: Known) -> Any:
    if name == "Ref":
        return known.pseudo.get(argument) or known.ids.get(argument, UNKNOWN)
    if name == "Fn::GetAtt":
        logical_id, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
        return known.attribute(logical_id, attribute)
    inner = resolved(argument, known)
    function = _FUNCTIONS.get(name)
    found = UNKNOWN if function is None else function(inner, known)
    return UNKNOWN if found is None else found


def _import(name: Any, known: Known) -> Any:
    return known.exports.get(name)


def _join(argument: Any, _known: Known) -> Any:
    separator, parts = argument
    return separator.join(str(part) for part in parts) if isinstance(parts, list) else None


def _base64(text: Any, _known: Known) -> Any:
    return None if UNKNOWN in text else base64.b64encode(text.encode()).decode()


def _split(argument: Any, _known: Known) -> Any:
    separator, text = argument
    return None if UNKNOWN in text else text.split(separator)


def _select(argument: Any, _known: Known) -> Any:
    index, items = argument
    there = isinstance(items, list) and int(index) < len(items)
    return items[int(index)] if there else None


def _zones(_region: Any, known: Known) -> Any:
    return list(known.zones) or None


def _in_map(argument: Any, known: Known) -> Any:
    found: Any = known.mappings or {}
    for key in argument:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


_FUNCTIONS: dict[str, Callable[[Any, Known], Any]] = {
    "Fn::ImportValue": _import,
    "Fn::Join": _join,
    "Fn::Base64": _base64,
    "Fn::Split": _split,
    "Fn::Select": _select,
    "Fn::GetAZs": _zones,
    "Fn::FindInMap": _in_map,
}
