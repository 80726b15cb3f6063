"""Templates with the fewest resources that a bill needs, and prices that are easy to reckon with."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

import msgspec

from infra.cost.bill import Question, Run
from infra.cost.capacity import Load
from infra.cost.prices import Prices, UnitPrice
from settings.model import Serve
from tests.infra.worlds import lock_of

TODAY = date(2026, 11, 26)
Template = dict[str, Any]


def prices_from(
    table: dict[str, str], *, spot_percent: str | None = None, as_of: date = TODAY, region: str = "here"
) -> Prices:
    """Prices of a plain table."""
    known = {key: UnitPrice(usd=Fraction(usd), as_of=as_of, source="a test") for key, usd in table.items()}
    share = None if spot_percent is None else Fraction(spot_percent)
    return Prices(region=region, known=known, spot_percent=share)


def question_from(example: dict[str, Any]) -> Question:
    """What an example of examples.toml asks."""
    lock = lock_of("inf1")
    facts = msgspec.structs.replace(
        lock.artifact,
        files_bytes=example.get("files_bytes", 2**30),
        archive_bytes=example.get("archive_bytes", 2**30),
    )
    templates = {name: MAKERS[name](example[name]) for name in MAKERS if name in example}
    lock = msgspec.structs.replace(lock, artifact=facts)
    serve = Serve.model_validate({"request_log": "errors", "metrics_seconds": 0, **example.get("serve", {})})
    return Question(
        templates=templates,
        runs={name: Run(lock=lock, serve=serve) for name in templates},
        load=_load(example.get("load", {})),
        today=TODAY,
    )


def _load(table: dict[str, Any]) -> Load:
    values = {name: Fraction(table[name]) for name in ("per_second", "utilization") if name in table}
    return Load(**values, **{name: table[name] for name in ("request_bytes",) if name in table})


def _network(wanted: dict[str, int]) -> Template:
    endpoint = {
        "VpcEndpointType": "Interface",
        "ServiceName": {"Fn::Join": ["", ["com.amazonaws.", {"Ref": "AWS::Region"}, ".ecr.api"]]},
        "SubnetIds": [{"Ref": f"Subnet{at}"} for at in range(wanted["zones"])],
    }
    gateway = {"VpcEndpointType": "Gateway", "ServiceName": "com.amazonaws.eu-west-1.s3"}
    made = {f"Endpoint{at}": ("AWS::EC2::VPCEndpoint", endpoint) for at in range(wanted["endpoints"])}
    return _template({**made, "S3": ("AWS::EC2::VPCEndpoint", gateway)})


def _artifacts(wanted: dict[str, int]) -> Template:
    keys = {f"Key{at}": ("AWS::KMS::Key", {}) for at in range(wanted["keys"])}
    return _template({**keys, "Artifacts": ("AWS::S3::Bucket", {}), "Logs": ("AWS::S3::Bucket", {})})


def _compile(wanted: dict[str, int]) -> Template:
    container = {
        "EphemeralStorage": {"SizeInGiB": wanted["disk_gib"]},
        "ResourceRequirements": [
            {"Type": "MEMORY", "Value": str(wanted["memory_gib"] * 1024)},
            {"Type": "VCPU", "Value": str(wanted["vcpus"])},
        ],
    }
    return _template({"Job": ("AWS::Batch::JobDefinition", {"ContainerProperties": container})})


def _fleet(wanted: dict[str, Any]) -> Template:
    data = {
        "InstanceType": "never.read",
        "Monitoring": {"Enabled": wanted.get("monitoring", False)},
        "BlockDeviceMappings": [{"Ebs": {"VolumeSize": wanted.get("disk_gib", 50)}}],
    }
    group = {
        "MinSize": str(wanted["min"]),
        "MaxSize": str(wanted["max"]),
        "MixedInstancesPolicy": {
            "InstancesDistribution": wanted.get("distribution", {}),
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateId": {"Ref": "Launch"}},
                "Overrides": [{"InstanceType": each} for each in wanted["types"]],
            },
        },
    }
    actions = {
        f"Action{at}": (
            "AWS::AutoScaling::ScheduledAction",
            {"AutoScalingGroupName": {"Ref": "Group"}, **each},
        )
        for at, each in enumerate(wanted.get("schedule", []))
    }
    return _template(
        {
            "Launch": ("AWS::EC2::LaunchTemplate", {"LaunchTemplateData": data}),
            "Group": ("AWS::AutoScaling::AutoScalingGroup", group),
            "Balancer": ("AWS::ElasticLoadBalancingV2::LoadBalancer", {}),
            **actions,
            **_watched(wanted.get("alarms", [])),
        }
    )


def _endpoint(wanted: dict[str, Any]) -> Template:
    main = {"VariantName": "stable", "InstanceType": wanted["type"], "InitialInstanceCount": wanted["min"],
            "InitialVariantWeight": 1}  # fmt: skip
    canary = {**main, "VariantName": "canary", "InitialInstanceCount": 1, "InitialVariantWeight": 0}
    variants = [canary, main] if wanted.get("canary") else [main]
    target = {
        "ResourceId": {"Fn::Join": ["", ["endpoint/", {"Fn::GetAtt": ["E", "Name"]}, "/variant/stable"]]},
        "MinCapacity": wanted["min"],
        "MaxCapacity": wanted["max"],
        "ScheduledActions": wanted.get("schedule", []),
    }
    return _template(
        {
            "Config": ("AWS::SageMaker::EndpointConfig", {"ProductionVariants": variants}),
            "Target": ("AWS::ApplicationAutoScaling::ScalableTarget", target),
            **_watched(wanted.get("alarms", [])),
        }
    )


def _watched(alarms: list[int]) -> dict[str, tuple[str, Any]]:
    """A dashboard, and alarms on so many metrics each."""
    made: dict[str, tuple[str, Any]] = {"Board": ("AWS::CloudWatch::Dashboard", {})}
    for at, metrics in enumerate(alarms):
        inputs = [{"Id": f"m{each}", "MetricStat": {}} for each in range(metrics)]
        several = {"Metrics": [{"Id": "all", "Expression": "…"}, *inputs]}
        made[f"Alarm{at}"] = ("AWS::CloudWatch::Alarm", {"MetricName": "x"} if metrics == 1 else several)
    return made


def _template(made: dict[str, tuple[str, Any]]) -> Template:
    return {"Resources": {name: {"Type": kind, "Properties": what} for name, (kind, what) in made.items()}}


MAKERS = {
    "artifacts": _artifacts, "network": _network, "compile": _compile, "fleet": _fleet, "endpoint": _endpoint,
}  # fmt: skip
