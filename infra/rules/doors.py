"""Load balancers, security groups and networks: who can reach what."""

from __future__ import annotations

import re
from typing import Any

from infra.rules.template import Resource, Template, at, attributes, listed, rule, text

BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
LISTENER = "AWS::ElasticLoadBalancingV2::Listener"
SECURITY_GROUP = "AWS::EC2::SecurityGroup"
INGRESS = "AWS::EC2::SecurityGroupIngress"
EGRESS = "AWS::EC2::SecurityGroupEgress"
SUBNET = "AWS::EC2::Subnet"
VPC = "AWS::EC2::VPC"
TRUST_STORE = "AWS::ElasticLoadBalancingV2::TrustStore"
FLOW_LOG = "AWS::EC2::FlowLog"
ENDPOINT = "AWS::EC2::VPCEndpoint"
WAYS_OUT = (
    "AWS::EC2::EIP",
    "AWS::EC2::EgressOnlyInternetGateway",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::NatGateway",
    "AWS::EC2::VPCPeeringConnection",
)
EVERYWHERE = ("0.0.0.0/0", "::/0")
TLS_POLICIES = ("ELBSecurityPolicy-TLS13-1-2-", "ELBSecurityPolicy-TLS13-1-3-", "ELBSecurityPolicy-FS-1-2-")
HTTPS = 443
_READ_FROM_AWS = re.compile(
    r":s3:::(prod-[^/]+-starport-layer-bucket|"
    r"ec2imagebuilder-[a-z-]+-[^/]+-prod|al2023-repos-[^/]+-de612dc2)/\*$"
)
"""Layers of ECR images, Image Builder with its components, packages of Amazon Linux."""


@rule(
    "internal-balancer",
    BALANCER,
    what="The load balancer is not reachable from the internet",
    why="internet-facing is what CloudFormation makes unasked",
    fix="set Scheme to internal",
)
def internal_balancer(resource: Resource, _: Template) -> bool:
    return bool(resource.at("Scheme") == "internal")


@rule(
    "strictest-desync",
    BALANCER,
    what="Requests that two servers could read differently are refused",
    why="request smuggling lives on them",
    fix="set routing.http.desync_mitigation_mode to strictest",
)
def strictest_desync(resource: Resource, _: Template) -> bool:
    return _balancer(resource)["routing.http.desync_mitigation_mode"] == "strictest"


@rule(
    "drops-invalid-headers",
    BALANCER,
    what="Header fields with invalid names are dropped",
    why="by default the load balancer hands them on",
    fix="set routing.http.drop_invalid_header_fields.enabled to true",
)
def drops_invalid_headers(resource: Resource, _: Template) -> bool:
    return _balancer(resource)["routing.http.drop_invalid_header_fields.enabled"] == "true"


@rule(
    "logs-access",
    BALANCER,
    what="The load balancer logs each request",
    why="after an incident nothing else says who called",
    fix="set access_logs.s3.enabled to true and name the bucket",
)
def logs_access(resource: Resource, _: Template) -> bool:
    found = _balancer(resource)
    return found["access_logs.s3.enabled"] == "true" and bool(found["access_logs.s3.bucket"])


@rule(
    "balancer-stays",
    BALANCER,
    what="Where data is retained the load balancer cannot be deleted by mistake",
    why="its name is what callers have written down",
    fix="set deletion_protection.enabled to true",
)
def balancer_stays(resource: Resource, template: Template) -> bool:
    return not template.retain_data or _balancer(resource)["deletion_protection.enabled"] == "true"


@rule(
    "modern-tls",
    LISTENER,
    what="A listener with a certificate speaks TLS 1.2 or newer",
    why="the default policy still accepts TLS 1.0",
    fix="set SslPolicy to one of TLS 1.2 or 1.3 only",
)
def modern_tls(resource: Resource, _: Template) -> bool:
    if resource.at("Protocol") == "HTTP":
        return not resource.at("Certificates")
    return bool(resource.at("Certificates")) and str(resource.at("SslPolicy")).startswith(TLS_POLICIES)


@rule(
    "callers-are-verified",
    LISTENER,
    TRUST_STORE,
    what="Where callers show certificates, one that is unknown or expired ends the connection",
    why="passing it through leaves the decision to servers that take none",
    fix="set MutualAuthentication to verify with the trust store, without IgnoreClientCertificateExpiry",
)
def callers_are_verified(resource: Resource, template: Template) -> bool:
    if resource.type == TRUST_STORE:
        found = template.beside(resource, LISTENER, "MutualAuthentication", "TrustStoreArn")
        return any(True for _ in found)
    asked = resource.at("MutualAuthentication")
    return asked is None or (
        asked["Mode"] == "verify"
        and bool(asked["TrustStoreArn"])
        and asked.get("IgnoreClientCertificateExpiry") is not True
        and resource.at("Protocol") == "HTTPS"
    )


@rule(
    "closed-ingress",
    SECURITY_GROUP,
    INGRESS,
    what="Nobody is let in from everywhere",
    why="callers are known; an open door is found within minutes",
    fix="name addresses or a security group, and the port",
)
def closed_ingress(resource: Resource, _: Template) -> bool:
    return all(not _is_everywhere(row) and _ports(row) is not None for row in _rows(resource, "Ingress"))


@rule(
    "closed-egress",
    SECURITY_GROUP,
    EGRESS,
    what="What leaves without a named receiver is HTTPS",
    why="a group without egress rules lets everything out, and so would a foothold",
    fix="give egress rules: port 443, or a receiver",
)
def closed_egress(resource: Resource, template: Template) -> bool:
    rows = _rows(resource, "Egress")
    if not rows:
        return any(True for _ in template.beside(resource, EGRESS, "GroupId"))
    return all(not _is_everywhere(row) or _ports(row) == (HTTPS, HTTPS) for row in rows)


@rule(
    "private-subnets",
    SUBNET,
    what="A subnet gives no public addresses",
    why="everything in it is reached from inside",
    fix="set MapPublicIpOnLaunch to false",
)
def private_subnets(resource: Resource, _: Template) -> bool:
    return resource.at("MapPublicIpOnLaunch") in (None, False)


@rule(
    "no-way-out",
    *WAYS_OUT,
    what="The network has no door to the internet",
    why="what cannot leave cannot be stolen that way; AWS is reached by private endpoints",
    fix="remove it and add an endpoint for the service that is missing",
)
def no_way_out(_resource: Resource, _: Template) -> bool:
    return False


@rule(
    "flows-are-logged",
    VPC,
    what="All traffic of the network is logged",
    why="refused packets are the first sign of somebody trying",
    fix="add a flow log of TrafficType ALL",
)
def flows_are_logged(resource: Resource, template: Template) -> bool:
    return any(log.at("TrafficType") == "ALL" for log in template.beside(resource, FLOW_LOG, "ResourceId"))


@rule(
    "private-endpoints",
    ENDPOINT,
    what="Interface endpoints answer under the service's own name and have a security group",
    why="otherwise the SDKs look for a way to the internet, or the VPC's default group decides",
    fix="set PrivateDnsEnabled and SecurityGroupIds",
)
def private_endpoints(resource: Resource, _: Template) -> bool:
    if resource.at("VpcEndpointType") != "Interface":
        return bool(resource.at("RouteTableIds"))
    return resource.at("PrivateDnsEnabled") is True and bool(resource.at("SecurityGroupIds"))


@rule(
    "endpoints-know-for-whom",
    ENDPOINT,
    what="An endpoint lets this account's principals through, and S3's to the project's own buckets only",
    why="credentials of another account would otherwise carry a model out through our own door",
    fix="set PolicyDocument; require aws:PrincipalAccount, and name the buckets",
)
def endpoints_know_for_whom(resource: Resource, _: Template) -> bool:
    rows = [row for row in listed(resource.at("PolicyDocument")["Statement"]) if row["Effect"] == "Allow"]
    is_s3 = text(resource.at("ServiceName")).endswith(".s3")
    return bool(rows) and all(_is_for_us(row, is_s3=is_s3) or _is_for_layers(row) for row in rows)


def _is_for_us(row: dict[str, Any], *, is_s3: bool) -> bool:
    """For this account; ``is_s3``: to named buckets."""
    account = at(row, "Condition", "StringEquals", "aws:PrincipalAccount")
    places = [text(place) for place in listed(row["Resource"])]
    return bool(account) and "NotResource" not in row and not (is_s3 and any(_is_any(p) for p in places))


def _is_any(place: str) -> bool:
    """Whether a wildcard is in the bucket's name."""
    return "*" in place.partition(":s3:::")[2].partition("/")[0] or ":s3:::" not in place


def _is_for_layers(row: dict[str, Any]) -> bool:
    """Reading the layers of images from ECR's bucket, for whoever has an address that ECR signed."""
    places = [text(place) for place in listed(row["Resource"])]
    layers = all(_READ_FROM_AWS.search(place) for place in places)
    return listed(row["Action"]) == ["s3:GetObject"] and bool(places) and layers


def _balancer(resource: Resource) -> dict[str, str]:
    return attributes(resource, "LoadBalancerAttributes")


def _rows(resource: Resource, direction: str) -> list[Any]:
    """Rules of a group, or the one rule that is a resource of its own."""
    if resource.type == SECURITY_GROUP:
        return listed(resource.at(f"SecurityGroup{direction}"))
    return [resource.at()]


def _is_everywhere(row: dict[str, Any]) -> bool:
    return row.get("CidrIp") in EVERYWHERE or row.get("CidrIpv6") in EVERYWHERE


def _ports(row: dict[str, Any]) -> tuple[int, int] | None:
    """First and last port; None where every protocol or port is meant."""
    if str(row.get("IpProtocol")) == "-1" or row.get("FromPort") is None:
        return None
    return int(row["FromPort"]), int(row["ToPort"])
