"""PascalCase of CloudFormation and Step Functions to camelCase of REST APIs, and back.

Only the keys of shapes change; the keys of free-form maps (tags, parameters, options of a log
driver) are data and stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FREE_FORM = ("tags", "parameters", "options")


def camel(value: Any) -> Any:
    """``{"MaxvCpus": 1}`` becomes ``{"maxvCpus": 1}``, at every depth."""
    return _renamed(value, lambda key: key[:1].lower() + key[1:])


def pascal(value: Any) -> Any:
    """``{"maxvCpus": 1}`` becomes ``{"MaxvCpus": 1}``, at every depth."""
    return _renamed(value, lambda key: key[:1].upper() + key[1:])


def _renamed(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, rename) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        rename(key): dict(item)
        if key.lower() in FREE_FORM and isinstance(item, dict)
        else _renamed(item, rename)
        for key, item in value.items()
    }
