"""Roles, and the permissions that several of them need, each as narrow as the service allows.

A role's permissions are one customer-managed policy that exists before the role does, so nothing
starts with a role that cannot do its work yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from constructs import Construct

from artifact.release import Image, blob_key
from infra.artifacts_stack import ArtifactsStack
from infra.exact_keys import BLOBS_A_POLICY
from infra.images import repository_arn
from infra.stack import ProjectStack

EC2 = "ec2.amazonaws.com"


def service_role(
    stack: Construct,
    construct_id: str,
    service: str,
    description: str,
    statements: Sequence[iam.PolicyStatement],
    *,
    blobs: Sequence[iam.PolicyStatement] = (),
) -> iam.Role:
    """A role that ``service`` may assume, on behalf of this account only, with these permissions.

    ``blobs``: statements so long that each needs a policy of its own.

    EC2 is the exception: it does not say for which account it hands a role to an instance, and
    only a principal that may pass the role can start an instance with it.
    """
    own = {"StringEquals": {"aws:SourceAccount": cdk.Stack.of(stack).account}}
    policies = [
        iam.ManagedPolicy(stack, name, description=description, statements=held)
        for name, held in (
            (f"{construct_id}Policy", list(statements)),
            *((f"{construct_id}Blobs{at}", [statement]) for at, statement in enumerate(blobs, 1)),
        )
    ]
    return iam.Role(
        stack,
        construct_id,
        assumed_by=iam.ServicePrincipal(service, conditions=None if service == EC2 else own),
        description=description,
        managed_policies=[*policies],
    )


def pull_image(image: Image) -> list[iam.PolicyStatement]:
    """Pull from the repository of one image."""
    return pull_from(repository_arn(image))


def pull_from(repository: str) -> list[iam.PolicyStatement]:
    """Pull from the repository with this ARN; ECR grants the login for all of them or for none."""
    return [
        _allow("RegistryLogin", ["ecr:GetAuthorizationToken"], "*"),
        _allow(
            "PullImage",
            ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            repository,
        ),
    ]


def read_objects(artifacts: ArtifactsStack, *keys: str, writes: bool = False) -> list[iam.PolicyStatement]:
    """Read these keys of the artifacts bucket and decrypt what they hold.

    ``writes``: the same role writes other keys (``write_objects``), for which the key is used, too.
    """
    arns = [artifacts.object_arn(key) for key in keys]
    used = ("kms:Decrypt", "kms:GenerateDataKey") if writes else ("kms:Decrypt",)
    return [_allow("Read", ["s3:GetObject"], *arns), use_key(artifacts, *used)]


def write_objects(artifacts: ArtifactsStack, *keys: str, sid: str) -> iam.PolicyStatement:
    """Write these keys of the artifacts bucket; the key is not in it (``read_objects``)."""
    return _allow(sid, ["s3:PutObject"], *(artifacts.object_arn(key) for key in keys))


def use_key_for_bucket(artifacts: ArtifactsStack, key_arn: str, *, sid: str) -> iam.PolicyStatement:
    """Encrypt objects of the artifacts bucket with a key that is not the project's."""
    return _only_for_bucket(_allow(sid, ["kms:Decrypt", "kms:GenerateDataKey"], key_arn), artifacts)


def publish_to(
    topics: Sequence[sns.ITopic], *, own: Sequence[sns.ITopic], key: kms.IKey
) -> list[iam.PolicyStatement]:
    """Publish to these topics, and use ``key`` for those that the stack encrypts with it.

    Source of the encryption context: SNS developer guide, "Key management".
    """
    publish = _allow("Publish", ["sns:Publish"], *dict.fromkeys(topic.topic_arn for topic in topics))
    if not own:
        return [publish]
    encrypt = _allow("TopicKey", ["kms:Decrypt", "kms:GenerateDataKey"], key.key_arn)
    encrypt.add_condition(
        "StringEquals",
        {
            "kms:ViaService": f"sns.{cdk.Aws.REGION}.{cdk.Aws.URL_SUFFIX}",
            "kms:EncryptionContext:aws:sns:topicArn": [topic.topic_arn for topic in own],
        },
    )
    return [publish, encrypt]


def look_at_alarms(alarms: Sequence[cloudwatch.IAlarm]) -> list[iam.PolicyStatement]:
    """Look at these alarms, so that SageMaker can go back to the old release when one fires.

    Source: SageMaker guide, "Auto-Rollback Configuration and Monitoring".
    """
    return [_allow("LookAtAlarms", ["cloudwatch:DescribeAlarms"], *(alarm.alarm_arn for alarm in alarms))]


def read_blobs(artifacts: ArtifactsStack, blobs: Sequence[str]) -> list[iam.PolicyStatement]:
    """Read the blobs with these digests, in as many statements as policies are needed."""
    arns = [artifacts.object_arn(blob_key(digest)) for digest in blobs]
    parts = [arns[at : at + BLOBS_A_POLICY] for at in range(0, len(arns), BLOBS_A_POLICY)]
    return [_allow("ReadBlobs", ["s3:GetObject"], *part) for part in parts]


def read_releases(artifacts: ArtifactsStack) -> list[iam.PolicyStatement]:
    """Read every release, list them, and nothing else.

    Blobs are listed too: to a role that may not list, S3 answers 403 and not 404 for one that is missing.
    """
    places = ("releases", "blobs")
    return [
        _list_below(artifacts, *places),
        _allow("Read", ["s3:GetObject"], *(artifacts.object_arn(f"{place}/*") for place in places)),
        use_key(artifacts, "kms:Decrypt"),
    ]


def take_requests(artifacts: ArtifactsStack) -> list[iam.PolicyStatement]:
    """Read requests, models and results; write the answer beside a request, and models by their content."""
    readable, writable = ("requests", "models", "compiled"), ("requests", "models")
    return [
        _list_below(artifacts, *readable),
        _allow("Read", ["s3:GetObject"], *(artifacts.object_arn(f"{place}/*") for place in readable)),
        _allow("Write", ["s3:PutObject"], *(artifacts.object_arn(f"{place}/*") for place in writable)),
        use_key(artifacts, "kms:Decrypt", "kms:GenerateDataKey"),
    ]


def start_executions(machine_arn: str) -> list[iam.PolicyStatement]:
    """Start executions of one state machine."""
    return [_allow("Start", ["states:StartExecution"], machine_arn)]


def follow_executions(stack: ProjectStack, machine_name: str) -> list[iam.PolicyStatement]:
    """Look at executions of one state machine, whose names nobody knows before."""
    executions = stack.format_arn(
        service="states",
        resource="execution",
        resource_name=f"{machine_name}:*",
        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
    )
    return [_allow("Follow", ["states:DescribeExecution"], executions)]


def exchange_objects(artifacts: ArtifactsStack, *, read: str, write: str) -> list[iam.PolicyStatement]:
    """Read the objects below one prefix, read and write those below another, list both."""
    return [
        _list_below(artifacts, read, write),
        _allow("Read", ["s3:GetObject"], *(artifacts.object_arn(f"{prefix}/*") for prefix in (read, write))),
        _allow("Write", ["s3:PutObject"], artifacts.object_arn(f"{write}/*")),
        use_key(artifacts, "kms:Decrypt", "kms:GenerateDataKey"),
    ]


def write_log(group: logs.ILogGroup) -> list[iam.PolicyStatement]:
    """Write to streams of one log group; the ARN that CloudWatch returns ends in ``:*``."""
    return [_allow("Log", ["logs:CreateLogStream", "logs:PutLogEvents"], group.log_group_arn)]


def be_reached_by_session_manager() -> list[iam.PolicyStatement]:
    """Let a person open a session through Session Manager; there is no other way in.

    These actions know no resources. AmazonSSMManagedInstanceCore would add reading every parameter.
    """
    channels = ("CreateControlChannel", "CreateDataChannel", "OpenControlChannel", "OpenDataChannel")
    actions = ["ssm:UpdateInstanceInformation", *(f"ssmmessages:{name}" for name in channels)]
    return [_allow("SessionManager", actions, "*")]


def be_built_by_image_builder(component_arns: Sequence[str]) -> list[iam.PolicyStatement]:
    """Let Image Builder run commands on a machine through Systems Manager, and read what it is to run.

    Source: EC2InstanceProfileForImageBuilder and AmazonSSMManagedInstanceCore, less what no step here uses.
    The ``ec2messages`` actions know no resources.
    """
    verbs = ("AcknowledgeMessage", "DeleteMessage", "FailMessage", "GetEndpoint", "GetMessages", "SendReply")
    return [
        _allow("RunCommand", [f"ec2messages:{verb}" for verb in verbs], "*"),
        _allow("Components", ["imagebuilder:GetComponent"], *component_arns),
    ]


def attach_to_vpc() -> list[iam.PolicyStatement]:
    """Let SageMaker attach a model's containers to the VPC.

    Source: SageMaker guide, "SageMaker roles", CreateModel with a VPC. The describe calls know no
    resources and the interfaces do not exist when the permission is given.
    """
    changes = [
        f"ec2:{verb}NetworkInterface{what}" for verb in ("Create", "Delete") for what in ("", "Permission")
    ]
    looks = [
        f"ec2:Describe{what}"
        for what in ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")
    ]
    return [_allow("AttachToVpc", [*changes, *looks], "*")]


def run_batch_jobs(
    queue_arns: Sequence[str], job_definition_arn: str, stack: ProjectStack
) -> list[iam.PolicyStatement]:
    """Let a state machine submit one job definition to these queues, wait for it and end it.

    Source: Step Functions guide, "IAM policies for calling AWS Batch" (submitJob.sync).
    """
    rule = stack.format_arn(
        service="events", resource="rule", resource_name="StepFunctionsGetEventsForBatchJobsRule"
    )
    return [
        _allow("Submit", ["batch:SubmitJob"], *queue_arns, job_definition_arn),
        _allow("Wait", ["batch:DescribeJobs", "batch:TerminateJob"], "*"),
        _allow("Events", ["events:DescribeRule", "events:PutRule", "events:PutTargets"], rule),
    ]


def record_executions() -> list[iam.PolicyStatement]:
    """Let a state machine deliver its log and its traces; none of these actions knows resources.

    Source: Step Functions guide, "Logging to CloudWatch Logs" and "X-Ray".
    """
    deliveries = [f"logs:{verb}LogDelivery" for verb in ("Create", "Delete", "Get", "Update")]
    others = ["ListLogDeliveries", "PutResourcePolicy", "DescribeResourcePolicies", "DescribeLogGroups"]
    traces = ["PutTraceSegments", "PutTelemetryRecords", "GetSamplingRules", "GetSamplingTargets"]
    return [
        _allow("DeliverLog", [*deliveries, *(f"logs:{name}" for name in others)], "*"),
        _allow("Trace", [f"xray:{name}" for name in traces], "*"),
    ]


def be_an_ecs_instance() -> list[iam.PolicyStatement]:
    """Let the ECS agent of an instance join the cluster that Batch makes, and report what its tasks do.

    Batch names the cluster when it makes it. Source: ECS guide, "Amazon ECS container instance IAM role".
    """
    actions = [
        "DeregisterContainerInstance",
        "DiscoverPollEndpoint",
        "Poll",
        "RegisterContainerInstance",
        "StartTelemetrySession",
        "SubmitAttachmentStateChanges",
        "SubmitContainerStateChange",
        "SubmitTaskStateChange",
        "UpdateContainerInstancesState",
    ]
    return [_allow("EcsAgent", [f"ecs:{name}" for name in actions], "*")]


def _list_below(artifacts: ArtifactsStack, *prefixes: str) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        sid="List",
        actions=["s3:ListBucket"],
        resources=[artifacts.bucket_arn],
        conditions={"StringLike": {"s3:prefix": [f"{prefix}/*" for prefix in prefixes]}},
    )


def use_key(artifacts: ArtifactsStack, *actions: str, sid: str = "BucketKey") -> iam.PolicyStatement:
    """Use the key for objects of the artifacts bucket and for nothing else."""
    return _only_for_bucket(_allow(sid, actions, artifacts.key.key_arn), artifacts)


def _only_for_bucket(statement: iam.PolicyStatement, artifacts: ArtifactsStack) -> iam.PolicyStatement:
    """By way of S3 only. With bucket keys on, S3's encryption context is the bucket's ARN."""
    statement.add_condition(
        "StringEquals",
        {
            "kms:ViaService": f"s3.{cdk.Aws.REGION}.{cdk.Aws.URL_SUFFIX}",
            "kms:EncryptionContext:aws:s3:arn": artifacts.bucket_arn,
        },
    )
    return statement


def _allow(sid: str, actions: Sequence[str], *resources: str) -> iam.PolicyStatement:
    return iam.PolicyStatement(sid=sid, actions=list(actions), resources=list(resources))
