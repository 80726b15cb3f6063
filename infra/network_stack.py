"""A VPC without a way out: isolated subnets, and a private door to each AWS service we use."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra import names
from infra.logs import make_log_group
from infra.roles import service_role, write_log
from infra.stack import ZONES, ProjectStack
from settings.model import Settings

SERVICES = {
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "Monitoring": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_MONITORING,
    "Ssm": ec2.InterfaceVpcEndpointAwsService.SSM,
    "SsmMessages": ec2.InterfaceVpcEndpointAwsService.SSM_MESSAGES,
    "Ec2Messages": ec2.InterfaceVpcEndpointAwsService.EC2_MESSAGES,
    "Kms": ec2.InterfaceVpcEndpointAwsService.KMS,
    "Sts": ec2.InterfaceVpcEndpointAwsService.STS,
    "AutoScaling": ec2.InterfaceVpcEndpointAwsService.AUTOSCALING,
}
"""Every API that an instance or a container of ours calls; S3 has a gateway instead."""

HTTPS = 443


class NetworkStack(ProjectStack):
    """VPC with isolated subnets in two zones (or those of the settings), endpoints and flow logs."""

    def __init__(self, scope: Construct, *, settings: Settings, key: kms.IKey) -> None:
        super().__init__(scope, names.NETWORK, settings=settings, description="traceship: isolated network")
        self._cidr = settings.network.cidr
        self.flow_logs = make_log_group(self, "network", key=key)
        self.vpc = self._vpc(settings)
        self._endpoints()
        self.promise(self.vpc.vpc_id, *(subnet.subnet_id for subnet in self.vpc.isolated_subnets))
        cdk.CfnOutput(self, "VpcId", value=self.vpc.vpc_id)

    def _vpc(self, settings: Settings) -> ec2.Vpc:
        vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(self._cidr),
            max_azs=len(settings.project.zones) or ZONES,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="Isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
            ],
            # The CDK would close the default group with a Lambda function; nothing of ours is in it.
            restrict_default_security_group=False,
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)
            },
        )
        role = service_role(
            self, "FlowLogRole", "vpc-flow-logs.amazonaws.com", "Flow logs", write_log(self.flow_logs)
        )
        vpc.add_flow_log(
            "FlowLog",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(
                self.flow_logs, role.without_policy_updates()
            ),
        )
        return vpc

    def _endpoints(self) -> None:
        doors = ec2.SecurityGroup(
            self,
            "Endpoints",
            vpc=self.vpc,
            description="Private endpoints of AWS services",
            allow_all_outbound=False,
        )
        doors.add_ingress_rule(ec2.Peer.ipv4(self._cidr), ec2.Port.tcp(HTTPS), "HTTPS from the VPC")
        for name, service in SERVICES.items():
            self.vpc.add_interface_endpoint(
                name, service=service, security_groups=[doors], open=False, private_dns_enabled=True
            )
