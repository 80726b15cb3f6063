"""How instances of an endpoint are added and taken away.

At once: by requests a minute and instance, from what the artifact was measured to do. Async: by the
backlog an instance, and from zero by a step, because nothing is divided by no instance: SageMaker
publishes ``HasBacklogWithoutCapacity`` for that. Backlogs are metrics of the endpoint, not of a
variant (SageMaker guide, "Monitor asynchronous endpoint" and "Autoscale an asynchronous endpoint").
"""

from __future__ import annotations

import math
from typing import Any

from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker

from artifact.release import ReleaseLock
from infra import names
from infra.rhythm import EVALUATIONS, PERIOD_SECONDS
from infra.stack import ProjectStack
from infra.throughput import per_replica_minute
from settings.endpoint import Async, Endpoint

NAMESPACE = "AWS/SageMaker"
BACKLOG_SECONDS = 30
"""A backlog that one instance works off in this time is no reason for another."""
WAKE_COOLDOWN_SECONDS = 300
"""Source: SageMaker guide, "Autoscale an asynchronous endpoint"; an instance takes minutes to start."""

_Policy = scaling.CfnScalingPolicy
_Target = scaling.CfnScalableTarget


def scale(stack: ProjectStack, endpoint: sagemaker.CfnEndpoint, wanted: Endpoint, lock: ReleaseLock) -> None:
    """Add the scalable target with its schedule, and the policies; nothing where scaling is off."""
    if not wanted.scaling.enabled:
        return
    target = _target(stack, endpoint, wanted)
    if wanted.async_ is None:
        _by_requests(stack, target, wanted, per_instance_minute(wanted, lock))
        return
    name = stack.prefix
    _by_backlog(stack, target, wanted, backlog_per_instance(wanted, wanted.async_, lock))
    if 0 in (wanted.min_count, *(action.min_count for action in wanted.schedule)):
        _from_zero(stack, target, name)


def per_instance_minute(wanted: Endpoint, lock: ReleaseLock) -> float:
    """Invocations a minute and instance at which another instance is added."""
    measured = per_replica_minute(lock, share=wanted.scaling.load_percent / 100)
    return wanted.invocations_per_instance or measured


def backlog_per_instance(wanted: Endpoint, later: Async, lock: ReleaseLock) -> float:
    """Waiting requests an instance at which another instance is added; at least 1."""
    done = lock.throughput.per_second * BACKLOG_SECONDS * wanted.scaling.load_percent / 100
    return later.backlog_per_instance or max(1, math.floor(done))


def _target(stack: ProjectStack, endpoint: sagemaker.CfnEndpoint, wanted: Endpoint) -> _Target:
    actions = [
        _Target.ScheduledActionProperty(
            scheduled_action_name=action.name,
            schedule=f"cron({action.cron})",
            timezone=action.timezone,
            scalable_target_action=_Target.ScalableTargetActionProperty(
                min_capacity=action.min_count, max_capacity=action.max_count
            ),
        )
        for action in wanted.schedule
    ]
    return _Target(
        stack,
        "Replicas",
        service_namespace="sagemaker",
        scalable_dimension="sagemaker:variant:DesiredInstanceCount",
        resource_id=f"endpoint/{endpoint.attr_endpoint_name}/variant/{names.STABLE_VARIANT}",
        min_capacity=wanted.min_count,
        max_capacity=wanted.max_count,
        scheduled_actions=actions or None,
    )


def _by_requests(stack: ProjectStack, target: _Target, wanted: Endpoint, value: float) -> None:
    metric = _Policy.PredefinedMetricSpecificationProperty(
        predefined_metric_type="SageMakerVariantInvocationsPerInstance"
    )
    tracked = _tracking(wanted, value, predefined_metric_specification=metric)
    _track(stack, target, "Invocations", tracked)


def _by_backlog(stack: ProjectStack, target: _Target, wanted: Endpoint, value: float) -> None:
    endpoint = stack.prefix
    metric = _Policy.CustomizedMetricSpecificationProperty(
        namespace=NAMESPACE,
        metric_name="ApproximateBacklogSizePerInstance",
        statistic="Average",
        dimensions=[_Policy.MetricDimensionProperty(name="EndpointName", value=endpoint)],
    )
    tracked = _tracking(wanted, value, customized_metric_specification=metric)
    _track(stack, target, "Backlog", tracked)


def _tracking(
    wanted: Endpoint, value: float, **metric: Any
) -> _Policy.TargetTrackingScalingPolicyConfigurationProperty:
    return _Policy.TargetTrackingScalingPolicyConfigurationProperty(
        target_value=value,
        scale_in_cooldown=wanted.scaling.in_cooldown_seconds,
        scale_out_cooldown=wanted.scaling.out_cooldown_seconds,
        **metric,
    )


def _track(
    stack: ProjectStack,
    target: _Target,
    name: str,
    tracked: _Policy.TargetTrackingScalingPolicyConfigurationProperty,
) -> None:
    _Policy(
        stack,
        name,
        policy_name=f"{stack.prefix}-{name.lower()}",
        policy_type="TargetTrackingScaling",
        scaling_target_id=target.ref,
        target_tracking_scaling_policy_configuration=tracked,
    )


def _from_zero(stack: ProjectStack, target: _Target, name: str) -> None:
    """One instance as soon as a request waits for none; the backlog decides about more."""
    policy = _Policy(
        stack,
        "FromZero",
        policy_name=f"{name}-from-zero",
        policy_type="StepScaling",
        scaling_target_id=target.ref,
        step_scaling_policy_configuration=_Policy.StepScalingPolicyConfigurationProperty(
            adjustment_type="ChangeInCapacity",
            cooldown=WAKE_COOLDOWN_SECONDS,
            metric_aggregation_type="Average",
            step_adjustments=[
                _Policy.StepAdjustmentProperty(metric_interval_lower_bound=0, scaling_adjustment=1)
            ],
        ),
    )
    cloudwatch.CfnAlarm(
        stack,
        "WaitingForAnInstance",
        alarm_description="A request waits and there is no instance; starts one",
        namespace=NAMESPACE,
        metric_name="HasBacklogWithoutCapacity",
        dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name="EndpointName", value=name)],
        statistic="Average",
        period=PERIOD_SECONDS,
        evaluation_periods=EVALUATIONS,
        threshold=1,
        comparison_operator="GreaterThanOrEqualToThreshold",
        treat_missing_data="notBreaching",
        alarm_actions=[policy.ref],
    )
