"""Fleets and endpoints in a template: their bounds, schedule and instances."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from infra.cost.cron import parse, zone_of
from infra.cost.errors import ScheduleUnreadable
from infra.cost.schedule import Bounds, Entry

Template = Mapping[str, Any]
GROUP = "AWS::AutoScaling::AutoScalingGroup"
ENDPOINT_CONFIG = "AWS::SageMaker::EndpointConfig"


@dataclass(frozen=True)
class Service:
    """What runs instances for requests.

    ``always``: instances by type that run beside the scaled ones whatever the load, such as a canary's.
    ``on_demand_base`` and ``on_demand_percent`` as in an instances distribution; an endpoint has no Spot.
    """

    stack: str
    kind: Literal["fleet", "endpoint"]
    instance_type: str
    base: Bounds
    entries: tuple[Entry, ...]
    on_demand_base: int = 0
    on_demand_percent: int = 100
    disk_gib: int = 0
    detailed_monitoring: bool = False
    always: tuple[tuple[str, int], ...] = ()

    def on_demand(self, count: int) -> int:
        """Of so many instances, those that are not Spot; the share above the base is rounded up.

        Source: EC2 Auto Scaling user guide, "Setup overview for creating a mixed instances group".
        """
        base = min(count, self.on_demand_base)
        return base + math.ceil((count - base) * self.on_demand_percent / 100)


def resources(template: Template, *types: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Logical ids and properties of the resources of these types."""
    for name, resource in template.get("Resources", {}).items():
        if resource["Type"] in types:
            yield name, resource.get("Properties", {})


def services(stack: str, template: Template) -> Iterator[Service]:
    """Every fleet and endpoint of a stack.

    Raises:
        ScheduleUnreadable: an entry of a schedule that the service would refuse.
    """
    for name, group in resources(template, GROUP):
        yield _fleet(stack, template, name, group)
    for _, config in resources(template, ENDPOINT_CONFIG):
        yield _endpoint(stack, template, config)


def _fleet(stack: str, template: Template, name: str, group: Mapping[str, Any]) -> Service:
    policy = group["MixedInstancesPolicy"]
    split = policy.get("InstancesDistribution", {})
    launch = policy["LaunchTemplate"]
    data = _launch_data(template, launch["LaunchTemplateSpecification"])
    entries = [
        _entry(
            action["Recurrence"], action.get("TimeZone"), action.get("MinSize"), action.get("MaxSize"),
        )
        for _, action in resources(template, "AWS::AutoScaling::ScheduledAction")
        if action["AutoScalingGroupName"] == {"Ref": name} and "Recurrence" in action
    ]  # fmt: skip
    return Service(
        stack=stack,
        kind="fleet",
        instance_type=_first_type(launch.get("Overrides", []), data),
        base=Bounds(int(group["MinSize"]), int(group["MaxSize"])),
        entries=tuple(entries),
        on_demand_base=int(split.get("OnDemandBaseCapacity", 0)),
        on_demand_percent=int(split.get("OnDemandPercentageAboveBaseCapacity", 100)),
        disk_gib=disk_gib(data),
        detailed_monitoring=bool(data.get("Monitoring", {}).get("Enabled", False)),
    )


def disk_gib(data: Mapping[str, Any]) -> int:
    """All disks of a launch template."""
    disks = (mapping.get("Ebs", {}) for mapping in data.get("BlockDeviceMappings", []))
    return sum(int(disk.get("VolumeSize", 0)) for disk in disks)


def _first_type(overrides: list[Mapping[str, Any]], data: Mapping[str, Any]) -> str:
    """The preferred type; others replace it only where it has run out."""
    return str(overrides[0]["InstanceType"] if overrides else data["InstanceType"])


def _launch_data(template: Template, specification: Mapping[str, Any]) -> Mapping[str, Any]:
    name = specification["LaunchTemplateId"]["Ref"]
    data: Mapping[str, Any] = template["Resources"][name]["Properties"]["LaunchTemplateData"]
    return data


def _endpoint(stack: str, template: Template, config: Mapping[str, Any]) -> Service:
    """The variant with the greatest weight is the one that is scaled; others keep their size."""
    variants = sorted(config["ProductionVariants"], key=lambda each: -each.get("InitialVariantWeight", 1))
    main, others = variants[0], variants[1:]
    count = int(main["InitialInstanceCount"])
    bounds, entries = Bounds(count, count), tuple[Entry, ...]()
    for _, target in resources(template, "AWS::ApplicationAutoScaling::ScalableTarget"):
        if _ends_with(target["ResourceId"], f"/variant/{main['VariantName']}"):
            bounds = Bounds(int(target["MinCapacity"]), int(target["MaxCapacity"]))
            entries = tuple(_scaling_entry(action) for action in target.get("ScheduledActions", []))
    return Service(
        stack=stack,
        kind="endpoint",
        instance_type=str(main["InstanceType"]),
        base=bounds,
        entries=entries,
        always=tuple((str(each["InstanceType"]), int(each["InitialInstanceCount"])) for each in others),
    )


def _ends_with(value: Any, end: str) -> bool:
    """Whether a text, or the last part of a joined one, ends so."""
    parts = value["Fn::Join"][1] if isinstance(value, Mapping) else [value]
    return isinstance(parts[-1], str) and parts[-1].endswith(end)


def _scaling_entry(action: Mapping[str, Any]) -> Entry:
    bounds = action.get("ScalableTargetAction", {})
    return _entry(
        action["Schedule"], action.get("Timezone"), bounds.get("MinCapacity"), bounds.get("MaxCapacity")
    )


def _entry(expression: Any, zone: Any, least: Any, most: Any) -> Entry:
    if not isinstance(expression, str):
        raise ScheduleUnreadable(expression=str(expression), why="it is no text before the deploy")
    return Entry(
        cron=parse(expression),
        zone=zone_of(zone),
        least=None if least is None else int(least),
        most=None if most is None else int(most),
    )
