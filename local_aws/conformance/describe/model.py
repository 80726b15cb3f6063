"""What a describer gets and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from local_aws.conformance.selfcheck import Clients

Found = dict[str, Any]
Shape = Literal["list", "map"]
"""Of a property ``Tags``: members with Key and Value, or an object."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource of a deployed stack. ``properties``: the template's, references resolved."""

    stack: str
    logical_id: str
    type_name: str
    physical_id: str
    properties: dict[str, Any]


Describer = Callable[[Clients, Resource], Found]


class NotThere(Exception):
    """The API answered without the resource."""


def only(items: list[Found], what: str) -> Found:
    """The one item of a describe call's list.

    Raises:
        NotThere: the list does not hold exactly one.
    """
    if len(items) != 1:
        raise NotThere(f"{what}: the API returned {len(items)} instead of one")
    return items[0]


def pascal(value: Any) -> Any:
    """Keys of a JSON API as a template spells them, at every depth."""
    if isinstance(value, list):
        return [pascal(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key[:1].upper() + key[1:]: pascal(item) for key, item in value.items()}
