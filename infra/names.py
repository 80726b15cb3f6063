"""Names that the stacks, the command and a person with a console must all arrive at.

Imports no CDK, so that the command can ask for a bucket's name without starting Node.
"""

from __future__ import annotations

from settings.model import Settings

ARTIFACTS = "artifacts"
NETWORK = "network"
COMPILE = "compile"
FLEET = "fleet"
ENDPOINT = "endpoint"

FOUNDATION = (ARTIFACTS, NETWORK, COMPILE)
"""Stacks that need no release; a release is published into the first of them."""

STATE_MACHINE_OUTPUT = "StateMachineArn"
QUEUES_OUTPUT = "JobQueues"
JOB_LOGS_OUTPUT = "JobLogs"
COMPILE_IMAGE_OUTPUT = "CompileImage"
"""Outputs of the compile stack. ``JobQueues`` are names or ARNs with commas between them."""

MAX_PROJECT_NAME = 25
"""Longest project.name whose bucket name fits S3's 63 characters in every region: 63 less
``-artifacts-``, a 12-digit account, a dash and a 14-character region."""


def stack_name(project: str, role: str) -> str:
    """CloudFormation's name of a stack."""
    return f"{project}-{role}"


def stack_names(settings: Settings, *, foundation: bool = False) -> tuple[str, ...]:
    """Names of the stacks that these settings describe, in the order in which they deploy."""
    roles = list(FOUNDATION)
    if not foundation and settings.fleet is not None:
        roles.append(FLEET)
    if not foundation and settings.endpoint is not None:
        roles.append(ENDPOINT)
    return tuple(stack_name(settings.project.name, role) for role in roles)


def artifacts_bucket(project: str, account: str, region: str) -> str:
    """S3 bucket that holds blobs and releases. In a template both may be pseudo parameters."""
    return f"{project}-artifacts-{account}-{region}"


def logs_bucket(project: str, account: str, region: str) -> str:
    """S3 bucket that receives access logs of the artifacts bucket and the load balancer."""
    return f"{project}-logs-{account}-{region}"


def key_alias(project: str) -> str:
    """Alias of the KMS key that encrypts releases, images, logs and alarms."""
    return f"alias/{project}"


def key_alias_arn(project: str, account: str, region: str) -> str:
    """The same for S3, which would look for a bare alias in the caller's account."""
    return f"arn:{_partition(region)}:kms:{region}:{account}:{key_alias(project)}"


def _partition(region: str) -> str:
    """Source: AWS general reference, "Amazon Resource Names (ARNs)"."""
    known = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
    return next((name for prefix, name in known.items() if region.startswith(prefix)), "aws")


def repository(project: str, image: str) -> str:
    """ECR repository of ``serving`` or ``compile``."""
    return f"{project}/{image}"


def endpoint_name(project: str) -> str:
    """SageMaker endpoint; fixed, because callers write it down."""
    return project


def log_group(project: str, role: str) -> str:
    """CloudWatch log group of one part. The key's policy admits groups of this prefix only."""
    return f"/traceship/{project}/{role}"
