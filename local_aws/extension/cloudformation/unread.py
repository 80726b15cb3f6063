"""Notes every top-level property of a resource that no provisioner looked at.

A property nobody read was certainly dropped, however green the stack. (One that was read is not
proven by this: the conformance report compares describe calls for that.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from local_aws import names
from local_aws.extension.registry import Properties, Provisioned, Registry, Response

IGNORED_TYPES = ("AWS::CDK::Metadata",)

_unread: dict[str, dict[str, list[str]]] = {}
"""Names of properties by stack and logical id."""


class _Watched(dict[str, Any]):
    """A dict that remembers which keys were looked at."""

    def __init__(self, properties: Properties) -> None:
        super().__init__(properties)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)

    def pop(self, key: str, *default: Any) -> Any:
        self.read.add(key)
        return super().pop(key, *default)

    def __iter__(self) -> Iterator[str]:  # also makes dict(x) and {**x} go through the keys
        self.read.update(super().keys())
        return super().__iter__()

    def keys(self) -> Any:
        self.read.update(super().keys())
        return super().keys()

    def items(self) -> Any:
        self.read.update(super().keys())
        return super().items()

    def values(self) -> Any:
        self.read.update(super().keys())
        return super().values()

    def unread(self) -> list[str]:
        """Keys nobody looked at."""
        return sorted(set(super().keys()) - self.read)


def register(registry: Registry) -> None:
    """Watch every type that is registered by now; call this last."""
    for type_name in registry.resource_types():
        if type_name not in IGNORED_TYPES:
            _watch(registry, type_name)
    registry.add_internal_route(names.UNREAD, _answer)
    registry.add_state("unread", save=_unread.copy, restore=_unread.update, reset=_unread.clear)


def _watch(registry: Registry, type_name: str) -> None:
    own = registry.resource_type(type_name)

    def create(logical_id: str, properties: Properties, stack: str) -> Provisioned:
        watched = _Watched(properties)
        answer = own.create(logical_id, watched, stack)
        _note(stack, logical_id, watched)
        return answer

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Provisioned:
        watched = _Watched(new)
        answer = own.update(physical_id, old, watched, stack, logical_id)
        _note(stack, logical_id, watched)
        return answer

    registry.wrap_resource_type(type_name, create=create, update=update)


def _note(stack: str, logical_id: str, watched: _Watched) -> None:
    _unread.setdefault(stack, {})[logical_id] = watched.unread()


async def _answer(*_: object) -> Response:
    """``{stack: {logical id: [property, …]}}``, complete: a resource with nothing unread has []."""
    return 200, {"content-type": "application/json"}, json.dumps(_unread).encode()
