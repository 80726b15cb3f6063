"""Names that the stacks, the command and a person with a console must all arrive at.

Imports no CDK, so that the command can ask for a bucket's name without starting Node.
"""

from __future__ import annotations

from collections.abc import Sequence

from artifact.release import LOCK_FILE
from settings.model import Settings

ARTIFACTS = "artifacts"
NETWORK = "network"
COMPILE = "compile"
FLEET = "fleet"
ENDPOINT = "endpoint"
IMAGE = "image"

SERVICES = (IMAGE, FLEET, ENDPOINT)
"""Stacks that bake or serve a release; each service of the settings has its own."""
LOCK_ENDING, CANARY_ENDING = ".lock.json", ".canary.lock.json"
FOUNDATION = (ARTIFACTS, NETWORK, COMPILE)
"""Stacks that need no release and that all services share; a release is published into the first of them."""

STATE_MACHINE_OUTPUT = "StateMachineArn"
QUEUES_OUTPUT = "JobQueues"
JOB_LOGS_OUTPUT = "JobLogs"
COMPILE_IMAGE_OUTPUT = "CompileImage"
IMAGE_PIPELINE_OUTPUT = "PipelineArn"
"""Outputs of the compile stack. ``JobQueues`` are names or ARNs with commas between them."""

READY_HOOK = "Ready"
"""Lifecycle hook that a new instance of the fleet completes once its golden set has passed on this boot."""

MAX_PROJECT_NAME = 25
"""Longest project.name whose bucket name fits S3's 63 characters in every region: 63 less
``-artifacts-``, a 12-digit account, a dash and a 14-character region."""


def prefix(settings: Settings) -> str:
    """What the names of a service's resources begin with: the project, and the service if it has a name."""
    return _joined(settings.project.name, settings.service)


def release_name(settings: Settings) -> str:
    """Name of the release in S3 that the service runs; two services can run one."""
    return _joined(settings.project.name, settings.runs)


def lock_file(settings: Settings) -> str:
    """Name of the lock beside the settings: ``release[.SERVICE][@STAGE].lock.json``."""
    stem, ending = LOCK_FILE.split(".", 1)
    service = "" if settings.runs is None else f".{settings.runs}"
    stage = "" if settings.stage is None else f"@{settings.stage}"
    return f"{stem}{service}{stage}.{ending}"


def canary_lock_file(settings: Settings) -> str:
    """Name of the canary's lock beside the settings: ``release[.SERVICE][@STAGE].canary.lock.json``."""
    return lock_file(settings).removesuffix(LOCK_ENDING) + CANARY_ENDING


def role_name(settings: Settings, role: str) -> str:
    """The stack's role, with the service in front where it has a name: ``fleet`` or ``search-fleet``."""
    return f"{settings.service}-{role}" if settings.service and role in SERVICES else role


def stack_name(settings: Settings, role: str) -> str:
    """CloudFormation's name of a stack."""
    return f"{settings.project.name}-{role_name(settings, role)}"


def stack_names(services: Sequence[Settings], *, foundation: bool = False) -> tuple[str, ...]:
    """Names of the stacks of all ``services`` of a file, in the order in which they deploy."""
    shared = [stack_name(services[0], role) for role in FOUNDATION]
    if foundation:
        return tuple(shared)
    return (
        *shared,
        *(stack_name(settings, role) for settings in services for role in service_roles(settings)),
    )


def service_roles(settings: Settings) -> tuple[str, ...]:
    """Roles of the stacks that this service has."""
    wanted = {IMAGE: settings.image, FLEET: settings.fleet, ENDPOINT: settings.endpoint}
    return tuple(role for role, section in wanted.items() if section is not None)


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


def fleet_group(settings: Settings) -> str:
    """Auto Scaling group; fixed, because alarms that stop its rollouts name it and it names them."""
    return stack_name(settings, FLEET)


def endpoint_name(settings: Settings) -> str:
    """SageMaker endpoint; fixed, because callers write it down."""
    return prefix(settings)


STABLE_VARIANT = "stable"
"""The variant of an endpoint that runs the release of the lock."""


def canary_variant(digest: str) -> str:
    """The variant of a canary release. A name of its own for each release: SageMaker keeps the weight
    of a variant whose name it knows, and a release that nobody tried must begin with none."""
    return f"canary-{digest[:12]}"


def captured_prefix(endpoint: str) -> str:
    """Below it lie copies of requests; SageMaker adds ENDPOINT/VARIANT/yyyy/mm/dd/hh/."""
    return f"{CAPTURED}/{endpoint}"


def async_prefix(endpoint: str, part: str) -> str:
    """Where an async endpoint's ``input``, ``output`` or ``failed`` lie in the artifacts bucket."""
    return f"{ASYNC}/{endpoint}/{part}"


CAPTURED = "captured"
ASYNC = "async"
"""Prefixes of what endpoints leave in the artifacts bucket, each with a life of its own there."""


def rows_machine(project: str) -> str:
    """State machine that compiles rows."""
    return f"{project}-compile"


def requests_machine(project: str) -> str:
    """State machine that takes compile requests out of the bucket."""
    return f"{project}-requests"


def reverify_machine(project: str) -> str:
    """State machine that reads releases again."""
    return f"{project}-reverify"


def log_group(project: str, role: str) -> str:
    """CloudWatch log group of one part. The key's policy admits groups of this prefix only."""
    return f"/traceship/{project}/{role}"


def machine_packages(driver: str, tools: str) -> tuple[str, str]:
    """S3 keys of the Neuron packages that a machine image is baked with (infra/machine/build.sh)."""
    return f"packages/aws-neuronx-dkms-{driver}.noarch.rpm", f"packages/aws-neuronx-tools-{tools}.x86_64.rpm"


def image_builder_log_group(recipe: str) -> str:
    """Log group of a machine image's builds; the service prescribes it."""
    return f"/aws/imagebuilder/{recipe}"


PROJECT_TAG = "traceship:project"
"""Tag of every stack and its resources, with the project's name."""

STAGE_TAG = "traceship:stage"
"""Likewise with the stage's, where one was applied."""

FLEET_TAG = "traceship:fleet"
"""Tag of an Auto Scaling group, with its stack's name: what the group's instances may act on."""


def replacement_slots(fleet_stack: str) -> str:
    """Prefix in the artifacts bucket below which a fleet's instances share out their replacements."""
    return f"fleets/{fleet_stack}/replacements"


def _joined(project: str, service: str | None) -> str:
    return project if service is None else f"{project}-{service}"
