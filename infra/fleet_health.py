"""What is watched of a fleet: three alarms that stop a rollout, one that is slower, and one picture."""

from __future__ import annotations

from aws_cdk import aws_cloudwatch as cloudwatch

from artifact.release import ReleaseLock
from infra.alarms import PERIOD, Watch, caption
from infra.cost.catalogue import EC2
from infra.cost_widgets import cost_widget
from infra.fleet_metrics import FleetMetrics
from infra.neuron_metrics import chip_widgets
from infra.replica_metrics import replica_widgets
from infra.throughput import MILLISECONDS
from infra.timing import missing_minutes
from settings.model import Alarms, Fleet, Settings


def watch_fleet(watch: Watch, metrics: FleetMetrics, wanted: Alarms, lock: ReleaseLock) -> None:
    """Add the alarms on errors, latency and replicas."""
    watch.above(
        "Errors", _errors(metrics), wanted.error_rate_percent, "Share of requests that failed, in percent"
    )
    watch.above(
        "Latency",
        metrics.answer_time("p99"),
        wanted.latency_p99_ms / MILLISECONDS,
        "99th percentile of the answer time, in seconds",
    )
    watch.above(
        "HealthyHosts",
        _below_floor(metrics),
        0,
        "Replicas that are missing to the smallest size of the group, of those in service",
        silence_is_bad=True,
    )
    watch.above(
        "MissingHosts",
        _missing(metrics),
        0,
        "Replicas that are wanted and do not serve, for longer than one takes to start",
        silence_is_bad=True,
        minutes=missing_minutes(lock),
    )


def _errors(metrics: FleetMetrics) -> cloudwatch.MathExpression:
    """Share of failed requests in percent.

    The load balancer counts a request that found no target as failed and not as a request. A fleet
    that is wanted empty refuses everything and is not at fault. A minute without requests has no value.
    """
    failed = "(FILL(server, 0) + FILL(balancer, 0))"
    asked = f"IF(FILL(requests, 0) > {failed}, FILL(requests, 0), {failed})"
    return cloudwatch.MathExpression(
        expression=f"IF(FILL(wanted, 1) > 0, 100 * {failed} / {asked}, 0)",
        using_metrics={
            "server": metrics.failed_by_server,
            "balancer": metrics.failed_by_balancer,
            "requests": metrics.requests,
            "wanted": metrics.size("GroupDesiredCapacity", "wanted"),
        },
        period=PERIOD,
        label="errors %",
    )


def _below_floor(metrics: FleetMetrics) -> cloudwatch.MathExpression:
    """The floor is the group's own smallest size, which a schedule moves, and no more than is in service:
    in the morning replicas come one by one, and each that came must be healthy."""
    return cloudwatch.MathExpression(
        expression="IF(smallest < serving, smallest, serving) - FILL(healthy, 0)",
        using_metrics={
            "smallest": metrics.size("GroupMinSize", "smallest size"),
            "serving": metrics.size("GroupInServiceInstances", "in service"),
            "healthy": metrics.healthy,
        },
        period=PERIOD,
        label="missing to the smallest size",
    )


def _missing(metrics: FleetMetrics) -> cloudwatch.MathExpression:
    return cloudwatch.MathExpression(
        expression="wanted - FILL(healthy, 0)",
        using_metrics={
            "wanted": metrics.size("GroupDesiredCapacity", "wanted"),
            "healthy": metrics.healthy,
        },
        period=PERIOD,
        label="wanted and missing",
    )


def fleet_dashboard(
    watch: Watch,
    metrics: FleetMetrics,
    lock: ReleaseLock,
    settings: Settings,
    fleet: Fleet,
    *,
    on_chips: bool = False,
) -> None:
    """One picture: release, alarms, traffic, latency, errors, replicas, what they tell, what is paid for."""
    stack, graph, region = watch.stack, cloudwatch.GraphWidget, settings.project.region
    replicas = [
        metrics.size("GroupDesiredCapacity", "wanted"),
        metrics.size("GroupInServiceInstances", "in service"),
        metrics.targets.healthy_host_count(label="healthy"),
        metrics.targets.unhealthy_host_count(label="unhealthy"),
        metrics.size("GroupPendingInstances", "starting"),
        metrics.size("GroupTerminatingInstances", "leaving"),
    ]
    failed = [metrics.failed_by_server, metrics.failed_by_balancer]
    board = cloudwatch.Dashboard(stack, "Dashboard", dashboard_name=stack.stack_name)
    board.add_widgets(
        caption(lock),
        cloudwatch.AlarmStatusWidget(title="Alarms", alarms=watch.alarms, width=24, height=3),
        graph(title="Requests", left=[metrics.requests]),
        graph(title="Time to answer", left=[metrics.answer_time(statistic) for statistic in ("p50", "p99")]),
        graph(title="Failed requests: by replicas, by the load balancer", left=failed),
        graph(title="Replicas", left=replicas),
        *replica_widgets(settings.serve, service=metrics.service),
        *(chip_widgets(service=metrics.service) if on_chips else []),
        *_what_is_paid_for(metrics, fleet, region),
    )


def _what_is_paid_for(metrics: FleetMetrics, fleet: Fleet, region: str | None) -> list[cloudwatch.IWidget]:
    """Instances by the minute, which is what EC2 bills, and what they cost."""
    instances = metrics.size("GroupTotalInstances", "instances")
    counted = [instances, metrics.size("WarmPoolTotalCapacity", "in the warm pool")]
    prices = [f"{EC2}{name}" for name in fleet.instance_types]
    return [
        cloudwatch.GraphWidget(title="Instances that are paid for", left=counted),
        cost_widget(region, prices, instances),
    ]
