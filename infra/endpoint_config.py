"""The endpoint's configuration: variants, copies, queue; and how an update shifts the traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker

from artifact.release import ReleaseLock
from infra.endpoint_limits import download_timeout, startup_timeout, volume_gib
from infra.endpoint_model import content_name
from infra.stack import ProjectStack
from settings.endpoint import Deployment

MINUTE = 60
MAX_SECONDS = 28_800
MIN_SECONDS = 600
"""Limits of MaximumExecutionTimeoutInSeconds. Source: API reference, BlueGreenUpdatePolicy."""
MAX_ALARMS = 10
"""Source: API reference, AutoRollbackConfig."""


@dataclass(frozen=True)
class Served:
    """A release behind the endpoint. ``weight``: its share of the traffic of a new endpoint."""

    variant: str
    lock: ReleaseLock
    model: sagemaker.CfnModel
    count: int
    weight: int


def make_config(
    stack: ProjectStack, served: Sequence[Served], *, instance_type: str, key_arn: str, extras: dict[str, Any]
) -> sagemaker.CfnEndpointConfig:
    """The configuration, named by its content. ``extras``: properties beyond variants and key."""
    properties: dict[str, Any] = {
        "production_variants": [_variant(one, instance_type) for one in served],
        "kms_key_id": key_arn,
        **extras,
    }
    config = sagemaker.CfnEndpointConfig(
        stack,
        "Config",
        endpoint_config_name=content_name(stack, served[0].lock, properties),
        **properties,
    )
    for one in served:
        config.add_resource_dependency(one.model)
    return config


def _variant(served: Served, instance_type: str) -> sagemaker.CfnEndpointConfig.ProductionVariantProperty:
    return sagemaker.CfnEndpointConfig.ProductionVariantProperty(
        variant_name=served.variant,
        model_name=str(served.model.model_name),
        instance_type=instance_type,
        initial_instance_count=served.count,
        initial_variant_weight=served.weight,
        container_startup_health_check_timeout_in_seconds=startup_timeout(served.lock),
        model_data_download_timeout_in_seconds=download_timeout(served.lock),
        volume_size_in_gb=volume_gib(served.lock),
    )


def make_endpoint(
    stack: ProjectStack,
    config: sagemaker.CfnEndpointConfig,
    *,
    name: str,
    shifting: sagemaker.CfnEndpoint.DeploymentConfigProperty | None,
) -> sagemaker.CfnEndpoint:
    """The endpoint. An update keeps counts and weights, which scaling and whoever shifts traffic changed,
    but not what is captured: SageMaker would go on capturing after the settings say no more."""
    return sagemaker.CfnEndpoint(
        stack,
        "Endpoint",
        endpoint_name=name,
        endpoint_config_name=config.attr_endpoint_config_name,
        retain_all_variant_properties=True,
        exclude_retained_variant_properties=[
            sagemaker.CfnEndpoint.VariantPropertyProperty(variant_property_type="DataCaptureConfig")
        ],
        deployment_config=shifting,
    )


def shifting_config(
    wanted: Deployment, alarms: Sequence[cloudwatch.Alarm], slowest: ReleaseLock
) -> sagemaker.CfnEndpoint.DeploymentConfigProperty:
    """A share of the new instances first, then all; any of the alarms sends the traffic back.

    The limit of the whole is what the parts may take, and as much again for getting instances.
    """
    of = sagemaker.CfnEndpoint
    bake, keep = wanted.bake_minutes * MINUTE, wanted.keep_old_minutes * MINUTE
    starting = 2 * (startup_timeout(slowest) + download_timeout(slowest))
    return of.DeploymentConfigProperty(
        blue_green_update_policy=of.BlueGreenUpdatePolicyProperty(
            traffic_routing_configuration=of.TrafficRoutingConfigProperty(
                type="CANARY",
                canary_size=of.CapacitySizeProperty(type="CAPACITY_PERCENT", value=wanted.canary_percent),
                wait_interval_in_seconds=bake,
            ),
            termination_wait_in_seconds=keep,
            maximum_execution_timeout_in_seconds=min(
                MAX_SECONDS, max(MIN_SECONDS, starting + 2 * (bake + keep))
            ),
        ),
        auto_rollback_configuration=of.AutoRollbackConfigProperty(
            alarms=[of.AlarmProperty(alarm_name=alarm.alarm_name) for alarm in alarms[:MAX_ALARMS]]
        ),
    )
