"""What the watch of an Inf1 instance tells (``inference_code/host/cloudwatch.py``): alarms and widgets."""

from __future__ import annotations

from aws_cdk import aws_cloudwatch as cloudwatch

from artifact.host import METRICS_DIMENSION
from artifact.serving import METRICS_NAMESPACE
from infra.alarms import PERIOD, Watch


def watch_chips(watch: Watch, *, service: str, min_size: int) -> None:
    """Alarms on faults, which stop a rollout, and on a watch that is silent, which does not.

    The instances that a rollout begins with may have no watch yet, so its silence must not undo the
    very release that brings one.
    """
    faults = _metric("HostFault", "Maximum", service)
    watch.above("HostFault", faults, 0, "An instance is unfit to serve and not replaced yet")
    if min_size > 0:
        reports = _metric("NeuronReports", "Minimum", service)
        what = "Reports of neuron-monitor in an interval, of the instance with the fewest"
        watch.below("NeuronReports", reports, 1, what, stops_rollout=False)


def chip_widgets(*, service: str) -> list[cloudwatch.IWidget]:
    """Cores, memory, executions and damage of ``service``'s chips."""

    def graph(title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
        return cloudwatch.GraphWidget(title=title, left=list(metrics))

    def metric(name: str, statistic: str, label: str) -> cloudwatch.Metric:
        return _metric(name, statistic, service, label)

    return [
        graph(
            "Use of a NeuronCore, %",
            metric("NeuronCoreUse", "Average", "average"),
            metric("NeuronCoreUse", "Maximum", "highest"),
        ),
        graph("Device memory in use, an instance", metric("NeuronDeviceMemory", "Maximum", "highest")),
        graph(
            "An execution on the chips, ms",
            metric("NeuronLatencyP50", "Average", "p50"),
            metric("NeuronLatencyP99", "Maximum", "p99"),
        ),
        graph(
            "Executions",
            metric("NeuronExecutions", "Sum", "all"),
            metric("NeuronFailedExecutions", "Sum", "failed"),
        ),
        graph(
            "Memory errors of the chips",
            metric("NeuronEccCorrected", "Sum", "corrected"),
            metric("NeuronEccUncorrected", "Sum", "uncorrected"),
        ),
        graph(
            "Unfit instances",
            metric("HostFault", "Sum", "minutes unfit"),
            metric("ReplacementsRefused", "Sum", "replacements refused"),
            metric("NeuronReports", "Minimum", "fewest reports"),
            metric("NeuronDevices", "Minimum", "fewest chips"),
        ),
    ]


def _metric(name: str, statistic: str, service: str, label: str | None = None) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=METRICS_NAMESPACE,
        metric_name=name,
        dimensions_map={METRICS_DIMENSION: service},
        statistic=statistic,
        period=PERIOD,
        label=label,
    )
