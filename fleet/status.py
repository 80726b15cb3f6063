"""What runs where: stacks, the endpoint's variants and the fleet's instances, each with its digest.

The digest is read from where the platform keeps it for the process (the model's environment,
the launch template's user data), not from our own lock: the two are compared, not assumed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import msgspec

from artifact.aws import AwsClient, translated
from artifact.serving import ENV_DIGEST


class StackState(msgspec.Struct, frozen=True):
    """A CloudFormation stack; ``status`` is ABSENT where there is none."""

    name: str
    status: str


class VariantState(msgspec.Struct, frozen=True):
    """A production variant: its share of the traffic, instances running and wanted."""

    name: str
    weight: float
    instances: int
    wanted: int
    digest: str | None


class EndpointState(msgspec.Struct, frozen=True):
    """A SageMaker endpoint and the configuration that it really runs."""

    name: str
    status: str
    config: str
    failure: str | None
    variants: tuple[VariantState, ...]
    captured_percent: int = 0
    """Share of the requests of which SageMaker keeps a copy at this moment."""


class InstanceState(msgspec.Struct, frozen=True):
    """An instance of the fleet. ``health`` is the load balancer's word on its target."""

    id: str
    lifecycle: str
    health: str
    launch_template_version: str
    digest: str | None


class FleetState(msgspec.Struct, frozen=True):
    """An Auto Scaling group."""

    name: str
    wanted: int
    instances: tuple[InstanceState, ...]


class Status(msgspec.Struct, frozen=True):
    """One picture. ``healthy``: everything deployed is up and serves the digest of its lock.

    ``canary``: the digest of the second lock, where the settings want one.
    """

    release: str | None
    waivers: tuple[str, ...]
    stacks: tuple[StackState, ...]
    endpoint: EndpointState | None
    fleet: FleetState | None
    healthy: bool
    canary: str | None = None


def stacks(cloudformation: AwsClient, names: tuple[str, ...]) -> tuple[StackState, ...]:
    """The state of each of ``names``."""
    with translated("list the stacks"):
        pages = cloudformation.get_paginator("describe_stacks").paginate()
        found = {stack["StackName"]: stack["StackStatus"] for page in pages for stack in page["Stacks"]}
    return tuple(StackState(name, found.get(name, "ABSENT")) for name in names)


def endpoint(sagemaker: AwsClient, name: str) -> EndpointState:
    """The endpoint ``name`` with each variant's digest out of its model's environment."""
    with translated(f"describe the endpoint {name}"):
        found = sagemaker.describe_endpoint(EndpointName=name)
        config = sagemaker.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
        models = {v["VariantName"]: v["ModelName"] for v in config["ProductionVariants"]}
        return EndpointState(
            name=name,
            status=found["EndpointStatus"],
            config=found["EndpointConfigName"],
            failure=found.get("FailureReason"),
            variants=tuple(
                VariantState(
                    name=v["VariantName"],
                    weight=v.get("CurrentWeight", 0.0),
                    instances=v.get("CurrentInstanceCount", 0),
                    wanted=v.get("DesiredInstanceCount", 0),
                    digest=_model_digest(sagemaker, models.get(v["VariantName"])),
                )
                for v in found.get("ProductionVariants", ())
            ),
            captured_percent=_captured(found.get("DataCaptureConfig", {})),
        )


def _captured(capture: dict[str, Any]) -> int:
    return int(capture["CurrentSamplingPercentage"]) if capture.get("CaptureStatus") == "Started" else 0


def fleet(client: Callable[[str], AwsClient], group_name: str) -> FleetState:
    """The Auto Scaling group ``group_name``, its targets' health and its instances' digests.

    Args:
        client: gives a boto3 client by service name.
    """
    with translated(f"describe the fleet {group_name}"):
        answer = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group_name])
        group = answer["AutoScalingGroups"][0]
        health = _target_health(client("elbv2"), group.get("TargetGroupARNs", []))
        digests = _TemplateDigests(client("ec2"))
        return FleetState(
            name=group_name,
            wanted=group["DesiredCapacity"],
            instances=tuple(
                InstanceState(
                    id=instance["InstanceId"],
                    lifecycle=instance["LifecycleState"],
                    health=health.get(instance["InstanceId"], "not a target"),
                    launch_template_version=_template(instance).get("Version", "?"),
                    digest=digests.of(_template(instance)),
                )
                for instance in group["Instances"]
            ),
        )


def assemble(
    *,
    release: str | None,
    waivers: tuple[str, ...],
    stacks: tuple[StackState, ...],
    endpoint: EndpointState | None,
    fleet: FleetState | None,
    canary: tuple[str, str] | None = None,
) -> Status:
    """Put the parts together and judge them: a digest other than the lock's is not healthy.

    ``canary``: its variant's name, and the digest of its lock.
    """
    settled = all(s.status.endswith("_COMPLETE") and "ROLLBACK" not in s.status for s in stacks)
    serving = endpoint is None or _endpoint_serves(endpoint, release, canary)
    answering = fleet is None or _fleet_answers(fleet, release)
    return Status(
        release=release,
        waivers=waivers,
        stacks=stacks,
        endpoint=endpoint,
        fleet=fleet,
        healthy=settled and serving and answering,
        canary=canary[1] if canary is not None else None,
    )


def _endpoint_serves(endpoint: EndpointState, release: str | None, canary: tuple[str, str] | None) -> bool:
    """The release and its canary, each with its own digest; no other variant; and traffic goes somewhere."""
    second = () if canary is None else (canary[0],)
    others = [v for v in endpoint.variants if v.name not in second]
    right = [v.digest == release for v in others]
    right += [v.digest == canary[1] for v in endpoint.variants if canary is not None and v.name == canary[0]]
    whole = len(others) == 1 and len(right) == 1 + len(second)
    up = all(v.instances >= v.wanted for v in endpoint.variants)
    return endpoint.status == "InService" and whole and all(right) and up and _is_reached(endpoint)


def _is_reached(endpoint: EndpointState) -> bool:
    return any(variant.weight > 0 for variant in endpoint.variants)


def _fleet_answers(fleet: FleetState, release: str | None) -> bool:
    instances = [i.health == "healthy" and i.digest == release for i in fleet.instances]
    return len(fleet.instances) >= fleet.wanted and all(instances)


def _model_digest(sagemaker: AwsClient, model: str | None) -> str | None:
    if model is None:
        return None
    container = sagemaker.describe_model(ModelName=model)["PrimaryContainer"]
    found: str | None = container.get("Environment", {}).get(ENV_DIGEST)
    return found


def _target_health(elbv2: AwsClient, groups: list[str]) -> dict[str, str]:
    rows = [
        r for g in groups for r in elbv2.describe_target_health(TargetGroupArn=g)["TargetHealthDescriptions"]
    ]
    return {row["Target"]["Id"]: row["TargetHealth"]["State"] for row in rows}


def _template(instance: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = instance.get("LaunchTemplate", {})
    return found


class _TemplateDigests:
    """Digests by launch template version, each asked for once."""

    def __init__(self, ec2: AwsClient) -> None:
        self._ec2 = ec2
        self._known: dict[tuple[str, str], str | None] = {}

    def of(self, template: dict[str, Any]) -> str | None:
        if "LaunchTemplateId" not in template:
            return None
        key = (template["LaunchTemplateId"], template["Version"])
        if key not in self._known:
            self._known[key] = self._ask(*key)
        return self._known[key]

    def _ask(self, template: str, version: str) -> str | None:
        answer = self._ec2.describe_launch_template_versions(LaunchTemplateId=template, Versions=[version])
        encoded = answer["LaunchTemplateVersions"][0]["LaunchTemplateData"].get("UserData", "")
        text = base64.b64decode(encoded).decode(errors="replace")
        match = re.search(rf"{ENV_DIGEST}=([0-9a-f]{{64}})", text)
        return match[1] if match else None
