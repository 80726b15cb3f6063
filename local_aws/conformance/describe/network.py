"""VPC and everything in it."""

from __future__ import annotations

from local_aws.conformance.describe.model import Describer, Found, NotThere, Resource, only
from local_aws.conformance.selfcheck import Clients

RULES = ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress")
_DNS = {"EnableDnsSupport": "enableDnsSupport", "EnableDnsHostnames": "enableDnsHostnames"}


def _vpc(clients: Clients, resource: Resource) -> Found:
    ec2, vpc = clients.client("ec2"), resource.physical_id
    found = dict(only(ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"], "VPC"))
    for name, attribute in _DNS.items():
        found[name] = ec2.describe_vpc_attribute(VpcId=vpc, Attribute=attribute)[name]["Value"]
    return found


def _subnet(clients: Clients, resource: Resource) -> Found:
    return only(clients.client("ec2").describe_subnets(SubnetIds=[resource.physical_id])["Subnets"], "subnet")


def _route_table(clients: Clients, resource: Resource) -> Found:
    tables = clients.client("ec2").describe_route_tables(RouteTableIds=[resource.physical_id])["RouteTables"]
    return only(tables, "route table")


def _association(clients: Clients, resource: Resource) -> Found:
    table = resource.properties["RouteTableId"]
    tables = clients.client("ec2").describe_route_tables(RouteTableIds=[table])["RouteTables"]
    associations = only(tables, "route table")["Associations"]
    wanted = resource.physical_id
    return only([a for a in associations if a["RouteTableAssociationId"] == wanted], "association")


def _endpoint(clients: Clients, resource: Resource) -> Found:
    answer = clients.client("ec2").describe_vpc_endpoints(VpcEndpointIds=[resource.physical_id])
    found = dict(only(answer["VpcEndpoints"], "VPC endpoint"))
    found["SecurityGroupIds"] = [group["GroupId"] for group in found.get("Groups", [])]
    return found


def _security_group(clients: Clients, resource: Resource) -> Found:
    ec2 = clients.client("ec2")
    answer = ec2.describe_security_groups(GroupIds=[resource.physical_id])
    group = only(answer["SecurityGroups"], "security group")
    found = {**group, "GroupDescription": group["Description"]}
    of_group = [{"Name": "group-id", "Values": [resource.physical_id]}]
    rules = ec2.describe_security_group_rules(Filters=of_group)["SecurityGroupRules"]
    # Rules that resources of their own added to the group are theirs, not the group's.
    elsewhere = rule_resources(clients)
    for name, egress in (("Ingress", False), ("Egress", True)):
        found[f"SecurityGroup{name}"] = [
            _spelt(rule)
            for rule in rules
            if rule["IsEgress"] is egress and rule["SecurityGroupRuleId"] not in elsewhere
        ]
    asked = resource.properties.get("SecurityGroupIngress", [])
    if not asked and found["SecurityGroupIngress"]:
        raise NotThere(f"ingress that nobody asked for: {found['SecurityGroupIngress']}")
    return found


def rule_resources(clients: Clients) -> set[str]:
    """Ids of the rules that are resources of some stack."""
    cloudformation = clients.client("cloudformation")
    stacks = cloudformation.describe_stacks()["Stacks"]
    return {
        resource["PhysicalResourceId"]
        for stack in stacks
        for resource in cloudformation.describe_stack_resources(StackName=stack["StackName"])[
            "StackResources"
        ]
        if resource["ResourceType"] in RULES
    }


def _rule(clients: Clients, resource: Resource) -> Found:
    """A rule by its id, or where EC2 lists it among its group's rules."""
    answer = clients.client("ec2").describe_security_group_rules(SecurityGroupRuleIds=[resource.physical_id])
    found = dict(only(answer["SecurityGroupRules"], "security group rule"))
    if found["IsEgress"] != resource.type_name.endswith("Egress"):
        raise NotThere("the rule has the other direction")
    return _spelt(found)


def _spelt(found: Found) -> Found:
    """A rule as a template spells it."""
    peer = found.get("ReferencedGroupInfo", {}).get("GroupId")
    return {
        **found,
        "CidrIp": found.get("CidrIpv4"),
        "SourceSecurityGroupId": peer,
        "DestinationSecurityGroupId": peer,
    }


def _flow_log(clients: Clients, resource: Resource) -> Found:
    answer = clients.client("ec2").describe_flow_logs(FlowLogIds=[resource.physical_id])
    found = only(answer["FlowLogs"], "flow log")
    return {**found, "ResourceType": _kind(found["ResourceId"])}


def _kind(resource_id: str) -> str:
    kinds = {"vpc": "VPC", "subnet": "Subnet", "eni": "NetworkInterface"}
    return kinds.get(resource_id.partition("-")[0], "")


DESCRIBERS: dict[str, Describer] = {
    "AWS::EC2::VPC": _vpc,
    "AWS::EC2::Subnet": _subnet,
    "AWS::EC2::RouteTable": _route_table,
    "AWS::EC2::SubnetRouteTableAssociation": _association,
    "AWS::EC2::VPCEndpoint": _endpoint,
    "AWS::EC2::SecurityGroup": _security_group,
    "AWS::EC2::SecurityGroupIngress": _rule,
    "AWS::EC2::SecurityGroupEgress": _rule,
    "AWS::EC2::FlowLog": _flow_log,
}
