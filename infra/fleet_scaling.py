"""How many instances a fleet has: by requests in flight, with requests a minute as the back-up.

Two step policies share one estimate, replicas needed = in flight on all of them / target, rounded up.
They grow the fleet after minutes and shrink it after many, by no more than a factor at a time
(scaling_steps.py), as cortex did for its realtime workloads (cortexlabs/cortex at 0.42). Target
tracking on requests, which needs no word of the replicas, only adds; what it would add is not taken away.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions

from artifact.release import ReleaseLock
from infra.alarms import PERIOD
from infra.fleet_metrics import FleetMetrics
from infra.rhythm import PERIOD_SECONDS
from infra.scaling_steps import Step, growing, shrinking
from infra.stack import ProjectStack, without_said_dependency
from infra.throughput import per_replica_in_flight, per_replica_minute
from settings.model import Fleet, Settings


def scale_fleet(
    stack: ProjectStack,
    group: autoscaling.AutoScalingGroup,
    metrics: FleetMetrics,
    *,
    settings: Settings,
    fleet: Fleet,
    lock: ReleaseLock,
) -> None:
    """Add the policies; without the replicas' own metrics requests a minute decide alone."""
    told = settings.serve.metrics_seconds > 0
    backup = group.scale_on_request_count(
        "Requests", target_requests_per_minute=per_replica_minute(lock), disable_scale_in=told
    )
    without_said_dependency(backup)
    if not told:
        return
    scaling, load = fleet.scaling, _Load(metrics, settings=settings, fleet=fleet, lock=lock)
    _policy(stack, group, "ScaleOut", load.missing(), growing(scaling), minutes=scaling.out_minutes)
    _policy(stack, group, "ScaleIn", load.idle(), shrinking(scaling), minutes=scaling.in_minutes)


class _Load:
    """Replicas that are missing or idle, in percent of those wanted; no value where none is wanted."""

    def __init__(self, metrics: FleetMetrics, *, settings: Settings, fleet: Fleet, lock: ReleaseLock) -> None:
        self._metrics = metrics
        target = fleet.scaling.in_flight or per_replica_in_flight(settings, lock, fleet.instance_types)
        self._busy = f"CEIL(inflight * serving / {target:g})"
        self._asked = f"CEIL(FILL(requests, 0) / {per_replica_minute(lock)})"

    def missing(self) -> cloudwatch.MathExpression:
        """By requests in flight."""
        return self._expression(f"100 * ({self._busy} - wanted) / wanted", label="missing %")

    def idle(self) -> cloudwatch.MathExpression:
        """Needed by neither requests in flight nor requests a minute."""
        needed = f"IF({self._busy} > {self._asked}, {self._busy}, {self._asked})"
        return self._expression(f"100 * (wanted - {needed}) / wanted", label="idle %", asked=True)

    def _expression(self, formula: str, *, label: str, asked: bool = False) -> cloudwatch.MathExpression:
        size = self._metrics.size
        metrics = {
            "inflight": self._metrics.in_flight,
            "serving": size("GroupInServiceInstances", "in service"),
            "wanted": size("GroupDesiredCapacity", "wanted"),
            **({"requests": self._metrics.requests} if asked else {}),
        }
        return cloudwatch.MathExpression(
            expression=formula, using_metrics=metrics, period=PERIOD, label=label
        )


def _policy(
    stack: ProjectStack,
    group: autoscaling.AutoScalingGroup,
    name: str,
    metric: cloudwatch.IMetric,
    steps: Sequence[Step],
    *,
    minutes: int,
) -> None:
    """A step policy and the alarm that it listens to, which wakes nobody."""
    threshold = steps[0].lower
    action = autoscaling.StepScalingAction(
        stack,
        name,
        auto_scaling_group=group,
        adjustment_type=autoscaling.AdjustmentType.PERCENT_CHANGE_IN_CAPACITY,
        min_adjustment_magnitude=1,
        # Of the minutes that made the alarm the mildest counts: a peak or a gap alone moves nothing.
        metric_aggregation_type=autoscaling.MetricAggregationType.MINIMUM,
    )
    for step in steps:
        upper = None if step.upper is None else step.upper - threshold
        action.add_adjustment(adjustment=step.change, lower_bound=step.lower - threshold, upper_bound=upper)
    alarm = cloudwatch.Alarm(
        stack,
        f"{name}Alarm",
        metric=metric,
        threshold=threshold,
        evaluation_periods=minutes * 60 // PERIOD_SECONDS,
        comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        alarm_description=f"{name} of the fleet; it changes its size and wakes nobody",
    )
    alarm.add_alarm_action(actions.AutoScalingAction(action))
