"""What replicas tell of themselves (``inference_code/emf.py``), as widgets of a dashboard.

Every replica writes to the same metrics, so an average is one per replica, or per core, and needs no
dimension for each of them, which would be paid for and would go with its instance.
"""

from __future__ import annotations

from aws_cdk import aws_cloudwatch as cloudwatch

from artifact.serving import DEFAULT_MODEL, METRICS_DIMENSIONS, METRICS_NAMESPACE
from infra.alarms import PERIOD
from settings.model import Serve

STAGES = ("Read", "Prepare", "Queue", "Run", "Write")


def replica_widgets(serve: Serve, *, service: str) -> list[cloudwatch.IWidget]:
    """Load, queue, cores, stages and padding of ``service``; nothing where its servers write no metrics."""
    if serve.metrics_seconds == 0:
        return []

    def metric(name: str, statistic: str, label: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=METRICS_NAMESPACE,
            metric_name=name,
            dimensions_map=dict(zip(METRICS_DIMENSIONS, (service, DEFAULT_MODEL))),
            statistic=statistic,
            period=PERIOD,
            label=label,
        )

    def levels(name: str) -> list[cloudwatch.IMetric]:
        return [metric(name, "Average", "average"), metric(name, "Maximum", "highest")]

    def percent(part: str, whole: tuple[str, ...], label: str) -> cloudwatch.IMetric:
        return cloudwatch.MathExpression(
            expression=f"100 * {part.lower()} / ({' + '.join(whole).lower()})",
            using_metrics={name.lower(): metric(name, "Sum", name) for name in dict.fromkeys((part, *whole))},
            period=PERIOD,
            label=label,
        )

    stages: list[cloudwatch.IMetric] = [metric(f"{stage}Latency", "p99", stage.lower()) for stage in STAGES]
    waste = percent("PaddingTokens", ("RealTokens", "PaddingTokens"), "padding")
    fill = percent("BatchRows", ("BatchSlots",), "rows of a batch in use")
    graph = cloudwatch.GraphWidget
    return [
        graph(title="Requests in flight, a replica", left=levels("RequestsInFlight")),
        graph(title="Rows that wait, a replica", left=levels("QueueRows")),
        graph(title="Use of a core, %", left=levels("CoreUse")),
        graph(title="Stages of a request, p99 in ms", left=stages),
        graph(title="Padding and fill, %", left=[waste, fill]),
        graph(title="Shed by the server", left=[metric("ShedRequests", "Sum", "429 and 503")]),
    ]
