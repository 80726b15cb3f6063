"""Where releases live: one key, one bucket, two image repositories, one signing key.

Made first and without a release: ``traceship ship`` publishes into it (compile/publish.py), the
fleet and the endpoint read from it (inference_code/fetch.py).
"""

from __future__ import annotations

from typing import Any, cast

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra import names
from infra.stack import ProjectStack
from settings.model import Settings

STALE_UPLOAD_DAYS = 7
OLD_VERSION_DAYS = 90
ACCESS_LOG_DAYS = 400
"""A little over a year, so that an incident can be compared with the same week a year before."""
UNTAGGED_IMAGE_DAYS = 90
"""An image in use has a tag: nobody pushes without one, and tags do not move here."""
EXCHANGED = ("models", "compiled", "requests")
"""Prefixes of what compile jobs are handed and hand back. A release refers to none of it."""

MANIFESTS = "releases/*/manifest.json"
LOAD_BALANCER_LOGS = "load-balancer"


class ArtifactsStack(ProjectStack):
    """Key, buckets, repositories and signing key. Data outlives the stack unless told otherwise."""

    def __init__(self, scope: Construct, *, settings: Settings) -> None:
        super().__init__(
            scope, names.ARTIFACTS, settings=settings, description="traceship: releases and images"
        )
        self._keep_requests_days = settings.project.keep_requests_days
        self.key = self._key()
        self.logs_bucket = self._logs_bucket()
        self.bucket = self._bucket(cdk.Duration.days(settings.compile.aws.keep_days))
        if settings.compile.aws.requests:
            _tell_event_bridge(self.bucket)
        self.serving_repository = self._repository("serving")
        self.compile_repository = self._repository("compile")
        self.signing_key = self._signing_key()
        self._outputs()

    @property
    def bucket_name(self) -> str:
        """Name of the artifacts bucket, spelt out for other stacks."""
        return names.artifacts_bucket(self.project, cdk.Aws.ACCOUNT_ID, cdk.Aws.REGION)

    @property
    def bucket_arn(self) -> str:
        """ARN of the artifacts bucket, spelt out so that policies of other stacks can be read."""
        return f"arn:{cdk.Aws.PARTITION}:s3:::{self.bucket_name}"

    def object_arn(self, key: str) -> str:
        """ARN of an object, or of many if ``key`` ends in ``*``."""
        return f"{self.bucket_arn}/{key}"

    def _key(self) -> kms.Key:
        key = kms.Key(
            self,
            "Key",
            description=f"{self.project}: releases, images, logs and alarms at rest",
            alias=names.key_alias(self.project),
            enable_key_rotation=True,
            removal_policy=self.removal_policy,
        )
        for statement in (
            _logs_may_encrypt(self),
            _alarms_may_publish(self),
            _auto_scaling_may_publish(self),
        ):
            key.add_to_resource_policy(statement)
        return key

    def _logs_bucket(self) -> s3.Bucket:
        """S3 and the load balancer deliver access logs to buckets with S3's own key only."""
        bucket = s3.Bucket(
            self,
            "AccessLogs",
            bucket_name=names.logs_bucket(self.project, cdk.Aws.ACCOUNT_ID, cdk.Aws.REGION),
            encryption=s3.BucketEncryption.S3_MANAGED,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="expire",
                    expiration=cdk.Duration.days(ACCESS_LOG_DAYS),
                    noncurrent_version_expiration=cdk.Duration.days(1),
                )
            ],
            **_closed(self.removal_policy),
        )
        bucket.add_to_resource_policy(
            iam.PolicyStatement(
                sid="LoadBalancerLogs",
                principals=[iam.ServicePrincipal("logdelivery.elasticloadbalancing.amazonaws.com")],
                actions=["s3:PutObject"],
                resources=[bucket.arn_for_objects(f"{LOAD_BALANCER_LOGS}/AWSLogs/{cdk.Aws.ACCOUNT_ID}/*")],
            )
        )
        return bucket

    def _bucket(self, kept: cdk.Duration) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            "Artifacts",
            bucket_name=names.artifacts_bucket(self.project, cdk.Aws.ACCOUNT_ID, cdk.Aws.REGION),
            encryption=s3.BucketEncryption.KMS,
            encryption_key=self.key,
            bucket_key_enabled=True,
            server_access_logs_bucket=self.logs_bucket,
            server_access_logs_prefix="artifacts/",
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="stale",
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(STALE_UPLOAD_DAYS),
                    noncurrent_version_expiration=cdk.Duration.days(OLD_VERSION_DAYS),
                ),
                *(_passing(prefix, self._keep_requests_days) for prefix in (names.CAPTURED, names.ASYNC)),
                *(s3.LifecycleRule(id=prefix, prefix=f"{prefix}/", expiration=kept) for prefix in EXCHANGED),
            ],
            **_closed(self.removal_policy),
        )
        bucket.add_to_resource_policy(_first_writer_wins(bucket))
        return bucket

    def _repository(self, image: str) -> ecr.Repository:
        return ecr.Repository(
            self,
            f"{image.capitalize()}Images",
            repository_name=names.repository(self.project, image),
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            image_scan_on_push=True,
            lifecycle_rules=[
                ecr.LifecycleRule(
                    description="what has lost its tag, or never had one",
                    tag_status=ecr.TagStatus.UNTAGGED,
                    max_image_age=cdk.Duration.days(UNTAGGED_IMAGE_DAYS),
                )
            ],
            encryption=ecr.RepositoryEncryption.KMS,
            encryption_key=self.key,
            removal_policy=self.removal_policy,
            empty_on_delete=self.removal_policy == cdk.RemovalPolicy.DESTROY,
        )

    def _signing_key(self) -> kms.Key:
        """Signs digests of manifests; KMS cannot rotate an asymmetric key, a new one gets a new alias."""
        return kms.Key(
            self,
            "SigningKey",
            description=f"{self.project}: signs the manifests of releases",
            alias=f"alias/{self.project}-signing",
            key_spec=kms.KeySpec.ECC_NIST_P256,
            key_usage=kms.KeyUsage.SIGN_VERIFY,
            removal_policy=self.removal_policy,
        )

    def _outputs(self) -> None:
        self.promise(self.key.key_arn, self.bucket.bucket_name, self.logs_bucket.bucket_name)
        cdk.CfnOutput(self, "BucketName", value=self.bucket.bucket_name)
        cdk.CfnOutput(self, "KeyArn", value=self.key.key_arn)
        cdk.CfnOutput(self, "SigningKeyArn", value=self.signing_key.key_arn)
        cdk.CfnOutput(self, "ServingRepositoryUri", value=self.serving_repository.repository_uri)
        cdk.CfnOutput(self, "CompileRepositoryUri", value=self.compile_repository.repository_uri)


def _passing(prefix: str, days: int) -> s3.LifecycleRule:
    """Delete after ``days``, and a day later for good: an old version holds what callers sent, too.

    Always there: what an endpoint left must go when its section has gone from the settings.
    """
    return s3.LifecycleRule(
        id=prefix,
        prefix=f"{prefix}/",
        expiration=cdk.Duration.days(days),
        noncurrent_version_expiration=cdk.Duration.days(1),
    )


def _tell_event_bridge(bucket: s3.Bucket) -> None:
    """S3 tells EventBridge of every object or of none; the rule that listens chooses (compile_requests.py).

    An L1 property, because the CDK's own switch is a Lambda function with a role of its own.
    """
    resource = cast("s3.CfnBucket", bucket.node.default_child)
    resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
        event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
    )


def _closed(removal_policy: cdk.RemovalPolicy) -> dict[str, Any]:
    """What both buckets share: nobody public, TLS 1.2, every version kept for a while."""
    return {
        "block_public_access": s3.BlockPublicAccess.BLOCK_ALL,
        "object_ownership": s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        "enforce_ssl": True,
        "minimum_tls_version": 1.2,
        "versioned": True,
        "removal_policy": removal_policy,
    }


def _first_writer_wins(bucket: s3.Bucket) -> iam.PolicyStatement:
    """Refuse to write a manifest without If-None-Match, so that a release is never replaced.

    Source: S3 user guide, "Enforce conditional writes on Amazon S3 buckets".
    """
    return iam.PolicyStatement(
        sid="ManifestsAreWrittenOnce",
        effect=iam.Effect.DENY,
        principals=[iam.AnyPrincipal()],
        actions=["s3:PutObject"],
        resources=[bucket.arn_for_objects(MANIFESTS)],
        conditions={"Null": {"s3:if-none-match": "true"}},
    )


def _logs_may_encrypt(stack: ProjectStack) -> iam.PolicyStatement:
    """CloudWatch Logs may use the key for this project's log groups and no others."""
    groups = [
        names.log_group(stack.project, "*"),
        *(f"/aws/sagemaker/Endpoints/{stack.project}{more}" for more in ("", "-*")),
        names.image_builder_log_group(f"{stack.project}-*"),
    ]
    return iam.PolicyStatement(
        sid="LogGroups",
        principals=[iam.ServicePrincipal(f"logs.{cdk.Aws.REGION}.amazonaws.com")],
        actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
        resources=["*"],
        conditions={
            "ArnLike": {
                "kms:EncryptionContext:aws:logs:arn": [
                    stack.format_arn(
                        service="logs",
                        resource="log-group",
                        resource_name=name,
                        arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
                    )
                    for name in groups
                ]
            }
        },
    )


def _alarms_may_publish(stack: ProjectStack) -> iam.PolicyStatement:
    """CloudWatch may publish alarms of this account to topics encrypted with the key."""
    return iam.PolicyStatement(
        sid="Alarms",
        principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
        actions=["kms:Decrypt", "kms:GenerateDataKey*"],
        resources=["*"],
        conditions={"StringEquals": {"aws:SourceAccount": stack.account}},
    )


def _auto_scaling_may_publish(stack: ProjectStack) -> iam.PolicyStatement:
    """Auto Scaling may publish launches and terminations to topics encrypted with the key.

    Named by condition, not as principal: KMS refuses a policy whose principal does not exist
    yet, and the service-linked role appears with the account's first Auto Scaling group.
    """
    role = stack.format_arn(
        service="iam",
        region="",
        resource="role",
        resource_name="aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
    )
    return iam.PolicyStatement(
        sid="AutoScaling",
        principals=[iam.AnyPrincipal()],
        actions=["kms:Decrypt", "kms:GenerateDataKey*"],
        resources=["*"],
        conditions={
            "StringEquals": {"kms:CallerAccount": stack.account},
            "ArnEquals": {"aws:PrincipalArn": role},
        },
    )
