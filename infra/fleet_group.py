"""The Auto Scaling group: which machines, how they come, change, wait and leave."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_sns as sns

from artifact.release import ReleaseLock
from infra import names
from infra.rhythm import PERIOD_SECONDS
from infra.stack import ProjectStack
from infra.timing import grace_seconds, hook_seconds, launch_seconds
from settings.fleet import WarmPool
from settings.model import Fleet, Serve

MIN_HEALTHY_PERCENT = 100
MAX_HEALTHY_PERCENT = 110
"""A new instance before an old one goes, and a tenth of the fleet at a time: in a rollout, and
whenever Auto Scaling replaces an instance that is ill or old."""


def make_group(
    stack: ProjectStack,
    *,
    name: str,
    fleet: Fleet,
    lock: ReleaseLock,
    template: ec2.LaunchTemplate,
    vpc: ec2.IVpc,
    subnets: ec2.SubnetSelection,
    topic: sns.ITopic,
    stopping: Sequence[cloudwatch.IAlarm],
) -> autoscaling.AutoScalingGroup:
    """Add the group; ``stopping``: the alarms that stop its rollouts and undo them."""
    group = autoscaling.AutoScalingGroup(
        stack,
        "Group",
        auto_scaling_group_name=name,
        vpc=vpc,
        vpc_subnets=subnets,
        mixed_instances_policy=_mixed(template, fleet),
        min_capacity=fleet.min_size,
        max_capacity=fleet.max_size,
        min_healthy_percentage=MIN_HEALTHY_PERCENT,
        max_healthy_percentage=MAX_HEALTHY_PERCENT,
        capacity_rebalance=True if fleet.spot_percent else None,
        health_checks=autoscaling.HealthChecks.with_additional_checks(
            additional_types=[autoscaling.AdditionalHealthCheckType.ELB],
            grace_period=cdk.Duration.seconds(grace_seconds(lock)),
        ),
        # The launch hook has waited for the start itself; what remains is a first minute of metrics.
        default_instance_warmup=cdk.Duration.seconds(PERIOD_SECONDS),
        max_instance_lifetime=cdk.Duration.days(fleet.max_lifetime_days),
        group_metrics=[autoscaling.GroupMetrics.all()],
        notifications=[autoscaling.NotificationConfiguration(topic=topic)],
        update_policy=_rollout(fleet, stopping),
    )
    _show_template_to_policies(group, template)
    return group


def add_hooks(group: autoscaling.AutoScalingGroup, serve: Serve, lock: ReleaseLock) -> None:
    """An instance joins when it says that it is proven, and leaves when it has answered what it had.

    Who never says so is replaced: abandoned after the heartbeat, or at once where it says that.
    """
    group.add_lifecycle_hook(
        names.READY_HOOK,
        lifecycle_hook_name=names.READY_HOOK,
        lifecycle_transition=autoscaling.LifecycleTransition.INSTANCE_LAUNCHING,
        default_result=autoscaling.DefaultResult.ABANDON,
        heartbeat_timeout=cdk.Duration.seconds(launch_seconds(lock)),
    )
    group.add_lifecycle_hook(
        "Drain",
        lifecycle_transition=autoscaling.LifecycleTransition.INSTANCE_TERMINATING,
        default_result=autoscaling.DefaultResult.CONTINUE,
        heartbeat_timeout=cdk.Duration.seconds(hook_seconds(serve)),
    )


def add_warm_pool(group: autoscaling.AutoScalingGroup, pool: WarmPool) -> None:
    """Instances that have booted, proven themselves and wait.

    Stopped, because leaving the pool is a launch of its own, whose hook waits until the instance has told
    that it serves; it does so when it boots, which a running one would not do again.
    """
    warm = group.add_warm_pool(
        pool_state=autoscaling.PoolState.STOPPED,
        min_size=pool.min_size,
        max_group_prepared_capacity=pool.max_prepared,
        reuse_on_scale_in=pool.reuse_on_scale_in,
    )
    # Without the hook a first instance would be stopped in the middle of its only first boot.
    warm.node.add_dependency(group.node.find_child(f"LifecycleHook{names.READY_HOOK}"))


def add_schedule(stack: ProjectStack, group: autoscaling.AutoScalingGroup, fleet: Fleet) -> None:
    """Changes of size by the clock. A deploy in between leaves the size alone (update policy)."""
    for entry in fleet.schedule:
        autoscaling.CfnScheduledAction(
            stack,
            f"Schedule{entry.name.capitalize()}",
            auto_scaling_group_name=group.auto_scaling_group_name,
            recurrence=entry.cron,
            time_zone=entry.timezone,
            min_size=entry.min,
            max_size=entry.max,
            desired_capacity=entry.desired,
        )


def _mixed(template: ec2.LaunchTemplate, fleet: Fleet) -> autoscaling.MixedInstancesPolicy:
    """The given types in the given order; Spot keeps it as far as its capacity goes, which comes first."""
    spot = fleet.spot_percent > 0
    return autoscaling.MixedInstancesPolicy(
        launch_template=template,
        launch_template_overrides=[
            autoscaling.LaunchTemplateOverrides(instance_type=ec2.InstanceType(name))
            for name in fleet.instance_types
        ],
        instances_distribution=autoscaling.InstancesDistribution(
            on_demand_allocation_strategy=autoscaling.OnDemandAllocationStrategy.PRIORITIZED,
            on_demand_base_capacity=fleet.on_demand_base if spot else None,
            on_demand_percentage_above_base_capacity=100 - fleet.spot_percent,
            spot_allocation_strategy=autoscaling.SpotAllocationStrategy.CAPACITY_OPTIMIZED_PRIORITIZED
            if spot
            else None,
        ),
    )


def _rollout(fleet: Fleet, stopping: Sequence[cloudwatch.IAlarm]) -> autoscaling.UpdatePolicy:
    """A new instance before an old one goes, step by step, stopped and undone by any alarm.

    One that is already as wanted stays: going back replaces what the rollout brought, and nothing else.
    """
    return autoscaling.UpdatePolicy.instance_refresh(
        strategy=autoscaling.InstanceRefreshStrategy.ROLLING,
        min_healthy_percentage=MIN_HEALTHY_PERCENT,
        max_healthy_percentage=MAX_HEALTHY_PERCENT,
        checkpoint_percentages=list(fleet.checkpoints_percent),
        checkpoint_delay=cdk.Duration.minutes(fleet.checkpoint_delay_minutes),
        bake_time=cdk.Duration.minutes(fleet.bake_minutes),
        skip_matching=True,  # a template's default, and not that of the API
        alarms=list(stopping),
    )


def _show_template_to_policies(group: autoscaling.AutoScalingGroup, template: ec2.LaunchTemplate) -> None:
    """Let cdk-nag check the launch template behind the mixed-instances policy.

    Its rules on disks and IMDS look for a template in this one property (cdklabs/cdk-nag#1902), the
    one on disks by its name only. CloudFormation takes one or the other, so it does not get this.
    """
    resource, launch = group.node.find_child("ASG"), template.node.default_child
    if not isinstance(resource, autoscaling.CfnAutoScalingGroup) or not isinstance(
        launch, ec2.CfnLaunchTemplate
    ):
        raise TypeError(f"{group.node.path} is not an Auto Scaling group with a launch template")
    resource.launch_template = autoscaling.CfnAutoScalingGroup.LaunchTemplateSpecificationProperty(
        launch_template_name=launch.launch_template_name, version=template.latest_version_number
    )
    resource.add_property_deletion_override("LaunchTemplate")
