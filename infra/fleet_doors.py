"""The way in: callers → internal load balancer → port 8080 of instances. Nothing else opens."""

from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_s3 as s3

from artifact import serving
from infra.artifacts_stack import LOAD_BALANCER_LOGS, ArtifactsStack
from infra.stack import ProjectStack
from infra.timing import drain_seconds, idle_seconds
from settings.fleet import Mtls
from settings.model import Fleet, Serve, Settings

HTTP = 80
HTTPS = 443
TLS_POLICIES = {
    "TLS13-1-2-2021-06": elb.SslPolicy.RECOMMENDED_TLS,
    "TLS13-1-2-Res-2021-06": elb.SslPolicy.TLS13_RES,
    "TLS13-1-3-2021-06": elb.SslPolicy.TLS13_13,
    "TLS13-1-2-Res-PQ-2025-09": elb.SslPolicy.TLS13_12_RES_PQ,
    "TLS13-1-3-PQ-2025-09": elb.SslPolicy.TLS13_13_PQ,
    "TLS13-1-2-Res-FIPS-2023-04": elb.SslPolicy.FIPS_TLS13_12_RES,
    "TLS13-1-3-FIPS-2023-04": elb.SslPolicy.FIPS_TLS13_13,
}


@dataclass(frozen=True)
class Doors:
    """What callers reach and what it reaches. ``inside``: the security group of the instances."""

    inside: ec2.SecurityGroup
    load_balancer: elb.ApplicationLoadBalancer
    targets: elb.ApplicationTargetGroup


def make_doors(
    stack: ProjectStack,
    *,
    settings: Settings,
    fleet: Fleet,
    artifacts: ArtifactsStack,
    vpc: ec2.IVpc,
    subnets: ec2.SubnetSelection,
) -> Doors:
    """Add load balancer, listener, target group and both security groups to ``stack``."""
    door, inside = _security_groups(stack, settings=settings, fleet=fleet, vpc=vpc)
    balancer = elb.ApplicationLoadBalancer(
        stack,
        "LoadBalancer",
        vpc=vpc,
        vpc_subnets=subnets,
        internet_facing=False,
        security_group=door,
        deletion_protection=settings.project.retain_data,
        idle_timeout=cdk.Duration.seconds(idle_seconds(settings.serve)),
        drop_invalid_header_fields=True,
        desync_mitigation_mode=elb.DesyncMitigationMode.STRICTEST,
    )
    # log_access_logs() asks for a region at synth; the attributes need none.
    balancer.set_attribute("access_logs.s3.enabled", "true")
    balancer.set_attribute("access_logs.s3.bucket", artifacts.logs_bucket.bucket_name)
    balancer.set_attribute("access_logs.s3.prefix", LOAD_BALANCER_LOGS)
    targets = _target_group(stack, settings.serve, vpc)
    _listener(balancer, fleet, targets)
    return Doors(inside=inside, load_balancer=balancer, targets=targets)


def _port(fleet: Fleet) -> int:
    return HTTP if fleet.certificate_arn is None else HTTPS


def _security_groups(
    stack: ProjectStack, *, settings: Settings, fleet: Fleet, vpc: ec2.IVpc
) -> tuple[ec2.SecurityGroup, ec2.SecurityGroup]:
    """Callers → load balancer → port 8080 of instances → HTTPS; nothing else opens.

    Egress to 443 names no addresses: S3's change, and subnets without a route out reach
    only the VPC's own endpoints with it.
    """
    door = ec2.SecurityGroup(
        stack, "Door", vpc=vpc, allow_all_outbound=False, description="Load balancer of the fleet"
    )
    inside = ec2.SecurityGroup(
        stack, "Instances", vpc=vpc, allow_all_outbound=False, description="Instances of the fleet"
    )
    for caller in _callers(settings, fleet):
        door.add_ingress_rule(caller, ec2.Port.tcp(_port(fleet)), "Callers")
    serving_port = ec2.Port.tcp(serving.PORT)
    door.add_egress_rule(inside, serving_port, "Requests and health checks")
    inside.add_ingress_rule(door, serving_port, "Requests and health checks")
    inside.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(HTTPS), "AWS services by private endpoints")
    return door, inside


def _callers(settings: Settings, fleet: Fleet) -> list[ec2.IPeer]:
    """Those that the settings name, by address or by group; the VPC where they name nobody."""
    named = [
        *(ec2.Peer.ipv4(cidr) for cidr in fleet.client_cidrs),
        *(ec2.Peer.security_group_id(group) for group in fleet.client_security_groups),
    ]
    return named or [ec2.Peer.ipv4(settings.network.cidr)]


def _target_group(stack: ProjectStack, serve: Serve, vpc: ec2.IVpc) -> elb.ApplicationTargetGroup:
    return elb.ApplicationTargetGroup(
        stack,
        "Targets",
        vpc=vpc,
        port=serving.PORT,
        protocol=elb.ApplicationProtocol.HTTP,
        target_type=elb.TargetType.INSTANCE,
        deregistration_delay=cdk.Duration.seconds(drain_seconds(serve)),
        load_balancing_algorithm_type=elb.TargetGroupLoadBalancingAlgorithmType.LEAST_OUTSTANDING_REQUESTS,
        health_check=elb.HealthCheck(
            path=serving.PING,
            healthy_http_codes="200",
            interval=cdk.Duration.seconds(10),
            timeout=cdk.Duration.seconds(5),
            healthy_threshold_count=2,
            unhealthy_threshold_count=3,
        ),
    )


def _listener(
    balancer: elb.ApplicationLoadBalancer, fleet: Fleet, targets: elb.ApplicationTargetGroup
) -> None:
    secure = fleet.certificate_arn is not None
    balancer.add_listener(
        "Listener",
        port=_port(fleet),
        protocol=elb.ApplicationProtocol.HTTPS if secure else elb.ApplicationProtocol.HTTP,
        certificates=[elb.ListenerCertificate.from_arn(str(fleet.certificate_arn))] if secure else None,
        ssl_policy=TLS_POLICIES[fleet.tls_policy] if secure else None,
        mutual_authentication=None if fleet.mtls is None else _verified_callers(balancer, fleet.mtls),
        open=False,
        default_target_groups=[targets],
    )


def _verified_callers(balancer: elb.ApplicationLoadBalancer, mtls: Mtls) -> elb.MutualAuthentication:
    """The load balancer itself refuses a caller whose certificate none of the authorities issued."""
    bucket, _, key = mtls.ca_bundle.removeprefix("s3://").partition("/")
    stack = cdk.Stack.of(balancer)
    return elb.MutualAuthentication(
        mutual_authentication_mode=elb.MutualAuthenticationMode.VERIFY,
        ignore_client_certificate_expiry=False,
        trust_store=elb.TrustStore(
            stack,
            "Callers",
            bucket=s3.Bucket.from_bucket_name(stack, "CallersBucket", bucket),
            key=key,
            version=mtls.version,
        ),
    )
