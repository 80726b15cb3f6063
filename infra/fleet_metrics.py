"""What a fleet is measured by: its load balancer, its Auto Scaling group, and what replicas tell.

All by the minute, so that a formula may mix them. The group is named, not referred to: its rollouts
are stopped by alarms on these metrics, and CloudFormation allows no circle.
"""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticloadbalancingv2 as elb

from artifact.serving import DEFAULT_MODEL, METRICS_DIMENSIONS, METRICS_NAMESPACE
from infra.alarms import PERIOD

GROUP_NAMESPACE = "AWS/AutoScaling"
FAILED = elb.HttpCodeTarget.TARGET_5XX_COUNT


@dataclass(frozen=True)
class FleetMetrics:
    """Metrics of one fleet. ``group``: the Auto Scaling group; ``service``: what replicas call the fleet."""

    targets: elb.IApplicationTargetGroupMetrics
    balancer: elb.IApplicationLoadBalancerMetrics
    group: str
    service: str

    @property
    def requests(self) -> cloudwatch.IMetric:
        """Requests a minute for which the load balancer could choose a target."""
        return self.targets.request_count(period=PERIOD)

    @property
    def failed_by_server(self) -> cloudwatch.IMetric:
        """Answers 5xx of replicas."""
        return self.targets.http_code_target(FAILED, period=PERIOD)

    @property
    def failed_by_balancer(self) -> cloudwatch.IMetric:
        """Answers 5xx of the load balancer itself: no target, none that accepts, none that answers."""
        return self.balancer.http_code_elb(elb.HttpCodeElb.ELB_5XX_COUNT, period=PERIOD)

    @property
    def healthy(self) -> cloudwatch.IMetric:
        """Replicas that answer /ping with 200; nothing at all where none is registered."""
        return self.targets.healthy_host_count(period=PERIOD, statistic="Minimum")

    @property
    def in_flight(self) -> cloudwatch.IMetric:
        """Requests in flight, the average of all replicas that tell."""
        return cloudwatch.Metric(
            namespace=METRICS_NAMESPACE,
            metric_name="RequestsInFlight",
            dimensions_map=dict(zip(METRICS_DIMENSIONS, (self.service, DEFAULT_MODEL))),
            statistic="Average",
            period=PERIOD,
            label="in flight, a replica",
        )

    def answer_time(self, statistic: str) -> cloudwatch.IMetric:
        """Seconds from the load balancer to a replica and back."""
        return self.targets.target_response_time(period=PERIOD, statistic=statistic)

    def size(self, name: str, label: str) -> cloudwatch.IMetric:
        """One of the group's own metrics, such as ``GroupDesiredCapacity``."""
        return cloudwatch.Metric(
            namespace=GROUP_NAMESPACE,
            metric_name=name,
            dimensions_map={"AutoScalingGroupName": self.group},
            statistic="Average",
            period=PERIOD,
            label=label,
        )
