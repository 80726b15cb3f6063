"""A SageMaker endpoint that serves one release.

Model and endpoint configuration are named by what they hold, so an update makes new ones and a
rollback finds the old ones gone or unchanged, never edited. There is no deployment configuration:
SageMaker ignores it on Inf1 and flips all traffic at once (SageMaker guide,
"deployment-guardrails-exclusions"); traffic is shifted by variant weights instead.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from artifact import serving
from artifact.canonical import encode
from artifact.release import ReleaseLock, archive_key
from infra import names
from infra.alarms import PERIOD, Watch, alarm_topic, caption, error_percent
from infra.artifacts_stack import ArtifactsStack
from infra.boot import serve_environment
from infra.images import uri
from infra.logs import make_log_group
from infra.replica_metrics import replica_widgets
from infra.roles import attach_to_vpc, pull_image, read_objects, service_role, write_log
from infra.signing import signing_environment
from infra.stack import ProjectStack
from infra.throughput import per_replica_minute
from settings.model import Endpoint, Settings

VARIANT = "stable"
HTTPS = 443
NAMESPACE = "AWS/SageMaker"
MIN_TIMEOUT_SECONDS = 60
MAX_TIMEOUT_SECONDS = 3600
"""Limits of both time-outs. Source: API reference, ProductionVariant."""
SLOWEST_DOWNLOAD_BYTES = 10_000_000
"""Bytes a second below which a download counts as stuck; not measured."""
STARTUP_FACTOR = 2
MICROSECONDS = 1000
"""In a millisecond; ModelLatency counts them."""


class EndpointStack(ProjectStack):
    """Model, configuration, endpoint, scaling, alarms and dashboard of one release."""

    def __init__(
        self,
        scope: Construct,
        *,
        settings: Settings,
        endpoint: Endpoint,
        lock: ReleaseLock,
        artifacts: ArtifactsStack,
        vpc: ec2.IVpc,
    ) -> None:
        super().__init__(
            scope, names.ENDPOINT, settings=settings, description="traceship: SageMaker endpoint"
        )
        self._settings, self._wanted, self._lock = settings, endpoint, lock
        self._artifacts, self._vpc = artifacts, vpc
        name = names.endpoint_name(settings)
        self._logs = make_log_group(
            self, "endpoint", key=artifacts.key, name=f"/aws/sagemaker/Endpoints/{name}"
        )
        self._watch = Watch(self, alarm_topic(self, settings.alarms, key=artifacts.key))
        config = self._config(self._model(self._role()))
        self.endpoint = sagemaker.CfnEndpoint(
            self,
            "Endpoint",
            endpoint_name=name,
            endpoint_config_name=config.attr_endpoint_config_name,
            retain_all_variant_properties=True,
        )
        self.endpoint.node.add_dependency(self._logs)
        self._scaling()
        self._alarms()
        self._dashboard()
        cdk.CfnOutput(self, "EndpointName", value=self.endpoint.attr_endpoint_name)

    def _role(self) -> iam.Role:
        """What SageMaker does for the model: fetch that archive and image, log, join the VPC."""
        may = [
            *read_objects(self._artifacts, archive_key(self._lock.name, self._lock.digest)),
            *pull_image(self._lock.serving_image),
            *attach_to_vpc(),
            *write_log(self._logs),
        ]
        role = service_role(self, "Role", "sagemaker.amazonaws.com", "SageMaker endpoint", may)
        self.name_identities_by(self._lock.digest)
        return role

    def _model(self, role: iam.Role) -> sagemaker.CfnModel:
        group = ec2.SecurityGroup(
            self,
            "Containers",
            vpc=self._vpc,
            description="Containers of the endpoint",
            allow_all_outbound=False,
        )
        group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(HTTPS), "AWS services by private endpoints")
        subnets = self._vpc.select_subnets(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        archive = archive_key(self._lock.name, self._lock.digest)
        properties: dict[str, Any] = {
            "execution_role_arn": role.role_arn,
            "enable_network_isolation": True,
            "primary_container": sagemaker.CfnModel.ContainerDefinitionProperty(
                image=uri(self._lock.serving_image),
                model_data_url=f"s3://{self._artifacts.bucket.bucket_name}/{archive}",
                environment={
                    serving.ENV_DIGEST: self._lock.digest,
                    **serve_environment(self._settings.serve, service=self.stack_name),
                    **signing_environment(self._settings.signing, self._lock),
                },
            ),
            "vpc_config": sagemaker.CfnModel.VpcConfigProperty(
                security_group_ids=[group.security_group_id], subnets=subnets.subnet_ids
            ),
        }
        return sagemaker.CfnModel(self, "Model", model_name=self._name_of(properties), **properties)

    def _config(self, model: sagemaker.CfnModel) -> sagemaker.CfnEndpointConfig:
        variant = sagemaker.CfnEndpointConfig.ProductionVariantProperty(
            variant_name=VARIANT,
            model_name=str(model.model_name),
            instance_type=self._wanted.instance_type,
            initial_instance_count=self._wanted.min_count,
            initial_variant_weight=1,
            container_startup_health_check_timeout_in_seconds=startup_timeout(self._lock),
            model_data_download_timeout_in_seconds=download_timeout(self._lock),
        )
        properties: dict[str, Any] = {
            "production_variants": [variant],
            "kms_key_id": self._artifacts.key.key_arn,
        }
        config = sagemaker.CfnEndpointConfig(
            self, "Config", endpoint_config_name=self._name_of(properties), **properties
        )
        config.add_resource_dependency(model)
        return config

    def _name_of(self, properties: dict[str, Any]) -> str:
        """Project, release and a digest of every property: another content is another name."""
        content = hashlib.sha256(encode(self.resolve(properties))).hexdigest()[:8]
        return f"{self.prefix}-{self._lock.digest[:12]}-{content}"

    def _scaling(self) -> None:
        target = scaling.CfnScalableTarget(
            self,
            "Replicas",
            service_namespace="sagemaker",
            scalable_dimension="sagemaker:variant:DesiredInstanceCount",
            resource_id=f"endpoint/{self.endpoint.attr_endpoint_name}/variant/{VARIANT}",
            min_capacity=self._wanted.min_count,
            max_capacity=self._wanted.max_count,
        )
        wanted = self._wanted.invocations_per_instance or per_replica_minute(self._lock)
        scaling.CfnScalingPolicy(
            self,
            "Invocations",
            policy_name=f"{self.prefix}-invocations",
            policy_type="TargetTrackingScaling",
            scaling_target_id=target.ref,
            target_tracking_scaling_policy_configuration=scaling.CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty(
                target_value=wanted,
                predefined_metric_specification=scaling.CfnScalingPolicy.PredefinedMetricSpecificationProperty(
                    predefined_metric_type="SageMakerVariantInvocationsPerInstance"
                ),
                scale_in_cooldown=300,
                scale_out_cooldown=60,
            ),
        )

    def _metric(self, name: str, statistic: str, label: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=name,
            statistic=statistic,
            period=PERIOD,
            label=label,
            dimensions_map={"EndpointName": self.endpoint.attr_endpoint_name, "VariantName": VARIANT},
        )

    def _alarms(self) -> None:
        wanted = self._settings.alarms
        requests = self._metric("Invocations", "Sum", "requests")
        failed = {"server": self._metric("Invocation5XXErrors", "Sum", "errors")}
        slow, limit = self._metric("ModelLatency", "p99", "p99"), wanted.latency_p99_ms * MICROSECONDS
        errors = error_percent(failed, requests)
        self._watch.above(
            "Errors", errors, wanted.error_rate_percent, "Share of invocations that failed, in percent"
        )
        self._watch.above("Latency", slow, limit, "99th percentile of the model's time, in microseconds")

    def _dashboard(self) -> None:
        graph = cloudwatch.GraphWidget
        board = cloudwatch.Dashboard(self, "Dashboard", dashboard_name=self.stack_name)
        times = [self._metric("ModelLatency", statistic, statistic) for statistic in ("p50", "p99")]
        errors = [self._metric(f"Invocation{code}Errors", "Sum", code) for code in ("4XX", "5XX")]
        board.add_widgets(
            caption(self._lock),
            cloudwatch.AlarmStatusWidget(title="Alarms", alarms=self._watch.alarms, width=24, height=3),
            graph(title="Requests", left=[self._metric("Invocations", "Sum", "requests")]),
            graph(title="Time to answer (µs)", left=times),
            graph(title="Errors", left=errors),
            graph(title="Load", left=[self._metric("InvocationsPerInstance", "Sum", "per replica")]),
            *replica_widgets(self._settings.serve, service=self.stack_name),
        )


def startup_timeout(lock: ReleaseLock) -> int:
    """Seconds until /ping must answer: twice what was measured, within the platform's limits."""
    return _within_limits(STARTUP_FACTOR * lock.startup_seconds)


def download_timeout(lock: ReleaseLock) -> int:
    """Seconds for fetching and unpacking the archive."""
    return _within_limits(math.ceil(lock.artifact.archive_bytes / SLOWEST_DOWNLOAD_BYTES))


def _within_limits(seconds: int) -> int:
    return min(MAX_TIMEOUT_SECONDS, max(MIN_TIMEOUT_SECONDS, seconds))
