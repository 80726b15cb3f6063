"""Auto Scaling: how many machines, of what kind, when, and which of them count."""

from __future__ import annotations

from typing import Any

from infra.names import READY_HOOK
from infra.rules.template import Resource, Template, at, listed, refers_to, rule
from infra.timing import SPOT_NOTICE_SECONDS

GROUP = "AWS::AutoScaling::AutoScalingGroup"
HOOK = "AWS::AutoScaling::LifecycleHook"
WARM_POOL = "AWS::AutoScaling::WarmPool"
SCHEDULED = "AWS::AutoScaling::ScheduledAction"
POLICY = "AWS::AutoScaling::ScalingPolicy"
ALARM = "AWS::CloudWatch::Alarm"


@rule(
    "joins-proven",
    GROUP,
    what="A new instance joins when it says that its golden set passed, and is given up otherwise",
    why="without the hook it counts as capacity while it still loads, and a rollout goes on over it",
    fix=f"add the hook {READY_HOOK} on EC2_INSTANCE_LAUNCHING that ABANDONs, longer than the grace period",
)
def joins_proven(resource: Resource, template: Template) -> bool:
    return any(
        hook.at("LifecycleHookName") == READY_HOOK
        and "EC2_INSTANCE_LAUNCHING" in hook.at("LifecycleTransition")
        and hook.at("DefaultResult") == "ABANDON"
        and int(hook.at("HeartbeatTimeout")) >= int(resource.at("HealthCheckGracePeriod"))
        for hook in template.beside(resource, HOOK, "AutoScalingGroupName")
    )


@rule(
    "replaced-one-ahead",
    GROUP,
    what="An ill or old instance goes after a new one is in service, as in a rollout",
    why="by default Auto Scaling ends the instance first, and a fleet of one is gone for a whole start",
    fix="give InstanceMaintenancePolicy the percentages of the instance refresh",
)
def replaced_one_ahead(resource: Resource, _: Template) -> bool:
    preferences = resource.body["UpdatePolicy"]["AutoScalingInstanceRefresh"]["Preferences"]
    policy = resource.at("InstanceMaintenancePolicy")
    names = ("MinHealthyPercentage", "MaxHealthyPercentage")
    return policy["MinHealthyPercentage"] == 100 and all(policy[n] == preferences[n] for n in names)


@rule(
    "group-counts-itself",
    GROUP,
    what="The group publishes its sizes every minute",
    why="alarms on missing replicas and the scaling read them; a group publishes none unasked",
    fix="give MetricsCollection the granularity 1Minute and no list of metrics",
)
def group_counts_itself(resource: Resource, _: Template) -> bool:
    return any(
        row["Granularity"] == "1Minute" and not row.get("Metrics")
        for row in listed(resource.at("MetricsCollection"))
    )


@rule(
    "missing-replicas-alarm",
    GROUP,
    what="Missing replicas raise an alarm, also when nothing is reported, and not when none is wanted",
    why="a fixed floor rings every night that the fleet sleeps, and is switched off for good one day",
    fix="compare HealthyHostCount with the group's own GroupMinSize or GroupDesiredCapacity",
)
def missing_replicas_alarm(resource: Resource, template: Template) -> bool:
    wanted = {"GroupMinSize", "GroupDesiredCapacity"}
    return all(
        any(
            alarm.at("TreatMissingData") == "breaching"
            and "HealthyHostCount" in _metrics(alarm, resource)
            and name in _metrics(alarm, resource)
            for alarm in template.all(ALARM)
        )
        for name in wanted
    )


@rule(
    "spot-is-expected-to-go",
    GROUP,
    what="Spot comes from the fullest pools, at up to on-demand's price, and is replaced before it is taken",
    why="the default strategy takes the cheapest pool, which is interrupted most",
    fix="set SpotAllocationStrategy to capacity-optimized-prioritized and CapacityRebalance, no SpotMaxPrice",
)
def spot_is_expected_to_go(resource: Resource, template: Template) -> bool:
    if not _has_spot(resource):
        return True
    distribution = resource.at("MixedInstancesPolicy", "InstancesDistribution")
    hooks = template.beside(resource, HOOK, "AutoScalingGroupName")
    leaving = [hook for hook in hooks if "TERMINATING" in hook.at("LifecycleTransition")]
    return (
        str(distribution["SpotAllocationStrategy"]).startswith("capacity-optimized")
        and distribution.get("SpotMaxPrice") is None
        and resource.at("CapacityRebalance") is True
        and all(int(hook.at("HeartbeatTimeout")) <= SPOT_NOTICE_SECONDS for hook in leaving)
    )


@rule(
    "waits-on-demand",
    WARM_POOL,
    what="A warm pool belongs to a group without Spot, and its instances are stopped",
    why="Spot is taken back while it waits; and an instance answers the launch hook when it boots, which a "
    "running or hibernated one does not do again when it leaves the pool",
    fix="set OnDemandPercentageAboveBaseCapacity to 100, PoolState to Stopped",
)
def waits_on_demand(resource: Resource, template: Template) -> bool:
    groups = [
        group for group in template.all(GROUP) if refers_to(resource.at("AutoScalingGroupName"), group.id)
    ]
    return (
        bool(groups)
        and not any(_has_spot(group) for group in groups)
        and resource.at("PoolState") == "Stopped"
    )


@rule(
    "schedule-comes-back",
    SCHEDULED,
    what="A change of size by the clock names its time zone, and a bound that it sets is set back",
    why="UTC moves by an hour twice a year against those who call; a bound that is set once stays for ever",
    fix="set TimeZone, and give another scheduled action the same bound",
)
def schedule_comes_back(resource: Resource, template: Template) -> bool:
    others = [other for other in template.all(SCHEDULED) if other.id != resource.id]
    back = all(
        any(other.at(bound) is not None for other in others)
        for bound in ("MinSize", "MaxSize")
        if resource.at(bound) is not None
    )
    return back and bool(resource.at("TimeZone")) and bool(resource.at("Recurrence"))


@rule(
    "shrinks-no-faster-than-it-grows",
    POLICY,
    what="Instances are taken away by steps of a bounded share, after at least as long as they are added",
    why="what goes in a short gap is missing when the callers are back, and takes minutes to start",
    fix="raise EvaluationPeriods of the alarm that shrinks, and limit its steps to less than the whole fleet",
)
def shrinks_no_faster_than_it_grows(resource: Resource, template: Template) -> bool:
    if resource.at("PolicyType") == "TargetTrackingScaling":
        return True
    steps = [int(step["ScalingAdjustment"]) for step in resource.at("StepAdjustments")]
    if min(steps) >= 0:
        return True
    growing = [
        policy
        for policy in template.all(POLICY)
        if policy.at("StepAdjustments")
        and min(int(step["ScalingAdjustment"]) for step in policy.at("StepAdjustments")) >= 0
    ]
    slowest = max(_minutes(policy, template) for policy in growing)
    return (
        resource.at("AdjustmentType") == "PercentChangeInCapacity"
        and min(steps) > -100
        and _minutes(resource, template) >= slowest
    )


def _has_spot(group: Resource) -> bool:
    distribution = group.at("MixedInstancesPolicy", "InstancesDistribution")
    return int(distribution["OnDemandPercentageAboveBaseCapacity"]) < 100


def _metrics(alarm: Resource, group: Resource) -> set[str]:
    """Names of the metrics that the alarm's formula reads; those of a group only if it is this one."""
    found = set()
    for row in listed(alarm.at("Metrics")):
        metric: Any = at(row, "MetricStat", "Metric")
        if metric is None:
            continue
        named = {d["Name"]: d["Value"] for d in metric.get("Dimensions", [])}.get("AutoScalingGroupName")
        mine = named is None or named == group.at("AutoScalingGroupName") or refers_to(named, group.id)
        found |= {metric["MetricName"]} if mine else set()
    return found


def _minutes(policy: Resource, template: Template) -> int:
    """Evaluation periods of the alarm that the policy listens to."""
    return max(
        int(alarm.at("EvaluationPeriods"))
        for alarm in template.all(ALARM)
        if refers_to(alarm.at("AlarmActions"), policy.id)
    )
