"""AWS::EC2::SecurityGroupIngress and AWS::EC2::SecurityGroupEgress.

One rule each, authorized through EC2's API; its physical id is the rule's id. Every property
but the description replaces the rule (AWS CloudFormation reference).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ministack.services import ec2

from local_aws.extension.cloudformation.answers import accepted, query
from local_aws.extension.registry import Properties, Provisioned, Registry, ResourceFailed

_RULE_ID = re.compile("<securityGroupRuleId>([^<]+)</securityGroupRuleId>")
_PORTS = ("IpProtocol", "FromPort", "ToPort")
_PEERS = ("CidrIp", "CidrIpv6")


@dataclass(frozen=True, kw_only=True)
class Direction:
    """What differs between the two types."""

    type_name: str
    peer: str
    authorize: Callable[[Any], Any]
    revoke: Callable[[Any], Any]
    replaced_by: tuple[str, ...]


INGRESS = Direction(
    type_name="AWS::EC2::SecurityGroupIngress",
    peer="Source",
    authorize=ec2._authorize_sg_ingress,
    revoke=ec2._revoke_sg_ingress,
    replaced_by=("SourceSecurityGroupId", "SourcePrefixListId", "SourceSecurityGroupOwnerId"),
)
EGRESS = Direction(
    type_name="AWS::EC2::SecurityGroupEgress",
    peer="Destination",
    authorize=ec2._authorize_sg_egress,
    revoke=ec2._revoke_sg_egress,
    replaced_by=("DestinationSecurityGroupId", "DestinationPrefixListId"),
)


def register(registry: Registry) -> None:
    """Add both types."""
    for direction in (INGRESS, EGRESS):
        _add(registry, direction)


def _add(registry: Registry, direction: Direction) -> None:
    def create(_logical_id: str, properties: Properties, _stack: str) -> Provisioned:
        return _authorize(direction, properties)

    def update(physical_id: str, old: Properties, new: Properties, _s: str, _l: str) -> Provisioned:
        _revoke(direction, physical_id, old)
        return _authorize(direction, new)

    def delete(physical_id: str, properties: Properties) -> None:
        _revoke(direction, physical_id, properties)

    registry.add_resource_type(
        direction.type_name,
        create=create,
        update=update,
        delete=delete,
        replaced_by=("GroupId", *_PORTS, *_PEERS, *direction.replaced_by),
    )


def _authorize(direction: Direction, properties: Properties) -> Provisioned:
    group = properties["GroupId"]
    peer = properties.get(f"{direction.peer}SecurityGroupId")
    for needed in (group, peer):
        if needed and needed not in ec2._security_groups:
            raise ResourceFailed(f"The security group '{needed}' does not exist (InvalidGroup.NotFound)")
    parameters = query(GroupId=group, IpPermissions=[_permission(direction, properties, peer)])
    answer = accepted(direction.authorize(parameters))
    found = _RULE_ID.search(answer)
    if found is None:
        raise ResourceFailed(f"EC2 authorized no rule in {group}")
    rule = found.group(1)
    return rule, {"Id": rule}


def _permission(direction: Direction, properties: Properties, peer: str | None) -> dict[str, Any]:
    described = {"Description": properties["Description"]} if "Description" in properties else {}
    prefix_list = properties.get(f"{direction.peer}PrefixListId")
    if prefix_list:
        raise ResourceFailed("rules that name a prefix list are not supported by the local AWS")
    permission: dict[str, Any] = {name: properties.get(name) for name in _PORTS}
    if "CidrIp" in properties:
        permission["IpRanges"] = [{"CidrIp": properties["CidrIp"], **described}]
    if "CidrIpv6" in properties:
        permission["Ipv6Ranges"] = [{"CidrIpv6": properties["CidrIpv6"], **described}]
    if peer:
        permission["Groups"] = [{"GroupId": peer, **described}]
    return permission


def _revoke(direction: Direction, rule: str, properties: Properties) -> None:
    group = properties["GroupId"]
    if group in ec2._security_groups:  # the group may go first when a stack is deleted
        direction.revoke(query(GroupId=group, SecurityGroupRuleId=[rule]))
