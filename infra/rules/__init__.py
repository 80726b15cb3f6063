"""Our own rules, on the templates themselves.

cdk-nag reads the CDK's objects and sees no property override; nobody else checks what makes a
rollback possible. A function with its promise, reason and remedy above it is a rule:

    machines.py      launch templates and what they start at boot
    capacity.py      Auto Scaling: how many machines, of what kind, when
    host.py          what an instance does around its server
    rollout.py       groups, target groups and alarms: how a release changes
    doors.py         load balancers, security groups and networks: who can reach what
    stores.py        buckets, keys, images, logs, topics and queues
    hosting.py       SageMaker, Batch and Step Functions
    machine_images.py  what the fleet's machines are made of
    endpoints.py     canaries, captured requests, queues, and what scales an endpoint
    permissions.py   roles and policies
    template.py      a template as they all read it; secrets.py: what looks like a secret
    plugin.py        the CDK's side
    __main__.py      writes docs/policy.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.rules import (
    capacity,
    doors,
    endpoints,
    host,
    hosting,
    machine_images,
    machines,
    permissions,
    rollout,
    stores,
)
from infra.rules.template import Resource, Rule, Template

GROUPS = (
    machines,
    host,
    machine_images,
    capacity,
    rollout,
    doors,
    stores,
    hosting,
    endpoints,
    permissions,
)
RULES = tuple(found for group in GROUPS for found in vars(group).values() if isinstance(found, Rule))


def violations(document: Mapping[str, Any], *, retain_data: bool) -> Iterator[tuple[Rule, str]]:
    """Yield each rule that a resource of the template breaks, with the resource's logical id."""
    template = Template.of(document, retain_data=retain_data)
    for resource in template.resources.values():
        for rule in RULES:
            if resource.type in rule.types and not _holds(rule, resource, template):
                yield rule, resource.id


def _holds(rule: Rule, resource: Resource, template: Template) -> bool:
    """A rule that cannot read a resource has not been kept: the CDK would let its plugin fail in silence."""
    try:
        return rule.holds(resource, template)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return False
