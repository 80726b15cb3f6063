"""One hardening property removed at a time: which rule must speak, and what is taken away where.

``place`` is the role of a stack and a resource type; the mutation gets the first such resource's body
and all of the template's resources.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]
Mutation = Callable[[Body, dict[str, Body]], object]

BALANCER = ("fleet", "AWS::ElasticLoadBalancingV2::LoadBalancer")
LISTENER = ("fleet", "AWS::ElasticLoadBalancingV2::Listener")
TARGETS = ("fleet", "AWS::ElasticLoadBalancingV2::TargetGroup")
LAUNCH = ("fleet", "AWS::EC2::LaunchTemplate")
GROUP = ("fleet", "AWS::AutoScaling::AutoScalingGroup")
HOOK = ("fleet", "AWS::AutoScaling::LifecycleHook")
ALARM = ("fleet", "AWS::CloudWatch::Alarm")
DOOR = ("fleet", "AWS::EC2::SecurityGroup")
INGRESS = ("fleet", "AWS::EC2::SecurityGroupIngress")
EGRESS = ("fleet", "AWS::EC2::SecurityGroupEgress")
TOPIC = ("fleet", "AWS::SNS::Topic")
TOPIC_POLICY = ("fleet", "AWS::SNS::TopicPolicy")
LOGS = ("fleet", "AWS::Logs::LogGroup")
FLEET_POLICY = ("fleet", "AWS::IAM::ManagedPolicy")
FLEET_ROLE = ("fleet", "AWS::IAM::Role")
MODEL = ("endpoint", "AWS::SageMaker::Model")
CONFIG = ("endpoint", "AWS::SageMaker::EndpointConfig")
ENDPOINT = ("endpoint", "AWS::SageMaker::Endpoint")
ENDPOINT_ROLE = ("endpoint", "AWS::IAM::Role")
JOB = ("compile", "AWS::Batch::JobDefinition")
MACHINE = ("compile", "AWS::StepFunctions::StateMachine")
JOB_GROUP = ("compile", "AWS::EC2::SecurityGroup")
VPC = ("network", "AWS::EC2::VPC")
SUBNET = ("network", "AWS::EC2::Subnet")
DOORS = ("network", "AWS::EC2::VPCEndpoint")
KEY = ("artifacts", "AWS::KMS::Key")
BUCKET = ("artifacts", "AWS::S3::Bucket")
BUCKET_POLICY = ("artifacts", "AWS::S3::BucketPolicy")
REPOSITORY = ("artifacts", "AWS::ECR::Repository")

TAGGED = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/traceship/serving:latest"
ANYBODY = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:GetObject", "Resource": "*"}


@dataclass(frozen=True)
class Mutant:
    """``property``: what is removed, in words. ``settings``: the world it lives in, inf1 or pinned (TLS)."""

    rule: str
    property: str
    place: tuple[str, str]
    mutate: Mutation
    settings: str = "inf1"


def _set(*path: str, to: Any) -> Mutation:
    """Give the property at ``path`` another value; None takes it away."""

    def mutate(body: Body, _: dict[str, Body]) -> None:
        place = body["Properties"]
        for key in path[:-1]:
            place = place.setdefault(key, {})
        if to is None:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return mutate


def _launch(*path: str, to: Any) -> Mutation:
    return _set("LaunchTemplateData", *path, to=to)


def _refresh(name: str, to: Any) -> Mutation:
    def mutate(body: Body, _: dict[str, Body]) -> None:
        preferences = body["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"]
        if to is None:
            del preferences[name]
        else:
            preferences[name] = to

    return mutate


def _attribute(name: str, to: str | None, table: str = "LoadBalancerAttributes") -> Mutation:
    def mutate(body: Body, _: dict[str, Body]) -> None:
        rows = [row for row in body["Properties"][table] if row["Key"] != name]
        body["Properties"][table] = rows + ([] if to is None else [{"Key": name, "Value": to}])

    return mutate


def _boot(old: str, new: str) -> Mutation:
    """Change the text of the user data wherever ``old`` (a pattern) stands in it."""

    def mutate(body: Body, _: dict[str, Body]) -> None:
        joined = body["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Join"][1]
        changed = [re.sub(old, new, part) if isinstance(part, str) else part for part in joined]
        assert changed != joined
        joined[:] = changed

    return mutate


def _releases(resources: dict[str, Body], kind: str = "AWS::S3::Bucket") -> Body:
    """The bucket that holds releases, or its policy."""
    (name,) = (n for n, r in resources.items() if r["Type"] == kind and n.startswith("Artifacts"))
    return resources[name]


def _bucket(*path: str, to: Any) -> Mutation:
    def mutate(_: Body, resources: dict[str, Body]) -> None:
        _set(*path, to=to)(_releases(resources), resources)

    return mutate


def _without_statement(kind: str, word: str) -> Mutation:
    """Drop the statements of every policy of a type that mention ``word``."""

    def mutate(_: Body, resources: dict[str, Body]) -> None:
        dropped = 0
        for body in resources.values():
            if body["Type"] == kind:
                rows = body["Properties"]["PolicyDocument"]["Statement"]
                kept = [row for row in rows if word not in str(row)]
                dropped += len(rows) - len(kept)
                body["Properties"]["PolicyDocument"]["Statement"] = kept
        assert dropped

    return mutate


def _statement(change: Callable[[list[Body]], object], *document: str) -> Mutation:
    """Change the list of statements of the resource's policy document."""

    def mutate(body: Body, _: dict[str, Body]) -> None:
        place = body["Properties"]
        for key in document or ("PolicyDocument",):
            place = place[key]
        change(place["Statement"])

    return mutate


def _drop(kind: str) -> Mutation:
    def mutate(_: Body, resources: dict[str, Body]) -> None:
        for name in [name for name, body in resources.items() if body["Type"] == kind]:
            del resources[name]

    return mutate


def _add(kind: str, **properties: Any) -> Mutation:
    def mutate(_: Body, resources: dict[str, Body]) -> None:
        resources["Added"] = {"Type": kind, "Properties": properties}

    return mutate


def _interface_endpoint(name: str) -> Mutation:
    def mutate(_: Body, resources: dict[str, Body]) -> None:
        bodies = [body["Properties"] for body in resources.values() if body["Type"] == DOORS[1]]
        next(body for body in bodies if body["VpcEndpointType"] == "Interface").pop(name)

    return mutate


def _replace_all_alarm_metrics(_: Body, resources: dict[str, Body]) -> None:
    for body in resources.values():
        if body["Type"] == "AWS::CloudWatch::Alarm":
            body["Properties"].update(MetricName="Invocations", Metrics=[])


OPEN = {"CidrIp": "0.0.0.0/0", "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}
ALL_OUT = {"CidrIp": "0.0.0.0/0", "IpProtocol": "-1"}
EVERY_ACTION = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::one/key"}

MUTANTS = (
    Mutant("ami-by-id", "literal AMI", LAUNCH, _launch("ImageId", to="resolve:ssm:/a/latest")),
    Mutant("ami-by-id", "AMI known at synth", LAUNCH, _launch("ImageId", to={"Ref": "AmiParameter"})),
    Mutant("imds-v2", "session tokens", LAUNCH, _launch("MetadataOptions", "HttpTokens", to="optional")),
    Mutant("imds-v2", "metadata options", LAUNCH, _launch("MetadataOptions", to=None)),
    Mutant("imds-one-hop", "hop limit", LAUNCH, _launch("MetadataOptions", "HttpPutResponseHopLimit", to=2)),
    Mutant(
        "encrypted-disks",
        "encrypted root disk",
        LAUNCH,
        _launch("BlockDeviceMappings", to=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 50}}]),
    ),
    Mutant("encrypted-disks", "stated disks", LAUNCH, _launch("BlockDeviceMappings", to=None)),
    Mutant("encrypted-disks", "encrypted volumes", LAUNCH, _add("AWS::EC2::Volume", Size=5)),
    Mutant("no-ssh-key", "no key pair", LAUNCH, _launch("KeyName", to="mine")),
    Mutant(
        "no-public-address",
        "private machines",
        LAUNCH,
        _launch("NetworkInterfaces", to=[{"DeviceIndex": 0, "AssociatePublicIpAddress": True}]),
    ),
    Mutant("detailed-monitoring", "a metric a minute", LAUNCH, _launch("Monitoring", to=None)),
    Mutant(
        "no-secrets-at-boot",
        "user data without secrets",
        LAUNCH,
        _boot("TRACESHIP_HOST=", "HUB_API_KEY=abc\n      TRACESHIP_HOST="),
    ),
    Mutant(
        "no-secrets-at-boot",
        "no secret resolved into user data",
        LAUNCH,
        _boot("TRACESHIP_HOST=", "X={{resolve:secretsmanager:hub}}\n      TRACESHIP_HOST="),
    ),
    Mutant("boots-a-digest", "serving image by digest", LAUNCH, _boot("@sha256:[0-9a-f]+", ":latest")),
    Mutant("confined-container", "read-only root", LAUNCH, _boot("--read-only ", "")),
    Mutant("confined-container", "no root", LAUNCH, _boot("--user 10001:10001", "--user 0:0")),
    Mutant("confined-container", "no capabilities", LAUNCH, _boot("--cap-drop ALL", "--privileged")),
    Mutant(
        "stops-in-order",
        "unit outlasts container",
        LAUNCH,
        _boot("TimeoutStopSec=[0-9]+", "TimeoutStopSec=5"),
    ),
    Mutant(
        "stops-in-order",
        "container outlasts drain",
        LAUNCH,
        _boot("--stop-timeout [0-9]+", "--stop-timeout 1"),
    ),
    Mutant(
        "version-by-number",
        "numbered launch template",
        GROUP,
        lambda body, _: body["Properties"]["MixedInstancesPolicy"]["LaunchTemplate"][
            "LaunchTemplateSpecification"
        ].update(Version="$Latest"),
    ),
    Mutant(
        "version-by-number",
        "stated version",
        GROUP,
        lambda body, _: body["Properties"]["MixedInstancesPolicy"]["LaunchTemplate"][
            "LaunchTemplateSpecification"
        ].pop("Version"),
    ),
    Mutant("refreshes-instances", "refresh policy", GROUP, lambda body, _: body.pop("UpdatePolicy")),
    Mutant("alarms-stop-a-rollout", "rollout alarms", GROUP, _refresh("AlarmSpecification", None)),
    Mutant("alarms-stop-a-rollout", "the alarms themselves", GROUP, _drop("AWS::CloudWatch::Alarm")),
    Mutant("rollout-reaches-all", "last checkpoint", GROUP, _refresh("CheckpointPercentages", [1, 50])),
    Mutant("alarm-before-next-step", "pause", GROUP, _refresh("CheckpointDelay", 120)),
    Mutant("rollout-bakes", "bake time", GROUP, _refresh("BakeTime", None)),
    Mutant("new-before-old", "capacity while rolling", GROUP, _refresh("MinHealthyPercentage", 90)),
    Mutant("capacity-left-alone", "scaled size", GROUP, _set("DesiredCapacity", to="3")),
    Mutant("replaced-when-unhealthy", "balancer's check", GROUP, _set("HealthCheckType", to="EC2")),
    Mutant("replaced-when-unhealthy", "grace", GROUP, _set("HealthCheckGracePeriod", to=None)),
    Mutant("machines-do-not-age", "lifetime", GROUP, _set("MaxInstanceLifetime", to=None)),
    Mutant("leaves-drained", "drain hook", GROUP, _drop("AWS::AutoScaling::LifecycleHook")),
    Mutant("leaves-drained", "long enough hook", HOOK, _set("HeartbeatTimeout", to=5)),
    Mutant(
        "drain-outlasts-deadline",
        "deregistration delay",
        TARGETS,
        _attribute("deregistration_delay.timeout_seconds", "20", "TargetGroupAttributes"),
    ),
    Mutant(
        "idle-in-between", "idle above deadline", BALANCER, _attribute("idle_timeout.timeout_seconds", "20")
    ),
    Mutant(
        "idle-in-between", "idle below keep-alive", BALANCER, _attribute("idle_timeout.timeout_seconds", "75")
    ),
    Mutant("leaves-drained", "hook outlasts drain", HOOK, _set("HeartbeatTimeout", to=29)),
    Mutant("health-is-proof", "golden health path", TARGETS, _set("HealthCheckPath", to="/")),
    Mutant("alarm-speaks", "alarm action", ALARM, _set("AlarmActions", to=None)),
    Mutant("alarm-speaks", "enabled actions", ALARM, _set("ActionsEnabled", to=False)),
    Mutant("alarm-knows-silence", "missing data", ALARM, _set("TreatMissingData", to=None)),
    Mutant("internal-balancer", "internal scheme", BALANCER, _set("Scheme", to="internet-facing")),
    Mutant("internal-balancer", "stated scheme", BALANCER, _set("Scheme", to=None)),
    Mutant(
        "strictest-desync",
        "desync mode",
        BALANCER,
        _attribute("routing.http.desync_mitigation_mode", "defensive"),
    ),
    Mutant(
        "drops-invalid-headers",
        "invalid headers dropped",
        BALANCER,
        _attribute("routing.http.drop_invalid_header_fields.enabled", None),
    ),
    Mutant("logs-access", "access log", BALANCER, _attribute("access_logs.s3.enabled", "false")),
    Mutant(
        "balancer-stays", "deletion protection", BALANCER, _attribute("deletion_protection.enabled", "false")
    ),
    Mutant(
        "modern-tls",
        "TLS policy",
        LISTENER,
        _set("SslPolicy", to="ELBSecurityPolicy-2016-08"),
        settings="pinned",
    ),
    Mutant("modern-tls", "stated TLS policy", LISTENER, _set("SslPolicy", to=None), settings="pinned"),
    Mutant("modern-tls", "TLS at all", LISTENER, _set("Protocol", to="HTTP"), settings="pinned"),
    Mutant("closed-ingress", "known callers", DOOR, _set("SecurityGroupIngress", to=[OPEN])),
    Mutant("closed-ingress", "one port", INGRESS, _set("IpProtocol", to="-1")),
    Mutant("closed-egress", "HTTPS only", JOB_GROUP, _set("SecurityGroupEgress", to=[ALL_OUT])),
    Mutant("closed-egress", "egress rules", JOB_GROUP, _set("SecurityGroupEgress", to=None)),
    Mutant("closed-egress", "a receiver", EGRESS, _set("CidrIp", to="0.0.0.0/0")),
    Mutant("private-subnets", "no public addresses", SUBNET, _set("MapPublicIpOnLaunch", to=True)),
    Mutant("no-way-out", "isolation", VPC, _add("AWS::EC2::InternetGateway")),
    Mutant("no-way-out", "no fixed address", VPC, _add("AWS::EC2::EIP")),
    Mutant("flows-are-logged", "flow log", VPC, _drop("AWS::EC2::FlowLog")),
    Mutant("private-endpoints", "endpoint's name", DOORS, _interface_endpoint("PrivateDnsEnabled")),
    Mutant("private-endpoints", "endpoint's group", DOORS, _interface_endpoint("SecurityGroupIds")),
    Mutant(
        "bucket-is-private", "public access block", BUCKET, _set("PublicAccessBlockConfiguration", to=None)
    ),
    Mutant(
        "bucket-is-private",
        "one side of the block",
        BUCKET,
        _set("PublicAccessBlockConfiguration", "BlockPublicPolicy", to=False),
    ),
    Mutant("bucket-has-one-owner", "object ownership", BUCKET, _set("OwnershipControls", to=None)),
    Mutant("bucket-is-encrypted", "encryption", BUCKET, _set("BucketEncryption", to=None)),
    Mutant(
        "bucket-is-encrypted",
        "the project's key",
        BUCKET,
        _bucket(
            "BucketEncryption",
            "ServerSideEncryptionConfiguration",
            to=[{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}],
        ),
    ),
    Mutant("bucket-keeps-versions", "versioning", BUCKET, _set("VersioningConfiguration", to=None)),
    Mutant("bucket-logs-access", "server access log", BUCKET, _bucket("LoggingConfiguration", to=None)),
    Mutant(
        "bucket-tls-only",
        "TLS only",
        BUCKET,
        _without_statement("AWS::S3::BucketPolicy", "aws:SecureTransport"),
    ),
    Mutant("bucket-tls-only", "bucket policy", BUCKET, _drop("AWS::S3::BucketPolicy")),
    Mutant(
        "bucket-modern-tls", "TLS 1.2", BUCKET, _without_statement("AWS::S3::BucketPolicy", "s3:TlsVersion")
    ),
    Mutant(
        "manifests-written-once",
        "conditional writes",
        BUCKET,
        _without_statement("AWS::S3::BucketPolicy", "s3:if-none-match"),
    ),
    Mutant("stale-parts-expire", "lifecycle", BUCKET, _bucket("LifecycleConfiguration", to=None)),
    Mutant("key-rotates", "key rotation", KEY, _set("EnableKeyRotation", to=False)),
    Mutant(
        "no-anonymous-access",
        "named principals of the key",
        KEY,
        _statement(lambda rows: rows[-1].pop("Condition"), "KeyPolicy"),
    ),
    Mutant(
        "no-anonymous-access",
        "named principals of the bucket",
        BUCKET_POLICY,
        _statement(lambda rows: rows.append(ANYBODY)),
    ),
    Mutant(
        "no-anonymous-access",
        "named principals of the topic",
        TOPIC_POLICY,
        _statement(lambda rows: rows.append({**ANYBODY, "Principal": "*"})),
    ),
    Mutant("tags-do-not-move", "immutable tags", REPOSITORY, _set("ImageTagMutability", to="MUTABLE")),
    Mutant("images-are-scanned", "scan on push", REPOSITORY, _set("ImageScanningConfiguration", to=None)),
    Mutant("images-are-encrypted", "encrypted images", REPOSITORY, _set("EncryptionConfiguration", to=None)),
    Mutant("logs-are-encrypted", "encrypted logs", LOGS, _set("KmsKeyId", to=None)),
    Mutant("logs-end", "retention", LOGS, _set("RetentionInDays", to=None)),
    Mutant("messages-are-encrypted", "encrypted topic", TOPIC, _set("KmsMasterKeyId", to=None)),
    Mutant("messages-are-encrypted", "encrypted queues", TOPIC, _add("AWS::SQS::Queue")),
    Mutant(
        "messages-by-tls",
        "TLS for messages",
        TOPIC,
        _without_statement("AWS::SNS::TopicPolicy", "aws:SecureTransport"),
    ),
    Mutant("messages-by-tls", "TLS for queues", TOPIC, _add("AWS::SQS::Queue", KmsMasterKeyId="a")),
    Mutant(
        "data-outlives-its-stack",
        "bucket's retention",
        BUCKET,
        lambda body, _: body.update(DeletionPolicy="Delete"),
    ),
    Mutant(
        "data-outlives-its-stack",
        "key's retention on replacement",
        KEY,
        lambda body, _: body.pop("UpdateReplacePolicy"),
    ),
    Mutant(
        "model-by-digest", "endpoint's image by digest", MODEL, _set("PrimaryContainer", "Image", to=TAGGED)
    ),
    Mutant("model-is-isolated", "network isolation", MODEL, _set("EnableNetworkIsolation", to=None)),
    Mutant("model-in-the-vpc", "endpoint in the VPC", MODEL, _set("VpcConfig", to=None)),
    Mutant("endpoint-is-encrypted", "endpoint's disk", CONFIG, _set("KmsKeyId", to=None)),
    Mutant("keeps-variants", "retained counts", ENDPOINT, _set("RetainAllVariantProperties", to=None)),
    Mutant("no-guardrails-on-inf1", "no false guardrail", ENDPOINT, _set("DeploymentConfig", to={"a": 1})),
    Mutant("endpoint-is-watched", "endpoint's alarms", ENDPOINT, _drop("AWS::CloudWatch::Alarm")),
    Mutant("endpoint-is-watched", "the right metrics", ENDPOINT, _replace_all_alarm_metrics),
    Mutant("job-by-digest", "compile image by digest", JOB, _set("ContainerProperties", "Image", to=TAGGED)),
    Mutant("job-is-unprivileged", "no privileges", JOB, _set("ContainerProperties", "Privileged", to=True)),
    Mutant(
        "job-is-unprivileged",
        "private jobs",
        JOB,
        _set("ContainerProperties", "NetworkConfiguration", "AssignPublicIp", to="ENABLED"),
    ),
    Mutant("job-ends", "time-out", JOB, _set("Timeout", to=None)),
    Mutant("job-is-logged", "job's log", JOB, _set("ContainerProperties", "LogConfiguration", to=None)),
    Mutant("machine-is-logged", "execution log", MACHINE, _set("LoggingConfiguration", "Level", to="ERROR")),
    Mutant("machine-is-logged", "traces", MACHINE, _set("TracingConfiguration", to=None)),
    Mutant(
        "no-secrets-in-environment",
        "endpoint without secrets",
        MODEL,
        _set("PrimaryContainer", "Environment", "HUB_TOKEN", to="hf_" + "a" * 34),
    ),
    Mutant(
        "no-secrets-in-environment",
        "jobs without secrets",
        JOB,
        _set("ContainerProperties", "Environment", to=[{"Name": "DB_PASSWORD", "Value": "x"}]),
    ),
    Mutant(
        "no-wildcard-actions",
        "named actions",
        FLEET_POLICY,
        _statement(lambda rows: rows.append(EVERY_ACTION)),
    ),
    Mutant(
        "no-wildcard-actions",
        "no NotAction",
        FLEET_POLICY,
        _statement(lambda rows: rows.append({"Effect": "Allow", "NotAction": "iam:*", "Resource": "arn:a"})),
    ),
    Mutant(
        "no-wildcard-resources",
        "named resources",
        FLEET_POLICY,
        _statement(lambda rows: rows[0].update(Resource="*")),
    ),
    Mutant(
        "no-wildcard-resources",
        "named keys of objects",
        FLEET_POLICY,
        _statement(lambda rows: rows[0].update(Resource="arn:aws:s3:::traceship-artifacts-1/*")),
    ),
    Mutant(
        "no-wildcard-resources",
        "named role to pass",
        ENDPOINT_ROLE,
        _set(
            "Policies",
            to=[
                {
                    "PolicyDocument": {
                        "Statement": [{"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*"}]
                    }
                }
            ],
        ),
    ),
    Mutant(
        "one-service-assumes",
        "confused deputy",
        ENDPOINT_ROLE,
        _statement(lambda rows: rows[0].pop("Condition"), "AssumeRolePolicyDocument"),
    ),
    Mutant(
        "one-service-assumes",
        "no other account",
        FLEET_ROLE,
        _statement(lambda rows: rows[0].update(Principal={"AWS": "*"}), "AssumeRolePolicyDocument"),
    ),
    Mutant(
        "no-broad-policies",
        "policies of the stack's own",
        FLEET_ROLE,
        _set("ManagedPolicyArns", to=["arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"]),
    ),
    Mutant("no-standing-credentials", "no users", FLEET_ROLE, _add("AWS::IAM::User")),
)
