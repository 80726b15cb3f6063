"""One release as a SageMaker model: its archive, its image, and a role that may do just that.

Named by what it holds, so that a changed model is a new one and a rollback finds the old one as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from artifact import serving
from artifact.canonical import encode
from artifact.release import ReleaseLock, archive_key
from infra.artifacts_stack import ArtifactsStack
from infra.boot import serve_environment
from infra.images import uri
from infra.roles import attach_to_vpc, pull_image, read_objects, service_role, write_log
from infra.signing import signing_environment
from infra.stack import ProjectStack
from settings.model import Settings

HTTPS = 443
SAGEMAKER = "sagemaker.amazonaws.com"


@dataclass(frozen=True)
class Surroundings:
    """What the models of one endpoint share. ``group`` and ``subnets``: where SageMaker attaches them.

    ``also_read``: keys beside the archive; ``may``: what the role does beyond fetching and logging;
    ``writes``: part of that is writing to the artifacts bucket with the project's key.
    """

    settings: Settings
    artifacts: ArtifactsStack
    subnets: Sequence[str]
    group: ec2.ISecurityGroup
    log: logs.ILogGroup
    also_read: Sequence[str]
    may: Sequence[iam.PolicyStatement]
    writes: bool


def containers_group(stack: ProjectStack, vpc: ec2.IVpc) -> ec2.SecurityGroup:
    """Nobody comes in; out goes HTTPS, to the private endpoints."""
    group = ec2.SecurityGroup(
        stack, "Containers", vpc=vpc, description="Containers of the endpoint", allow_all_outbound=False
    )
    group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(HTTPS), "AWS services by private endpoints")
    return group


def make_model(
    stack: ProjectStack, scope: Construct, *, lock: ReleaseLock, service: str, around: Surroundings
) -> sagemaker.CfnModel:
    """Role and model of ``lock``, below ``scope``.

    ``service``: what its servers call themselves in the metrics.
    """
    role = _role(stack, scope, lock, around)
    archive = archive_key(lock.name, lock.digest)
    properties: dict[str, Any] = {
        "execution_role_arn": role.role_arn,
        "enable_network_isolation": True,
        "primary_container": sagemaker.CfnModel.ContainerDefinitionProperty(
            image=uri(lock.serving_image),
            model_data_url=f"s3://{around.artifacts.bucket.bucket_name}/{archive}",
            environment={
                serving.ENV_DIGEST: lock.digest,
                **serve_environment(around.settings.serve, service=service),
                **signing_environment(around.settings.signing, lock),
            },
        ),
        "vpc_config": sagemaker.CfnModel.VpcConfigProperty(
            security_group_ids=[around.group.security_group_id], subnets=list(around.subnets)
        ),
    }
    return sagemaker.CfnModel(scope, "Model", model_name=content_name(stack, lock, properties), **properties)


def content_name(stack: ProjectStack, lock: ReleaseLock, properties: dict[str, Any]) -> str:
    """Project, release and a digest of every property: another content is another name."""
    content = hashlib.sha256(encode(stack.resolve(properties))).hexdigest()[:8]
    return f"{stack.prefix}-{lock.digest[:12]}-{content}"


def _role(stack: ProjectStack, scope: Construct, lock: ReleaseLock, around: Surroundings) -> iam.Role:
    """What SageMaker does for the model: fetch that archive and image, log, join the VPC."""
    archive = archive_key(lock.name, lock.digest)
    may = [
        *read_objects(around.artifacts, archive, *around.also_read, writes=around.writes),
        *pull_image(lock.serving_image),
        *attach_to_vpc(),
        *write_log(around.log),
        *around.may,
    ]
    role = service_role(scope, "Role", SAGEMAKER, "SageMaker endpoint", may)
    stack.name_identities_by(lock.digest, within=scope)
    return role
