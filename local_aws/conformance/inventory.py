"""A row per resource of the templates: is it there, and is it what was asked for?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from local_aws.conformance.attributes import attribute
from local_aws.conformance.compare import differences
from local_aws.conformance.describe import DESCRIBERS, TAGGED
from local_aws.conformance.describe.model import Found, NotThere, Resource
from local_aws.conformance.remembering import Remembering
from local_aws.conformance.selfcheck import Clients
from local_aws.conformance.template import UNKNOWN, Known, resolved, unresolved
from local_aws.conformance.waivers import Waivers

Template = Mapping[str, Any]
PROBLEMS = ("different", "missing", "extra", "listed")


class Verdict(StrEnum):
    """What was seen of a resource."""

    VERIFIED = "verified"
    """A describe call of its service returned every property of the template that is not waived."""
    WAIVED = "waived"
    """The type stands in waivers.toml, with the reason in the row's detail."""
    LISTED = "listed"
    """CloudFormation lists it and we know no describe call for the type: nothing else vouches for it."""
    DIFFERENT = "different"
    """Its service does not know it, or with other properties."""
    MISSING = "missing"
    """The template has it and the stack does not."""
    EXTRA = "extra"
    """The stack has it and the template does not."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One resource. ``detail``: differences, or the waivers that apply; empty if there are none.

    ``unknown``: properties of which a part is known to the service only, and so was compared
    with anything. ``properties``: what was asked for, references resolved.
    """

    stack: str
    logical_id: str
    type_name: str
    physical_id: str
    verdict: Verdict
    detail: str
    unknown: tuple[str, ...] = ()
    properties: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All resources of some stacks, and outputs that a template declares and its stack lacks or gives
    another value."""

    rows: tuple[Row, ...]
    missing_outputs: tuple[str, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each thing that is not as the templates ask; empty if all is well."""
        rows = [
            f"{r.stack}/{r.logical_id} ({r.type_name}) {r.verdict}: {r.detail}"
            for r in self.rows
            if r.verdict in PROBLEMS
        ]
        return (*rows, *(f"output {name} is missing or has another value" for name in self.missing_outputs))

    @property
    def unsupported(self) -> tuple[Row, ...]:
        """Resources that exist in name only: nothing but CloudFormation's own list vouches for them."""
        return tuple(row for row in self.rows if row.verdict in (Verdict.LISTED, Verdict.WAIVED))


def inventory(clients: Clients, stack_names: Iterable[str], templates: Mapping[str, Template]) -> Inventory:
    """Compare deployed stacks with their templates.

    Args:
        clients: ``launcher.LocalAws`` or a ``boto3.Session``.
        templates: by stack name, as synthesised.
    """
    look = Look(clients)
    stacks = [Stack(look, name, templates[name]) for name in stack_names]
    return Inventory(
        rows=tuple(row for stack in stacks for row in stack.rows()),
        missing_outputs=tuple(name for stack in stacks for name in stack.wrong_outputs()),
    )


def tracebacks(log: Path) -> list[str]:
    """Last line of every Python traceback in the server's log: each is an error it hid from somebody."""
    found = []
    inside = False
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and not line.startswith((" ", "\t")):
            found.append(line)
            inside = False
    return found


class Look:
    """What all stacks of one comparison share: each question is asked once."""

    def __init__(self, clients: Clients) -> None:
        self.clients = Remembering(clients)
        self.waivers = Waivers.load()

    @cached_property
    def exports(self) -> dict[str, str]:
        pages = self.clients.client("cloudformation").get_paginator("list_exports").paginate()
        return {export["Name"]: export["Value"] for page in pages for export in page["Exports"]}

    @cached_property
    def zones(self) -> tuple[str, ...]:
        answer = self.clients.client("ec2").describe_availability_zones()
        return tuple(zone["ZoneName"] for zone in answer["AvailabilityZones"])

    def judge(self, resource: Resource) -> tuple[Verdict, str]:
        """Verdict and detail of a resource that its stack lists."""
        from botocore.exceptions import ClientError

        if resource.type_name in self.waivers.types:
            return Verdict.WAIVED, self.waivers.types[resource.type_name].reason
        if resource.type_name not in DESCRIBERS:
            return Verdict.LISTED, "no describe call is known for this type"
        try:
            found = self.describe(resource)
        except (ClientError, NotThere) as error:
            return Verdict.DIFFERENT, str(error)
        waived = self.waivers.properties.get(resource.type_name, {})
        compared = {key: value for key, value in resource.properties.items() if key not in waived}
        wrong = list(differences(compared, found))
        if wrong:
            return Verdict.DIFFERENT, "; ".join(wrong)
        notes = [
            f"{name} not compared: {waived[name].reason}" for name in resource.properties if name in waived
        ]
        return Verdict.VERIFIED, "; ".join(notes)

    def describe(self, resource: Resource) -> Found:
        """What its service says of a resource of a known type."""
        return DESCRIBERS[resource.type_name](self.clients, resource)


class Stack:
    """A deployed stack beside its template."""

    def __init__(self, look: Look, name: str, template: Template) -> None:
        self._look = look
        self._name = name
        self._template = template
        cloudformation = look.clients.client("cloudformation")
        resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        self._listed = {r["LogicalResourceId"]: r for r in resources}
        self._described = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        self._known = Known(
            ids={logical_id: r["PhysicalResourceId"] for logical_id, r in self._listed.items()},
            exports=look.exports,
            pseudo=_pseudo(name, self._described["StackId"]),
            attribute=self._attribute,
            zones=look.zones,
            mappings=template.get("Mappings"),
        )

    def rows(self) -> Iterator[Row]:
        """A row per resource of the template, then one per resource that it does not have."""
        for logical_id in self._template["Resources"]:
            yield self._row(self.resource(logical_id))
        for logical_id, found in self._listed.items():
            if logical_id not in self._template["Resources"]:
                yield Row(
                    stack=self._name,
                    logical_id=logical_id,
                    type_name=found["ResourceType"],
                    physical_id=found["PhysicalResourceId"],
                    verdict=Verdict.EXTRA,
                    detail="the template has no such resource",
                )

    def resource(self, logical_id: str) -> Resource:
        """A resource of the template, with the stack's tags where its type takes them."""
        definition = self._template["Resources"][logical_id]
        properties = resolved(definition.get("Properties", {}), self._known)
        return Resource(
            stack=self._name,
            logical_id=logical_id,
            type_name=definition["Type"],
            physical_id=self._known.ids.get(logical_id, ""),
            properties=_with_tags(definition["Type"], properties, self._described.get("Tags", [])),
        )

    def wrong_outputs(self) -> Iterator[str]:
        """Outputs that the stack lacks, or gives another value than the template asks for."""
        there = {one["OutputKey"]: one["OutputValue"] for one in self._described.get("Outputs", [])}
        for name, output in self._template.get("Outputs", {}).items():
            wanted = resolved(output.get("Value", ""), self._known)
            if name not in there or list(differences(wanted, there[name])):
                yield f"{self._name}.{name}"

    def _row(self, resource: Resource) -> Row:
        if resource.physical_id:
            verdict, detail = self._look.judge(resource)
        else:
            verdict, detail = Verdict.MISSING, "CloudFormation does not list it"
        return Row(
            stack=self._name,
            logical_id=resource.logical_id,
            type_name=resource.type_name,
            physical_id=resource.physical_id,
            verdict=verdict,
            detail=detail,
            unknown=tuple(name for name, value in resource.properties.items() if unresolved(value)),
            properties=resource.properties,
        )

    def _attribute(self, logical_id: str, name: str) -> Any:
        from botocore.exceptions import ClientError

        resource = self.resource(logical_id)
        if resource.type_name not in DESCRIBERS or not resource.physical_id:
            return UNKNOWN
        try:
            return attribute(self._look.describe(resource), resource, name)
        except (ClientError, NotThere):
            return UNKNOWN


def _with_tags(type_name: str, properties: dict[str, Any], tags: list[dict[str, str]]) -> dict[str, Any]:
    """Properties with the stack's tags, which CloudFormation gives to every resource that takes some."""
    shape = TAGGED.get(type_name)
    if shape is None or not tags:
        return properties
    if shape == "map":
        added: Any = {tag["Key"]: tag["Value"] for tag in tags} | properties.get("Tags", {})
    else:
        own = properties.get("Tags", [])
        named = {tag["Key"] for tag in own}
        added = [*own, *({"Key": t["Key"], "Value": t["Value"]} for t in tags if t["Key"] not in named)]
    return {**properties, "Tags": added}


def _pseudo(stack: str, stack_id: str) -> dict[str, str]:
    parts = re.match(
        r"arn:(?P<partition>[^:]+):cloudformation:(?P<region>[^:]+):(?P<account>[^:]+):", stack_id
    )
    if parts is None:
        return {}
    return {
        "AWS::AccountId": parts["account"],
        "AWS::Partition": parts["partition"],
        "AWS::Region": parts["region"],
        "AWS::StackId": stack_id,
        "AWS::StackName": stack,
        "AWS::URLSuffix": "amazonaws.com",
    }
