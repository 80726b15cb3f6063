"""SageMaker endpoints beyond one model: canaries, captured requests, queues, and what scales them."""

from __future__ import annotations

from typing import Any

from infra.rhythm import REACTION_SECONDS
from infra.rules.template import Resource, Template, at, listed, refers_to, rule, text

CONFIG = "AWS::SageMaker::EndpointConfig"
ENDPOINT = "AWS::SageMaker::Endpoint"
TARGET = "AWS::ApplicationAutoScaling::ScalableTarget"
POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy"
ALARM = "AWS::CloudWatch::Alarm"
STABLE = "stable"


@rule(
    "canary-starts-without-traffic",
    CONFIG,
    what="A release that nobody tried gets no traffic",
    why="a new endpoint gives every variant its initial weight at once",
    fix=f"set InitialVariantWeight to 0 for every variant but {STABLE!r}, and there to more",
)
def canary_starts_without_traffic(resource: Resource, _: Template) -> bool:
    weights = {row["VariantName"]: row["InitialVariantWeight"] for row in resource.at("ProductionVariants")}
    return weights.pop(STABLE) > 0 and not any(weights.values())


@rule(
    "capture-follows-the-settings",
    ENDPOINT,
    what="What is captured of requests is what the configuration says",
    why="an update that retains all of a variant retains its capture, too, and would go on when told to stop",
    fix="name DataCaptureConfig in ExcludeRetainedVariantProperties",
)
def capture_follows_the_settings(resource: Resource, _: Template) -> bool:
    excluded = listed(resource.at("ExcludeRetainedVariantProperties"))
    return {"VariantPropertyType": "DataCaptureConfig"} in excluded


@rule(
    "requests-are-encrypted",
    CONFIG,
    what="Copies of requests, and answers that are given later, are encrypted with a key of one's own",
    why="they hold what callers sent",
    fix="set KmsKeyId in DataCaptureConfig and in AsyncInferenceConfig.OutputConfig",
)
def requests_are_encrypted(resource: Resource, _: Template) -> bool:
    capture, later = resource.at("DataCaptureConfig"), resource.at("AsyncInferenceConfig")
    if capture is not None and not capture["KmsKeyId"]:
        return False
    return later is None or bool(later["OutputConfig"]["KmsKeyId"])


@rule(
    "capture-captures",
    CONFIG,
    what="Capture that is on keeps something",
    why="0 percent looks like a record of what was asked and is none",
    fix="set InitialSamplingPercentage above 0 and EnableCapture, or remove DataCaptureConfig",
)
def capture_captures(resource: Resource, _: Template) -> bool:
    capture = resource.at("DataCaptureConfig")
    return capture is None or (capture["InitialSamplingPercentage"] > 0 and capture["EnableCapture"] is True)


@rule(
    "update-goes-back",
    ENDPOINT,
    what="Where SageMaker shifts the traffic, alarms of the stack send it back",
    why="a part that is looked at by nobody is a slower way to the same outage",
    fix="name the alarms in AutoRollbackConfiguration, and make both waits longer than an alarm's reaction",
)
def update_goes_back(resource: Resource, template: Template) -> bool:
    shifting = resource.at("DeploymentConfig")
    if shifting is None:
        return True
    there = {alarm.id for alarm in template.all(ALARM)}
    named = [at(row, "AlarmName", "Ref") for row in shifting["AutoRollbackConfiguration"]["Alarms"]]
    policy = shifting["BlueGreenUpdatePolicy"]
    waits = (
        policy["TrafficRoutingConfiguration"]["WaitIntervalInSeconds"],
        policy["TerminationWaitInSeconds"],
    )
    return bool(named) and set(named) <= there and min(waits) > REACTION_SECONDS


@rule(
    "wakes-from-zero",
    TARGET,
    what="An endpoint without an instance starts one when a request waits",
    why="nothing is divided by no instance, so the backlog an instance never says so",
    fix="keep the step policy and its alarm on HasBacklogWithoutCapacity, or set MinCapacity to 1",
)
def wakes_from_zero(resource: Resource, template: Template) -> bool:
    actions = [row["ScalableTargetAction"]["MinCapacity"] for row in listed(resource.at("ScheduledActions"))]
    if 0 not in (resource.at("MinCapacity"), *actions):
        return True
    steps = [
        policy.id
        for policy in template.beside(resource, POLICY, "ScalingTargetId")
        if policy.at("PolicyType") == "StepScaling"
    ]
    return _is_async(template) and any(
        alarm.at("MetricName") == "HasBacklogWithoutCapacity"
        and any(refers_to(alarm.at("AlarmActions"), step) for step in steps)
        for alarm in template.all(ALARM)
    )


@rule(
    "scales-on-its-own-metric",
    POLICY,
    what="An endpoint scales on a metric that SageMaker publishes for its kind",
    why="an async endpoint has no invocations and another one no backlog; a backlog is the endpoint's, and "
    "nothing is ever published for one of its variants",
    fix="at once: SageMakerVariantInvocationsPerInstance; async: ApproximateBacklogSizePerInstance with the "
    "dimension EndpointName alone",
)
def scales_on_its_own_metric(resource: Resource, template: Template) -> bool:
    tracked = resource.at("TargetTrackingScalingPolicyConfiguration")
    if tracked is None:
        return True
    if not _is_async(template):
        predefined = at(tracked, "PredefinedMetricSpecification", "PredefinedMetricType")
        return bool(predefined == "SageMakerVariantInvocationsPerInstance")
    metric = tracked["CustomizedMetricSpecification"]
    dimensions = [row["Name"] for row in metric["Dimensions"]]
    return metric["MetricName"] == "ApproximateBacklogSizePerInstance" and dimensions == ["EndpointName"]


@rule(
    "silence-is-seen",
    ENDPOINT,
    what="An endpoint that stopped to answer, or to work off its queue, is noticed",
    why="no request fails where no instance is left to count it",
    fix="keep an alarm for which missing data is breaching; async: one on ApproximateAgeOfOldestRequest",
)
def silence_is_seen(_: Resource, template: Template) -> bool:
    if _is_async(template):
        return "ApproximateAgeOfOldestRequest" in {name for a in template.all(ALARM) for name in _metrics(a)}
    return any(alarm.at("TreatMissingData") == "breaching" for alarm in template.all(ALARM))


@rule(
    "each-variant-is-watched",
    CONFIG,
    what="Errors of every variant have an alarm",
    why="a canary's errors drown in the traffic of the release beside it",
    fix="keep an alarm on Invocation5XXErrors with each VariantName",
)
def each_variant_is_watched(resource: Resource, template: Template) -> bool:
    watched = text(
        [row for alarm in template.all(ALARM) for row in _dimensions(alarm, "Invocation5XXErrors")]
    )
    return all(row["VariantName"] in watched.split() for row in resource.at("ProductionVariants"))


def _is_async(template: Template) -> bool:
    return any(config.at("AsyncInferenceConfig") is not None for config in template.all(CONFIG))


def _single(alarm: Resource) -> list[dict[str, Any]]:
    """The metrics of an alarm, each with name and dimensions."""
    own = {"MetricName": alarm.at("MetricName"), "Dimensions": alarm.at("Dimensions")}
    rows = [at(row, "MetricStat", "Metric") for row in listed(alarm.at("Metrics"))]
    return [own, *(row for row in rows if row is not None)]


def _metrics(alarm: Resource) -> list[Any]:
    return [row["MetricName"] for row in _single(alarm)]


def _dimensions(alarm: Resource, name: str) -> list[Any]:
    """Values of the dimensions of the metric ``name`` in an alarm."""
    rows = [row for row in _single(alarm) if row["MetricName"] == name]
    return [dimension["Value"] for row in rows for dimension in listed(row.get("Dimensions"))]
