"""VPC and everything in it, and EC2 instances."""

from __future__ import annotations

from typing import Any

from local_aws.conformance.census.model import Described, Lister, keyed, steady
from local_aws.conformance.selfcheck import Clients


def _listed(operation: str, member: str, name: str) -> Lister:
    def lister(clients: Clients) -> dict[str, Described]:
        return keyed(getattr(clients.client("ec2"), operation)()[member], name)

    return lister


def _vpcs(clients: Clients) -> dict[str, Described]:
    ec2 = clients.client("ec2")
    found = keyed(ec2.describe_vpcs()["Vpcs"], "VpcId")
    for vpc, described in found.items():
        for attribute in ("enableDnsSupport", "enableDnsHostnames"):
            described[attribute] = steady(ec2.describe_vpc_attribute(VpcId=vpc, Attribute=attribute))
    return found


def _route_tables(*, main: bool) -> Lister:
    """Tables of somebody's making, or those that came with their VPC."""

    def lister(clients: Clients) -> dict[str, Described]:
        tables = clients.client("ec2").describe_route_tables()["RouteTables"]
        chosen = [t for t in tables if any(a.get("Main") for a in t["Associations"]) is main]
        return keyed(chosen, "RouteTableId")

    return lister


def _groups(*, default: bool) -> Lister:
    """Security groups of somebody's making, or those that came with their VPC."""

    def lister(clients: Clients) -> dict[str, Described]:
        groups = clients.client("ec2").describe_security_groups()["SecurityGroups"]
        return keyed([g for g in groups if (g["GroupName"] == "default") is default], "GroupId")

    return lister


def _associations(clients: Clients) -> dict[str, Described]:
    tables = clients.client("ec2").describe_route_tables()["RouteTables"]
    explicit = [a for table in tables for a in table["Associations"] if not a.get("Main")]
    return keyed(explicit, "RouteTableAssociationId")


def _rules(*, egress: bool) -> Lister:
    """Rules that are resources of their own; those that a group's definition holds are in the group."""

    def lister(clients: Clients) -> dict[str, Described]:
        from local_aws.conformance.describe.network import rule_resources

        rules = clients.client("ec2").describe_security_group_rules()["SecurityGroupRules"]
        owned = rule_resources(clients)
        mine = [r for r in rules if r["IsEgress"] is egress and r["SecurityGroupRuleId"] in owned]
        return keyed(mine, "SecurityGroupRuleId")

    return lister


def _instances(clients: Clients) -> dict[str, Described]:
    """Instances that are not on their way out."""
    reservations = clients.client("ec2").describe_instances()["Reservations"]
    instances: list[dict[str, Any]] = [one for each in reservations for one in each["Instances"]]
    return keyed(
        [i for i in instances if i["State"]["Name"] not in ("shutting-down", "terminated")], "InstanceId"
    )


LISTERS: dict[str, Lister] = {
    "AWS::EC2::VPC": _vpcs,
    "AWS::EC2::Subnet": _listed("describe_subnets", "Subnets", "SubnetId"),
    "AWS::EC2::RouteTable": _route_tables(main=False),
    "main route table of a VPC": _route_tables(main=True),
    "AWS::EC2::SubnetRouteTableAssociation": _associations,
    "AWS::EC2::VPCEndpoint": _listed("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    "AWS::EC2::SecurityGroup": _groups(default=False),
    "default security group of a VPC": _groups(default=True),
    "AWS::EC2::SecurityGroupIngress": _rules(egress=False),
    "AWS::EC2::SecurityGroupEgress": _rules(egress=True),
    "AWS::EC2::FlowLog": _listed("describe_flow_logs", "FlowLogs", "FlowLogId"),
    "AWS::EC2::Instance": _instances,
    "AWS::EC2::NetworkInterface": _listed(
        "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"
    ),
    "AWS::EC2::InternetGateway": _listed(
        "describe_internet_gateways", "InternetGateways", "InternetGatewayId"
    ),
    "AWS::EC2::NatGateway": _listed("describe_nat_gateways", "NatGateways", "NatGatewayId"),
}
