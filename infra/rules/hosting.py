"""What runs for us: SageMaker endpoints, Batch jobs, state machines."""

from __future__ import annotations

import re
from typing import Any

from infra.rules.secrets import holds_secret
from infra.rules.template import (
    Resource,
    Template,
    at,
    is_built_asset,
    is_by_digest,
    listed,
    refers_to,
    rule,
    text,
)

MODEL = "AWS::SageMaker::Model"
CONFIG = "AWS::SageMaker::EndpointConfig"
ENDPOINT = "AWS::SageMaker::Endpoint"
JOB = "AWS::Batch::JobDefinition"
MACHINE = "AWS::StepFunctions::StateMachine"
FUNCTION = "AWS::Lambda::Function"
ALARM = "AWS::CloudWatch::Alarm"
ENVIRONMENT = "AWS::Batch::ComputeEnvironment"
LAUNCH_TEMPLATE = "AWS::EC2::LaunchTemplate"
EVENT_RULE = "AWS::Events::Rule"
SCHEDULE = "AWS::Scheduler::Schedule"

FARGATE = ("FARGATE", "FARGATE_SPOT")
AMI = re.compile(r"ami-[0-9a-f]{8,17}")


@rule(
    "model-by-digest",
    MODEL,
    what="The image of an endpoint is named by its digest",
    why="a tag can mean something else when SageMaker replaces an instance",
    fix="use repository@sha256:digest",
)
def model_by_digest(resource: Resource, _: Template) -> bool:
    return is_by_digest(resource.at("PrimaryContainer")["Image"])


@rule(
    "model-is-isolated",
    MODEL,
    what="The containers of an endpoint have no network",
    why="a model that was tampered with has nobody to call",
    fix="set EnableNetworkIsolation",
)
def model_is_isolated(resource: Resource, _: Template) -> bool:
    return resource.at("EnableNetworkIsolation") is True


@rule(
    "model-in-the-vpc",
    MODEL,
    what="An endpoint fetches its model inside the VPC",
    why="otherwise it goes by a network of SageMaker's that has no flow log",
    fix="set VpcConfig with isolated subnets and a security group",
)
def model_in_the_vpc(resource: Resource, _: Template) -> bool:
    return bool(resource.at("VpcConfig")["Subnets"]) and bool(resource.at("VpcConfig", "SecurityGroupIds"))


@rule(
    "endpoint-is-encrypted",
    CONFIG,
    what="An endpoint's disk is encrypted with the project's key",
    why="the model lies on it",
    fix="set KmsKeyId",
)
def endpoint_is_encrypted(resource: Resource, _: Template) -> bool:
    return bool(resource.at("KmsKeyId"))


@rule(
    "keeps-variants",
    ENDPOINT,
    what="A deploy does not reset a scaled endpoint",
    why="SageMaker takes the counts of the new configuration unless told otherwise",
    fix="set RetainAllVariantProperties",
)
def keeps_variants(resource: Resource, _: Template) -> bool:
    return resource.at("RetainAllVariantProperties") is True


@rule(
    "no-guardrails-on-inf1",
    ENDPOINT,
    what="An Inf1 endpoint has no deployment configuration",
    why="SageMaker ignores it there and flips all traffic at once",
    fix="remove DeploymentConfig and shift traffic by variant weights",
)
def no_guardrails_on_inf1(resource: Resource, template: Template) -> bool:
    variants = [row for config in template.all(CONFIG) for row in config.at("ProductionVariants")]
    on_inf1 = any(str(row.get("InstanceType")).startswith("ml.inf1.") for row in variants)
    return not on_inf1 or resource.at("DeploymentConfig") is None


@rule(
    "endpoint-is-watched",
    ENDPOINT,
    what="An endpoint has alarms on errors and on latency",
    why="nobody else looks at it",
    fix="keep the alarms in the endpoint's stack",
)
def endpoint_is_watched(_: Resource, template: Template) -> bool:
    watched = {name for alarm in template.all(ALARM) for name in _metrics(alarm)}
    return {"Invocation5XXErrors", "ModelLatency"} <= watched


@rule(
    "job-by-digest",
    JOB,
    what="The image of a compile job is named by its digest, or by the hash of all that it was built from",
    why="the same request must give the same artifact",
    fix="use repository@sha256:digest, or let the CDK build it",
)
def job_by_digest(resource: Resource, _: Template) -> bool:
    image = resource.at("ContainerProperties")["Image"]
    return is_by_digest(image) or is_built_asset(image)


@rule(
    "job-is-unprivileged",
    JOB,
    what="A compile job has no privileges and no public address",
    why="it opens models that somebody handed in",
    fix="remove Privileged and set AssignPublicIp to DISABLED",
)
def job_is_unprivileged(resource: Resource, _: Template) -> bool:
    container = resource.at("ContainerProperties")
    on_ec2 = listed(resource.at("PlatformCapabilities")) == ["EC2"]  # its instances have the address
    private = on_ec2 or at(container, "NetworkConfiguration", "AssignPublicIp") == "DISABLED"
    return private and container.get("Privileged") in (None, False)


@rule(
    "job-ends",
    JOB,
    what="A compile job ends some time",
    why="a compiler that hangs would be paid for until somebody looks",
    fix="set Timeout.AttemptDurationSeconds",
)
def job_ends(resource: Resource, _: Template) -> bool:
    return int(resource.at("Timeout", "AttemptDurationSeconds")) > 0


@rule(
    "job-is-logged",
    JOB,
    what="A compile job logs to a group of the project",
    why="Batch's default group is neither encrypted with the key nor ever emptied",
    fix="set LogConfiguration with awslogs-group",
)
def job_is_logged(resource: Resource, _: Template) -> bool:
    return bool(at(resource.at("ContainerProperties"), "LogConfiguration", "Options", "awslogs-group"))


@rule(
    "jobs-are-bounded",
    ENVIRONMENT,
    what="No more jobs run than the settings say, and without jobs nothing runs",
    why="a loop that submits jobs would be paid for until somebody looks",
    fix="set MaxvCpus, and leave MinvCpus and DesiredvCpus alone",
)
def jobs_are_bounded(resource: Resource, _: Template) -> bool:
    idle = all(resource.at("ComputeResources", key) in (None, 0) for key in ("MinvCpus", "DesiredvCpus"))
    return idle and int(resource.at("ComputeResources")["MaxvCpus"]) > 0


@rule(
    "jobs-on-a-known-image",
    ENVIRONMENT,
    what="Instances for jobs start from a literal image, by the stack's launch template, without a key pair",
    why="Batch's own choice changes under a compile, and its defaults let any container ask for the "
    "instance's credentials",
    fix="set ImageIdOverride and LaunchTemplate, and remove Ec2KeyPair",
)
def jobs_on_a_known_image(resource: Resource, template: Template) -> bool:
    given = resource.at("ComputeResources")
    if given["Type"] in FARGATE:
        return True
    images = [str(row.get("ImageIdOverride")) for row in listed(given.get("Ec2Configuration"))]
    ours = any(refers_to(given.get("LaunchTemplate"), own.id) for own in template.all(LAUNCH_TEMPLATE))
    known = bool(images) and all(AMI.fullmatch(image) for image in images)
    return known and ours and given.get("Ec2KeyPair") is None


@rule(
    "requests-only",
    EVENT_RULE,
    what="An event of the bucket starts something only if it is a new object below requests/",
    why="a job's own result would otherwise be taken for a request, and start the next job",
    fix="name the detail type `Object Created`, the bucket, and one wildcard `requests/*.json` for the key",
)
def requests_only(resource: Resource, _: Template) -> bool:
    if "aws.s3" not in listed(resource.at("EventPattern", "source")):
        return True
    detail = resource.at("EventPattern")["detail"]
    keys = listed(at(detail, "object", "key"))
    new = listed(resource.at("EventPattern", "detail-type")) == ["Object Created"]
    return new and bool(at(detail, "bucket", "name")) and keys == [{"wildcard": "requests/*.json"}]


@rule(
    "schedules-are-watched",
    SCHEDULE,
    what="What runs by a schedule has alarms on a run that failed and on runs that are missing",
    why="nobody waits for it, so nobody notices",
    fix="keep the alarms on ExecutionsFailed and ExecutionsSucceeded of its state machine",
)
def schedules_are_watched(resource: Resource, template: Template) -> bool:
    machine = at(resource.at("Target", "Arn"), "Ref")
    watched = {
        (alarm.at("MetricName"), alarm.at("TreatMissingData"))
        for alarm in template.all(ALARM)
        if refers_to(alarm.at("Dimensions"), machine) and listed(alarm.at("AlarmActions"))
    }
    return {("ExecutionsFailed", "notBreaching"), ("ExecutionsSucceeded", "breaching")} <= watched


@rule(
    "machine-is-logged",
    MACHINE,
    what="Every step of a compile is logged and traced",
    why="a row that failed is explained by nothing else",
    fix="set LoggingConfiguration at level ALL, and TracingConfiguration",
)
def machine_is_logged(resource: Resource, _: Template) -> bool:
    logged = bool(resource.at("LoggingConfiguration")["Level"] == "ALL")
    return logged and resource.at("TracingConfiguration", "Enabled") is True


@rule(
    "no-secrets-in-environment",
    MODEL,
    JOB,
    FUNCTION,
    what="No environment of a container holds a secret",
    why="whoever may describe the resource reads it",
    fix="let the container fetch the secret with its role",
)
def no_secrets_in_environment(resource: Resource, _: Template) -> bool:
    table = at(resource.at("PrimaryContainer"), "Environment") or at(resource.at("Environment"), "Variables")
    rows = [(row["Name"], row["Value"]) for row in listed(resource.at("ContainerProperties", "Environment"))]
    return not any(holds_secret(f"{name}={text(value)}") for name, value in [*(table or {}).items(), *rows])


def _metrics(alarm: Resource) -> list[Any]:
    nested = [
        at(row, "MetricStat", "Metric", "MetricName")
        for row in listed(alarm.at("Metrics"))
        if "MetricStat" in row
    ]
    return [alarm.at("MetricName"), *nested]
