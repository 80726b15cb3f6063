"""A row per resource of the templates: is it there, and is it what was asked for?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import tomllib

from local_aws.conformance.compare import differences
from local_aws.conformance.describe import DESCRIBERS
from local_aws.conformance.describe.model import NotThere, Resource
from local_aws.conformance.selfcheck import Clients
from local_aws.conformance.template import Known, resolved

WAIVERS = Path(__file__).with_name("waivers.toml")
Template = Mapping[str, Any]


class Verdict(StrEnum):
    """What was seen of a resource."""

    VERIFIED = "verified"
    """A describe call of its service returned every property of the template that is not waived."""
    WAIVED = "waived"
    """The type stands in waivers.toml, with the reason in the row's detail."""
    LISTED = "listed"
    """CloudFormation lists it and we know no describe call for the type."""
    DIFFERENT = "different"
    """Its service does not know it, or with other properties."""
    MISSING = "missing"
    """The template has it and the stack does not."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One resource. ``detail``: differences, or the waivers that apply; empty if there are none."""

    stack: str
    logical_id: str
    type_name: str
    physical_id: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All resources of some stacks, and the outputs that a template declares and its stack lacks."""

    rows: tuple[Row, ...]
    missing_outputs: tuple[str, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each thing that is not as the templates ask; empty if all is well."""
        bad = (Verdict.MISSING, Verdict.DIFFERENT)
        rows = [
            f"{r.stack}/{r.logical_id} ({r.type_name}) {r.verdict}: {r.detail}"
            for r in self.rows
            if r.verdict in bad
        ]
        return (*rows, *(f"output {name} is missing" for name in self.missing_outputs))

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
    waivers = Waivers.load()
    exports = _exports(clients)
    rows: list[Row] = []
    missing: list[str] = []
    for name in stack_names:
        template = templates[name]
        rows.extend(_rows(clients, name, template, exports, waivers))
        missing.extend(_missing_outputs(clients, name, template))
    return Inventory(rows=tuple(rows), missing_outputs=tuple(missing))


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


@dataclass(frozen=True, kw_only=True)
class Waivers:
    """Types and properties that are not compared, with the reason."""

    types: Mapping[str, str]
    properties: Mapping[str, Mapping[str, str]]

    @classmethod
    def load(cls) -> Waivers:
        """Read waivers.toml."""
        data = tomllib.loads(WAIVERS.read_text(encoding="utf-8"))
        return cls(types=data["types"], properties=data["properties"])


def _rows(
    clients: Clients, stack: str, template: Template, exports: Mapping[str, str], waivers: Waivers
) -> Iterator[Row]:
    description = clients.client("cloudformation").describe_stack_resources(StackName=stack)
    ids = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in description["StackResources"]}
    stack_id = description["StackResources"][0]["StackId"] if ids else ""
    known = Known(ids=ids, exports=exports, pseudo=_pseudo(stack, stack_id))
    for logical_id, definition in template["Resources"].items():
        resource = Resource(
            stack=stack,
            logical_id=logical_id,
            type_name=definition["Type"],
            physical_id=ids.get(logical_id, ""),
            properties=resolved(definition.get("Properties", {}), known),
        )
        verdict, detail = _judge(clients, resource, waivers)
        yield Row(
            stack=stack,
            logical_id=logical_id,
            type_name=resource.type_name,
            physical_id=resource.physical_id,
            verdict=verdict,
            detail=detail,
        )


def _judge(clients: Clients, resource: Resource, waivers: Waivers) -> tuple[Verdict, str]:
    from botocore.exceptions import ClientError

    if not resource.physical_id:
        return Verdict.MISSING, "CloudFormation does not list it"
    if resource.type_name in waivers.types:
        return Verdict.WAIVED, waivers.types[resource.type_name]
    describe = DESCRIBERS.get(resource.type_name)
    if describe is None:
        return Verdict.LISTED, "no describe call is known for this type"
    try:
        found = describe(clients, resource)
    except (ClientError, NotThere) as error:
        return Verdict.DIFFERENT, str(error)
    waived = waivers.properties.get(resource.type_name, {})
    compared = {key: value for key, value in resource.properties.items() if key not in waived}
    wrong = list(differences(compared, found))
    if wrong:
        return Verdict.DIFFERENT, "; ".join(wrong)
    notes = [f"{name} not compared: {waived[name]}" for name in resource.properties if name in waived]
    return Verdict.VERIFIED, "; ".join(notes)


def _missing_outputs(clients: Clients, stack: str, template: Template) -> list[str]:
    description = clients.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    there = {output["OutputKey"] for output in description.get("Outputs", [])}
    return [f"{stack}.{name}" for name in template.get("Outputs", {}) if name not in there]


def _exports(clients: Clients) -> dict[str, str]:
    pages = clients.client("cloudformation").get_paginator("list_exports").paginate()
    return {export["Name"]: export["Value"] for page in pages for export in page["Exports"]}


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
