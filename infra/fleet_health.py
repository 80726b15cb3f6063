"""What is watched of a fleet: three alarms that stop a rollout, and one picture."""

from __future__ import annotations

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticloadbalancingv2 as elb

from artifact.release import ReleaseLock
from infra.alarms import PERIOD, Watch, caption, error_percent
from infra.replica_metrics import replica_widgets
from settings.model import Alarms, Serve

MILLISECONDS = 1000
FAILED = elb.HttpCodeTarget.TARGET_5XX_COUNT


def watch_fleet(
    watch: Watch, targets: elb.IApplicationTargetGroupMetrics, wanted: Alarms, *, min_size: int
) -> None:
    """Add the alarms on errors, latency and, where a fleet must never be empty, healthy replicas."""
    failed = {
        "server": targets.http_code_target(FAILED, period=PERIOD),
        "connection": targets.target_connection_error_count(period=PERIOD),
    }
    errors = error_percent(failed, targets.request_count(period=PERIOD))
    slow = targets.target_response_time(period=PERIOD, statistic="p99")
    watch.above("Errors", errors, wanted.error_rate_percent, "Share of requests that failed, in percent")
    watch.above(
        "Latency",
        slow,
        wanted.latency_p99_ms / MILLISECONDS,
        "99th percentile of the answer time, in seconds",
    )
    if min_size > 0:
        healthy = targets.healthy_host_count(period=PERIOD, statistic="Minimum")
        watch.below("HealthyHosts", healthy, min_size, "Replicas that answer /ping with 200")


def fleet_dashboard(
    watch: Watch, targets: elb.IApplicationTargetGroupMetrics, lock: ReleaseLock, serve: Serve
) -> None:
    """One picture: release, alarms, traffic, latency, errors, replicas and what they tell of themselves."""
    stack, graph = watch.stack, cloudwatch.GraphWidget
    times = [targets.target_response_time(statistic=statistic) for statistic in ("p50", "p99")]
    replicas = [targets.healthy_host_count(), targets.unhealthy_host_count()]
    board = cloudwatch.Dashboard(stack, "Dashboard", dashboard_name=stack.stack_name)
    board.add_widgets(
        caption(lock),
        cloudwatch.AlarmStatusWidget(title="Alarms", alarms=watch.alarms, width=24, height=3),
        graph(title="Requests", left=[targets.request_count()]),
        graph(title="Time to answer", left=times),
        graph(title="Failed requests", left=[targets.http_code_target(FAILED)]),
        graph(title="Replicas", left=replicas),
        *replica_widgets(serve, service=stack.stack_name),
    )
