"""The private doors to AWS's services, and for whom each of them opens.

An endpoint's policy cannot give anybody a right; it takes away what the role behind a request may do.
Each door lets this account's principals through and nobody else's, so that credentials of another
account, planted on a machine, carry nothing out of the network. S3's door leads to the project's own
buckets only, and to the bucket from which ECR serves the layers of images.

Sources: VPC guide, "Control access to VPC endpoints using endpoint policies"; ECR guide, "Amazon ECR
interface VPC endpoints", for the layers' bucket; IAM guide, "Establish permissions guardrails using
data perimeters", for ``aws:PrincipalAccount``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam

from infra import names
from infra.stack import ProjectStack
from settings.model import Settings

_Service = ec2.InterfaceVpcEndpointAwsService

SERVICES: Mapping[str, tuple[ec2.InterfaceVpcEndpointAwsService, str]] = {
    "EcrApi": (_Service.ECR, "ecr"),
    "EcrDocker": (_Service.ECR_DOCKER, "ecr"),
    "Logs": (_Service.CLOUDWATCH_LOGS, "logs"),
    "Monitoring": (_Service.CLOUDWATCH_MONITORING, "cloudwatch"),
    "Ssm": (_Service.SSM, "ssm"),
    "SsmMessages": (_Service.SSM_MESSAGES, "ssmmessages"),
    "Ec2Messages": (_Service.EC2_MESSAGES, "ec2messages"),
    "Kms": (_Service.KMS, "kms"),
    "Sts": (_Service.STS, "sts"),
    "AutoScaling": (_Service.AUTOSCALING, "autoscaling"),
}
"""Every API that an instance or a container of ours calls, with IAM's prefix of its actions."""
FOR_REQUESTS = {"States": (_Service.STEP_FUNCTIONS, "states")}
"""The job that takes compile requests starts executions."""
FOR_EC2_JOBS = {
    "Ecs": (_Service.ECS, "ecs"),
    "EcsAgent": (_Service.ECS_AGENT, "ecs"),
    "EcsTelemetry": (_Service.ECS_TELEMETRY, "ecs"),
}
"""What the ECS agent of an instance that runs compile jobs speaks to (ECS guide, "VPC endpoints")."""

FOR_BAKING = {"ImageBuilder": (_Service.IMAGE_BUILDER, "imagebuilder")}
"""The agent on a machine that builds or tests an image fetches its components. It is the network's, not the
image stack's: each service may have one of those, and a VPC has one private name of Image Builder."""

IMAGE_BUILDER = ("toe", "managed-resources")
"""Buckets of AWS's from which Image Builder's agent reads itself and its components (Image Builder guide,
"VPC endpoint policy for Amazon S3")."""

AL2023 = "de612dc2"
"""Ends the name of the bucket with Amazon Linux 2023's packages in every region (AL2023 guide)."""

_OBJECTS = ("s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject")
_LISTS = ("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads")


def services(settings: Settings, *, bakes: bool) -> dict[str, tuple[ec2.InterfaceVpcEndpointAwsService, str]]:
    """The doors that these settings need. ``bakes``: a service has an image pipeline."""
    aws = settings.compile.aws
    return {
        **SERVICES,
        **(FOR_REQUESTS if aws.requests else {}),
        **(FOR_EC2_JOBS if aws.compute == "ec2" else {}),
        **(FOR_BAKING if bakes else {}),
    }


def s3_policy(stack: ProjectStack, *, bakes: bool) -> iam.PolicyDocument:
    """The project's buckets for this account, and the layers of ECR's images for whoever has the address.

    A layer is fetched by an address that ECR signed, so ECR and not a role of ours asks S3 for it.
    ``bakes``: a service has an image pipeline, whose agent and packages lie in buckets of AWS's too.
    """
    place = (cdk.Aws.ACCOUNT_ID, cdk.Aws.REGION)
    buckets = [
        f"arn:{cdk.Aws.PARTITION}:s3:::{name(stack.project, *place)}"
        for name in (names.artifacts_bucket, names.logs_bucket)
    ]
    read = [f"prod-{cdk.Aws.REGION}-starport-layer-bucket"]
    if bakes:
        read += [f"ec2imagebuilder-{what}-{cdk.Aws.REGION}-prod" for what in IMAGE_BUILDER]
        read.append(f"al2023-repos-{cdk.Aws.REGION}-{AL2023}")
    layers = [f"arn:{cdk.Aws.PARTITION}:s3:::{name}/*" for name in read]
    return iam.PolicyDocument(
        statements=[
            _ours(stack, "OwnObjects", _OBJECTS, [f"{bucket}/*" for bucket in buckets]),
            _ours(stack, "OwnBuckets", _LISTS, buckets),
            iam.PolicyStatement(
                sid="ImageLayers",
                principals=[iam.AnyPrincipal()],
                actions=["s3:GetObject"],
                resources=layers,
            ),
        ]
    )


def apply_policy(endpoint: ec2.VpcEndpoint, policy: iam.PolicyDocument) -> None:
    """Give the whole policy at once; the CDK's own method adds statements one by one."""
    cast("ec2.CfnVPCEndpoint", endpoint.node.default_child).policy_document = policy


def service_policy(stack: ProjectStack, prefix: str) -> iam.PolicyDocument:
    """Every action of one service for this account's principals; what each may do its role says."""
    return iam.PolicyDocument(statements=[_ours(stack, "OwnAccount", (f"{prefix}:*",), ["*"])])


def _ours(
    stack: ProjectStack, sid: str, actions: tuple[str, ...], resources: list[str]
) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        sid=sid,
        principals=[iam.AnyPrincipal()],
        actions=list(actions),
        resources=resources,
        conditions={"StringEquals": {"aws:PrincipalAccount": stack.account}},
    )
