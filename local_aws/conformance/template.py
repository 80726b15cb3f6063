"""A template's resources with their references replaced by what the deployed stack says.

Only what the APIs tell is filled in: physical ids, exports and pseudo parameters. Attributes
(Fn::GetAtt) are not among them and stay ``UNKNOWN``, which compare.py lets match anything but
nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "\0"
"""Stands for a text that only the service knows; may be part of a longer one."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What references may resolve to.

    ``ids``: logical to physical id. ``exports``: name to value. ``pseudo``: such as AWS::Region.
    """

    ids: Mapping[str, str]
    exports: Mapping[str, str]
    pseudo: Mapping[str, str]


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


_NO_VALUE = {"Ref": "AWS::NoValue"}


def _call(name: str, argument: Any, known: Known) -> Any:
    if name == "Ref":
        return known.pseudo.get(argument) or known.ids.get(argument, UNKNOWN)
    inner = resolved(argument, known)
    if name == "Fn::ImportValue":
        return known.exports.get(inner, UNKNOWN)
    if name == "Fn::Join" and isinstance(inner[1], list):
        return inner[0].join(str(part) for part in inner[1])
    if name == "Fn::Base64" and UNKNOWN not in inner:
        return base64.b64encode(inner.encode()).decode()
    return UNKNOWN
