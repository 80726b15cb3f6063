"""A template as the rules read it, and what a rule is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ASSET = re.compile(r"/cdk-[a-z0-9]+-container-assets-[^/]+:[0-9a-f]{64}$")
_BY_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


@dataclass(frozen=True)
class Resource:
    """One resource: its logical id and its whole body."""

    id: str
    body: Mapping[str, Any]

    @property
    def type(self) -> str:
        return str(self.body["Type"])

    def at(self, *path: str) -> Any:
        """The property at ``path``, None where there is none."""
        return at(self.body.get("Properties", {}), *path)


@dataclass(frozen=True)
class Template:
    """All resources of a stack. ``retain_data``: what the settings say about deleting data."""

    resources: Mapping[str, Resource]
    retain_data: bool

    @classmethod
    def of(cls, document: Mapping[str, Any], *, retain_data: bool) -> Template:
        found = {name: Resource(name, body) for name, body in document.get("Resources", {}).items()}
        return cls(resources=found, retain_data=retain_data)

    def all(self, *types: str) -> Iterator[Resource]:
        """Every resource of these types."""
        return (resource for resource in self.resources.values() if resource.type in types)

    def beside(self, resource: Resource, kind: str, *path: str) -> Iterator[Resource]:
        """Resources of type ``kind`` whose property at ``path`` refers to ``resource``."""
        return (other for other in self.all(kind) if refers_to(other.at(*path), resource.id))


Holds = Callable[[Resource, Template], bool]


@dataclass(frozen=True)
class Rule:
    """A promise about every resource of ``types``; ``why``: what goes wrong without it."""

    id: str
    types: tuple[str, ...]
    what: str
    why: str
    fix: str
    holds: Holds


def rule(name: str, *types: str, what: str, why: str, fix: str) -> Callable[[Holds], Rule]:
    """Make a rule of the function below."""

    def made(holds: Holds) -> Rule:
        return Rule(id=name, types=types, what=what, why=why, fix=fix, holds=holds)

    return made


def at(value: Any, *path: str) -> Any:
    """What lies at ``path`` in nested mappings, None where it ends early."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def listed(value: Any) -> list[Any]:
    """A list as it is, nothing as no element, anything else as one."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def refers_to(value: Any, logical_id: str) -> bool:
    """Whether a ``Ref`` or ``Fn::GetAtt`` of ``logical_id`` is anywhere in ``value``."""
    if isinstance(value, list):
        return any(refers_to(item, logical_id) for item in value)
    if not isinstance(value, Mapping):
        return False
    if value.get("Ref") == logical_id or listed(value.get("Fn::GetAtt"))[:1] == [logical_id]:
        return True
    return any(refers_to(item, logical_id) for item in value.values())


def text(value: Any) -> str:
    """A string with its joins done; what is known only at deploy time stands in angle brackets."""
    if isinstance(value, list):
        return " ".join(text(item) for item in value)
    if not isinstance(value, Mapping):
        return str(value)
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return str(separator).join(text(part) for part in parts)
    if "Fn::Base64" in value:
        return text(value["Fn::Base64"])
    if "Fn::Sub" in value:
        return text(listed(value["Fn::Sub"])[0])
    return "".join(f"<{text(inner).replace(' ', '.')}>" for inner in value.values())


def is_completed_by_batch(template_of_machines: Resource, template: Template) -> bool:
    """Whether a launch template is one to which AWS Batch adds image and role, whose instances start
    no container by themselves; hosting.py has the rules for what Batch adds."""
    place = ("ComputeResources", "LaunchTemplate")
    return any(template.beside(template_of_machines, "AWS::Batch::ComputeEnvironment", *place))


def is_by_digest(image: Any) -> bool:
    """Whether a container's image is named by its digest, which nobody can give to another one."""
    return _BY_DIGEST.search(text(image)) is not None


def is_built_asset(image: Any) -> bool:
    """Whether it is an image that the CDK built: its repository's tags do not move, and are hashes."""
    return _ASSET.search(text(image)) is not None


def attributes(resource: Resource, name: str) -> dict[str, str]:
    """A load balancer's or target group's list of keys and values as a table."""
    return {str(row["Key"]): text(row["Value"]) for row in listed(resource.at(name))}
