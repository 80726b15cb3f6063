"""Each value of each deployed property asked for differently: does the comparison turn red?

It finds describe functions that give back what they were asked, and members that they leave out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from local_aws.conformance import Verdict
from local_aws.conformance.inventory import Look, Stack
from tests.lifecycle.world import World


@dataclass
class Tried:
    """How many values were changed, and the places where nobody noticed."""

    count: int = 0
    overlooked: list[str] = field(default_factory=list)


def tried_mutations(world: World, assembly: str) -> Tried:
    """Places that were changed in what is asked for, and that the comparison still calls verified.

    A place is tried once for each type, whichever member of a list it is in.
    """
    look = Look(world.aws)
    tried = Tried()
    seen: set[tuple[str, tuple[Any, ...]]] = set()
    for name, template in world.templates(assembly).items():
        stack = Stack(look, name, template)
        for logical_id in template["Resources"]:
            resource = stack.resource(logical_id)
            if resource.type_name in look.waivers.types:
                continue
            waived = look.waivers.properties.get(resource.type_name, {})
            compared = {key: value for key, value in resource.properties.items() if key not in waived}
            for path, changed in mutations(compared):
                kind = (resource.type_name, tuple("*" if isinstance(step, int) else step for step in path))
                if kind in seen:
                    continue
                seen.add(kind)
                tried.count += 1
                if _verified(look, replace(resource, properties=changed)):
                    tried.overlooked.append(f"{resource.type_name} {'.'.join(map(str, path))}")
    return tried


def _verified(look: Look, resource: Any) -> bool:
    try:
        verdict, _ = look.judge(resource)
    except Exception:  # a describe function may stumble over nonsense; it did not call it right
        return False
    return verdict is Verdict.VERIFIED


def mutations(value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Copies of ``value``, each with one leaf changed, and the place of that leaf."""
    for path in _leaves(value):
        changed = copy.deepcopy(value)
        holder = changed
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = _other(holder[path[-1]])
        yield path, changed


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path


def _other(leaf: Any) -> Any:
    if isinstance(leaf, bool):
        return not leaf
    return leaf + 1 if isinstance(leaf, (int, float)) else f"{leaf}x"
