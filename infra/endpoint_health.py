"""What is watched of an endpoint: alarms for each variant, and one picture.

Metrics name the endpoint as text, not by reference: alarms must be there before an update that
they are to stop. An async endpoint has other metrics than one that answers at once: no requests, no
overhead, and 5xx as an average, which is their share (SageMaker guide, "Monitor asynchronous
endpoint": "an exhaustive list").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import IConstruct

from artifact.release import ReleaseLock
from artifact.serving import DEFAULT_MODEL, METRICS_DIMENSIONS, METRICS_NAMESPACE
from infra.alarms import PERIOD, Watch, caption, error_percent
from infra.cost.catalogue import SAGEMAKER
from infra.cost_widgets import cost_widget
from infra.endpoint_scaling import NAMESPACE
from infra.replica_metrics import replica_widgets
from settings.endpoint import Endpoint
from settings.model import Alarms, Serve

HOST_NAMESPACE = "/aws/sagemaker/Endpoints"
MICROSECONDS = 1000
"""In a millisecond; ModelLatency and OverheadLatency count them."""
SECONDS = 60
SILENT_PERIODS = 5
"""Minutes without a sign of life; one that is late is no alarm."""
FULL_DISK_PERCENT = 85
CAPTURE_STOPS_PERCENT = 75
"""SageMaker stops to capture requests above it. Source: SageMaker guide, "Capture data from real-time
endpoint". It counts no request that it did not capture, so the disk is what can be watched."""
LOST = ("InvocationFailures", "RequestDownloadFailures", "ResponseUploadFailures", "NotificationFailures",
        "ExpiredRequests")  # fmt: skip
HOST = ("CPUUtilization", "MemoryUtilization", "DiskUtilization")


@dataclass(frozen=True)
class Variant:
    """A variant as it is watched. ``label``: what its alarms' names begin with; ``service``: its servers'."""

    name: str
    label: str
    service: str
    lock: ReleaseLock


@dataclass(frozen=True)
class Metrics:
    """Metrics of the endpoint ``endpoint``."""

    endpoint: str

    def of(self, variant: Variant, name: str, statistic: str, label: str = "") -> cloudwatch.Metric:
        """A metric of a variant; labelled with the statistic unless ``label`` says otherwise."""
        dimensions = {"EndpointName": self.endpoint, "VariantName": variant.name}
        namespace = HOST_NAMESPACE if name in HOST else NAMESPACE
        return _metric(namespace, name, statistic, label or statistic, dimensions)

    def of_queue(self, name: str, statistic: str, label: str) -> cloudwatch.Metric:
        """A metric of the queue before an async endpoint."""
        return _metric(NAMESPACE, name, statistic, label, {"EndpointName": self.endpoint})


def watch_answers(
    watch: Watch, metrics: Metrics, variants: Sequence[Variant], wanted: Endpoint, alarms: Alarms
) -> None:
    """Add the alarms that stop an update: errors and latency of each variant, and what SageMaker adds."""
    for variant in variants:
        share = _share_of_errors(metrics, variant, later=wanted.async_ is not None)
        watch.above(
            f"{variant.label}Errors",
            share,
            alarms.error_rate_percent,
            f"Share of {variant.name}'s invocations that failed, in percent",
        )
        watch.above(
            f"{variant.label}Latency",
            metrics.of(variant, "ModelLatency", "p99"),
            alarms.latency_p99_ms * MICROSECONDS,
            f"99th percentile of {variant.name}'s time, in microseconds",
        )
        if wanted.async_ is None:
            watch.above(
                f"{variant.label}Overhead",
                metrics.of(variant, "OverheadLatency", "p99"),
                alarms.overhead_p99_ms * MICROSECONDS,
                f"99th percentile of what SageMaker adds to {variant.name}'s time, in microseconds",
            )


def watch_instances(
    watch: Watch,
    metrics: Metrics,
    variants: Sequence[Variant],
    wanted: Endpoint,
    serve: Serve,
    *,
    endpoint: IConstruct,
) -> None:
    """Add the alarms on full disks and, where an endpoint must never be empty, on silence."""
    full = FULL_DISK_PERCENT if wanted.capture is None else CAPTURE_STOPS_PERCENT
    stops = "" if wanted.capture is None else "; capture stops above"
    for variant in variants:
        disk = metrics.of(variant, "DiskUtilization", "Maximum")
        watch.above(f"{variant.label}Disk", disk, full, f"Fullest disk of {variant.name}, in percent{stops}")
        if wanted.async_ is not None:
            continue
        signs = {"Instances": (metrics.of(variant, "CPUUtilization", "SampleCount"), "instance that runs")}
        if serve.metrics_seconds > 0:
            signs["Ready"] = (_ready(variant), "server that passed its golden set")
        for name, (sign, what) in signs.items():
            watch.below(
                f"{variant.label}{name}",
                sign,
                1,
                f"Below 1: {variant.name} has no {what}",
                after=endpoint,
                periods=SILENT_PERIODS,
            )


def watch_queue(watch: Watch, metrics: Metrics, variant: Variant, *, max_age_minutes: int) -> None:
    """Add the alarms of an async endpoint: requests that wait too long, and requests that are lost."""
    age = metrics.of_queue("ApproximateAgeOfOldestRequest", "Maximum", "oldest")
    watch.above("Waiting", age, max_age_minutes * SECONDS, "Age of the oldest waiting request, in seconds")
    lost = {name[0].lower() + name[1:]: metrics.of(variant, name, "Sum", name) for name in LOST}
    total = cloudwatch.MathExpression(
        expression=" + ".join(f"FILL({name}, 0)" for name in lost),
        using_metrics=lost,
        period=PERIOD,
        label="lost",
    )
    watch.above("Lost", total, 0, "Requests that failed, expired, or whose answer or notice got lost")


def dashboard(
    watch: Watch,
    metrics: Metrics,
    variants: Sequence[Variant],
    wanted: Endpoint,
    serve: Serve,
    *,
    region: str | None,
) -> None:
    """One picture: releases, alarms, traffic, times, errors, hosts, the queue, and what replicas tell."""
    stack, graph = watch.stack, cloudwatch.GraphWidget
    board = cloudwatch.Dashboard(stack, "Dashboard", dashboard_name=stack.stack_name)
    board.add_widgets(
        *(caption(variant.lock) for variant in variants),
        cloudwatch.AlarmStatusWidget(title="Alarms", alarms=watch.alarms, width=24, height=3),
        *_traffic(metrics, variants, later=wanted.async_ is not None),
        graph(
            title="Errors",
            left=_each(metrics, variants, ("Invocation4XXErrors", "Sum"), ("Invocation5XXErrors", "Sum")),
        ),
        *(graph(title=f"{name[:-11]}, %", left=_each(metrics, variants, (name, "Maximum"))) for name in HOST),
        graph(title="Instances", left=_each(metrics, variants, ("CPUUtilization", "SampleCount"))),
        cost_widget(region, [f"{SAGEMAKER}{wanted.instance_type}"], _instances(metrics, variants)),
        *(widget for variant in variants for widget in replica_widgets(serve, service=variant.service)),
    )


def _instances(metrics: Metrics, variants: Sequence[Variant]) -> cloudwatch.MathExpression:
    """Of all variants together: each instance tells of its processor once a minute."""
    counts = {
        f"of{at}": metrics.of(variant, "CPUUtilization", "SampleCount") for at, variant in enumerate(variants)
    }
    return cloudwatch.MathExpression(
        expression=" + ".join(f"FILL({name}, 0)" for name in counts), using_metrics=counts, period=PERIOD
    )


def _traffic(metrics: Metrics, variants: Sequence[Variant], *, later: bool) -> list[cloudwatch.IWidget]:
    graph = cloudwatch.GraphWidget
    times = _each(metrics, variants, ("ModelLatency", "p50"), ("ModelLatency", "p99"))
    if not later:
        return [
            graph(title="Requests", left=_each(metrics, variants, ("Invocations", "Sum"))),
            graph(title="Load, a replica", left=_each(metrics, variants, ("InvocationsPerInstance", "Sum"))),
            graph(title="Time to answer (µs)", left=times),
            graph(
                title="Time that SageMaker adds (µs)",
                left=_each(metrics, variants, ("OverheadLatency", "p50"), ("OverheadLatency", "p99")),
            ),
        ]
    backlog = [
        metrics.of_queue("ApproximateBacklogSize", "Maximum", "waiting"),
        metrics.of_queue("ApproximateBacklogSizePerInstance", "Average", "an instance"),
    ]
    age = metrics.of_queue("ApproximateAgeOfOldestRequest", "Maximum", "oldest")
    return [
        graph(title="Backlog", left=backlog),
        graph(title="Age of the oldest request (s)", left=[age]),
        graph(title="Time of the model (µs)", left=times),
        graph(title="Lost", left=_each(metrics, variants, *((name, "Sum") for name in LOST))),
    ]


def _each(
    metrics: Metrics, variants: Sequence[Variant], *wanted: tuple[str, str]
) -> list[cloudwatch.IMetric]:
    """Every one of the metrics for every variant."""
    return [
        metrics.of(variant, name, statistic, f"{variant.name} {_short(name, statistic)}")
        for variant in variants
        for name, statistic in wanted
    ]


def _short(name: str, statistic: str) -> str:
    return statistic if statistic.startswith("p") else name.removeprefix("Invocation")


def _ready(variant: Variant) -> cloudwatch.Metric:
    """1 where at least one server of the variant is ready; each tells it of itself."""
    dimensions = dict(zip(METRICS_DIMENSIONS, (variant.service, DEFAULT_MODEL)))
    return _metric(METRICS_NAMESPACE, "Ready", "Maximum", "ready", dimensions)


def _share_of_errors(metrics: Metrics, variant: Variant, *, later: bool) -> cloudwatch.MathExpression:
    if not later:
        requests = metrics.of(variant, "Invocations", "Sum", "requests")
        return error_percent(
            {"server": metrics.of(variant, "Invocation5XXErrors", "Sum", "errors")}, requests
        )
    failed = metrics.of(variant, "Invocation5XXErrors", "Average", "errors")
    return cloudwatch.MathExpression(
        expression="100 * failed", using_metrics={"failed": failed}, period=PERIOD, label="errors %"
    )


def _metric(
    namespace: str, name: str, statistic: str, label: str, dimensions: dict[str, str]
) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        statistic=statistic,
        period=PERIOD,
        label=label,
        dimensions_map=dimensions,
    )
