"""A network without a way out: isolated subnets, and a private door to each AWS service we use.

    new        a VPC of the stack's own, with endpoints and flow logs
    existing   a VPC by its ids (``network.vpc_id``), in which the stack makes the endpoints unless told
               that they are there; its routes, its flow logs and its way out are its owner's

Both are an ``IVpc`` with isolated subnets, which is all that the other stacks know.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra import names
from infra.logs import make_log_group
from infra.private_endpoints import apply_policy, s3_policy, service_policy, services
from infra.roles import service_role, write_log
from infra.stack import ZONES, ProjectStack
from settings.model import Settings

HTTPS = 443
ISOLATED = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)


class NetworkStack(ProjectStack):
    """VPC with isolated subnets in two zones (or those of the settings), endpoints and flow logs."""

    def __init__(self, scope: Construct, *, settings: Settings, key: kms.IKey, bakes: bool) -> None:
        super().__init__(scope, names.NETWORK, settings=settings, description="traceship: isolated network")
        self._settings, self._bakes = settings, bakes
        if settings.network.vpc_id is None:
            self.flow_logs = make_log_group(self, "network", key=key)
            self.vpc = self._new()
            self.promise(self.vpc.vpc_id, *(subnet.subnet_id for subnet in self.vpc.isolated_subnets))
        else:
            self.vpc = self._existing(settings.network.vpc_id)
        if settings.network.make_endpoints:
            self._s3_gateway()
            self._endpoints()
        else:
            # CloudFormation takes no stack without a resource, and this one does nothing.
            cdk.CfnWaitConditionHandle(self, "EndpointsAreThere")
        cdk.CfnOutput(self, "VpcId", value=self.vpc.vpc_id)

    def _new(self) -> ec2.IVpc:
        vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(self._settings.network.cidr),
            max_azs=len(self._settings.project.zones) or ZONES,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="Isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
            ],
            # The CDK would close the default group with a Lambda function; nothing of ours is in it.
            restrict_default_security_group=False,
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

    def _existing(self, vpc_id: str) -> ec2.IVpc:
        """By ids alone; the CDK's ``from_lookup`` would ask the account at synth."""
        subnets = self._settings.network.subnets
        return ec2.Vpc.from_vpc_attributes(
            self,
            "Vpc",
            vpc_id=vpc_id,
            vpc_cidr_block=self._settings.network.cidr,
            availability_zones=[subnet.zone for subnet in subnets],
            isolated_subnet_ids=[subnet.id for subnet in subnets],
            isolated_subnet_route_table_ids=[subnet.route_table for subnet in subnets],
        )

    def _s3_gateway(self) -> None:
        gateway = ec2.GatewayVpcEndpoint(
            self._place,
            "S3",
            vpc=self.vpc,
            service=ec2.GatewayVpcEndpointAwsService.S3,
            subnets=[ISOLATED],
        )
        apply_policy(gateway, s3_policy(self, bakes=self._bakes))

    def _endpoints(self) -> None:
        cidr = self._settings.network.cidr
        doors = ec2.SecurityGroup(
            self,
            "Endpoints",
            vpc=self.vpc,
            description="Private endpoints of AWS services",
            allow_all_outbound=False,
        )
        doors.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(HTTPS), "HTTPS from the VPC")
        for name, (service, prefix) in services(self._settings, bakes=self._bakes).items():
            endpoint = ec2.InterfaceVpcEndpoint(
                self._place,
                name,
                vpc=self.vpc,
                service=service,
                subnets=ISOLATED,
                security_groups=[doors],
                open=False,
                private_dns_enabled=True,
            )
            apply_policy(endpoint, service_policy(self, prefix))

    @property
    def _place(self) -> Construct:
        """Below a VPC of our own, where endpoints have always been: CloudFormation cannot replace one,
        because the private name of its service is taken until the old one is gone."""
        return self.vpc if isinstance(self.vpc, Construct) else self
