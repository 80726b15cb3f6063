"""Every touch of ministack's EC2, Auto Scaling, load balancing and alarm stores, for the fleet.

ministack keeps these records as plain dicts in its service modules. Like ``registry.py`` for its
tables, this is the one module to check for the fleet when the pinned ministack changes.
"""

from __future__ import annotations

import contextvars
import copy
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import alb, autoscaling, cloudwatch, ec2
from ministack.services.cloudformation import _stacks, engine, stacks

Record = dict[str, Any]
DESCRIBE_TARGET_HEALTH = "DescribeTargetHealth"
_SHUTTING_DOWN = {"Code": 32, "Name": "shutting-down"}
_TERMINATED = {"Code": 48, "Name": "terminated"}
_definitions: contextvars.ContextVar[Record | None] = contextvars.ContextVar("definitions", default=None)


@dataclass(frozen=True, kw_only=True)
class Template:
    """One version of a launch template, by number, with the instance type in force."""

    id: str
    name: str
    version: str
    data: Record
    instance_type: str

    def specification(self) -> dict[str, str]:
        """As an instance of the group shows it."""
        return {"LaunchTemplateId": self.id, "LaunchTemplateName": self.name, "Version": self.version}


class TemplateMissing(Exception):
    """The group's launch template, or that version of it, does not exist."""


def groups() -> Any:
    """Auto Scaling groups by name, in the caller's account and region."""
    return autoscaling._asgs


def every_group() -> Iterator[Record]:
    """Every group of every account, each while its account and region are in force."""
    for (account, region, _name), group in list(autoscaling._asgs.to_dict().items()):
        with request_scope(account, region):
            yield group


def specification(group: Record) -> Record:
    """How the group names its launch template: id or name, and version."""
    mixed = group.get("MixedInstancesPolicy") or {}
    found: Record = mixed.get("LaunchTemplate", {}).get("LaunchTemplateSpecification") or group.get(
        "LaunchTemplate", {}
    )
    return found


def resolve_template(group: Record, named: Record | None = None) -> Template:
    """The version that the group would launch now, or the one that ``named`` names.

    Raises:
        TemplateMissing: see there.
    """
    wanted = named or specification(group)
    identity = wanted.get("LaunchTemplateId") or wanted.get("LaunchTemplateName")
    record = next(
        (one for one in ec2._launch_templates.values()
         if identity in (one["LaunchTemplateId"], one["LaunchTemplateName"])), None,
    )  # fmt: skip
    if record is None:
        raise TemplateMissing(f"launch template {identity} does not exist")
    asked = str(wanted.get("Version") or "$Default")
    numbers = {"$Latest": record["LatestVersionNumber"], "$Default": record["DefaultVersionNumber"]}
    number = str(numbers.get(asked, asked))
    version = next((one for one in record["Versions"] if str(one["VersionNumber"]) == number), None)
    if version is None:
        raise TemplateMissing(f"launch template {record['LaunchTemplateName']} has no version {asked}")
    data = version["LaunchTemplateData"]
    overrides = (group.get("MixedInstancesPolicy") or {}).get("LaunchTemplate", {}).get("Overrides") or [{}]
    return Template(
        id=record["LaunchTemplateId"],
        name=record["LaunchTemplateName"],
        version=number,
        data=data,
        instance_type=overrides[0].get("InstanceType") or data.get("InstanceType", "m5.large"),
    )


def add_instance(group: Record, template: Template) -> Record:
    """A running EC2 instance of the template, in the group's subnets in turn."""
    ec2._ensure_defaults_initialized()
    subnets = [one for one in str(group.get("VPCZoneIdentifier", "")).split(",") if one]
    subnet = subnets[len(group["Instances"]) % len(subnets)] if subnets else ec2._DEFAULT_SUBNET_ID
    profile = template.data.get("IamInstanceProfile") or {}
    resolved, _ = ec2._resolve_iam_instance_profile(
        iam_arn=profile.get("Arn", ""), iam_name=profile.get("Name", ""), allow_missing=True
    )
    (instance,) = ec2._launch_instances_internal(
        image_id=template.data.get("ImageId", ""),
        instance_type=template.instance_type,
        subnet_id=subnet,
        count=1,
        user_data=template.data.get("UserData", ""),
        sg_ids=template.data.get("SecurityGroupIds"),
        iam_profile=resolved,
    )
    zone = (ec2._subnets.get(subnet) or {}).get("AvailabilityZone")
    if zone:
        instance["Placement"]["AvailabilityZone"] = zone
    record: Record = instance
    return record


def tag_instance(group: Record, template: Template, instance_id: str, extra: dict[str, str]) -> None:
    """Tags that EC2 Auto Scaling gives, those of template and group, and ours."""
    tags = {
        "aws:autoscaling:groupName": group["AutoScalingGroupName"],
        "aws:ec2launchtemplate:id": template.id,
        "aws:ec2launchtemplate:version": template.version,
    }
    for entry in template.data.get("TagSpecifications") or []:
        if entry.get("ResourceType") == "instance":
            tags.update({tag["Key"]: str(tag["Value"]) for tag in entry.get("Tags", [])})
    tags.update({tag["Key"]: tag["Value"] for tag in group.get("Tags", []) if tag.get("PropagateAtLaunch")})
    ec2._tags[instance_id] = [{"Key": key, "Value": value} for key, value in {**tags, **extra}.items()]


def shutting_down(instance_id: str) -> None:
    """The instance is on its way out."""
    instance = ec2._instances.get(instance_id)
    if instance is not None:
        instance["State"] = dict(_SHUTTING_DOWN)


def terminated(instance_id: str) -> None:
    """The instance is no more; DescribeInstances shows it for a minute."""
    instance = ec2._instances.get(instance_id)
    if instance is not None:
        instance["State"] = dict(_TERMINATED)
        instance["_terminated_at"] = time.time()


def is_terminated(instance_id: str) -> bool:
    """Whether EC2 says so."""
    instance = ec2._instances.get(instance_id)
    return instance is None or instance["State"]["Name"] == "terminated"


def register_target(arn: str, instance_id: str) -> None:
    """Put an instance into a target group; a group that is gone is passed over."""
    if arn in alb._tgs:
        port = alb._tgs[arn].get("Port", 80)
        others = [one for one in alb._targets.get(arn, []) if one["Id"] != instance_id]
        alb._targets[arn] = [*others, {"Id": instance_id, "Port": port}]


def deregister_target(arn: str, instance_id: str) -> None:
    """Take an instance out of a target group."""
    alb._targets[arn] = [one for one in alb._targets.get(arn, []) if one["Id"] != instance_id]


def target_group(arn: str) -> Record | None:
    """A target group's record."""
    found: Record | None = alb._tgs.get(arn)
    return found


def targets(arn: str) -> list[Record]:
    """Registered targets: ``Id`` and ``Port``."""
    return list(alb._targets.get(arn, []))


def alarms_ringing(names: Sequence[str]) -> list[str]:
    """Which of the named alarms are in ALARM."""
    states = {name: (cloudwatch._alarms.get(name) or {}).get("StateValue") for name in names}
    return [name for name, state in states.items() if state == "ALARM"]


def remember_definitions() -> None:
    """Let ``update_policy`` see the template that a stack operation is applying.

    CloudFormation hands a type its properties only. The one function that gets all definitions
    at the start of an operation runs in the operation's own context, which its threads copy.
    """
    original = stacks._topological_sort

    def topological_sort(resources: Record, conditions: Record) -> Any:
        _definitions.set(resources)
        return original(resources, conditions)

    stacks._topological_sort = topological_sort


def update_policy(stack: str, logical_id: str) -> Record:
    """``UpdatePolicy`` of a resource, with references resolved; of the running update if there is one."""
    record = _stacks.get(stack) or {}
    definitions = _definitions.get() or record.get("_template", {}).get("Resources", {})
    policy = copy.deepcopy(definitions.get(logical_id, {}).get("UpdatePolicy") or {})
    resolved: Record = engine._resolve_refs(
        policy, record.get("_resources", {}), record.get("_resolved_params", {}), {}, {}, stack,
        record.get("StackId", ""),
    )  # fmt: skip
    return resolved


def stop_inventing_instances() -> None:
    """ministack fills groups with instances that nothing stands behind; ours are real."""
    autoscaling._reconcile_instances = lambda _group: None


def on_terminate(callback: Callable[[list[str]], None]) -> None:
    """Call with the ids after EC2's TerminateInstances has accepted them."""
    original = ec2._ACTION_MAP["TerminateInstances"]

    def terminate(parameters: Record) -> Any:
        answer = original(parameters)
        if answer[0] == 200:
            callback(ec2._parse_member_list(parameters, "InstanceId"))
        return answer

    ec2._ACTION_MAP["TerminateInstances"] = terminate


Forward = Callable[[str], int | None]
"""From a target group's ARN to the loopback port of the target whose turn it is."""


def route_forwards(choose: Forward) -> None:
    """Make load balancers reach the replicas behind instances.

    ministack takes an instance id for a host name; requests to
    ``/_alb/<load balancer>/<path>`` of our endpoint then get where a real one would send them.
    """
    original: Callable[..., Awaitable[Any]] = alb._forward_to_tg

    async def forward(arn: str, *request: Any) -> Any:
        group = alb._tgs.get(arn)
        if not group or group.get("TargetType", "instance") != "instance":
            return await original(arn, *request)
        port = choose(arn)
        if port is None:
            return 503, {"Content-Type": "text/html"}, b"<h1>503 Service Temporarily Unavailable</h1>"
        method, path, headers, body, query, *raw = request
        raw_query, raw_path = (*raw, None, None)[:2]
        target = {"Id": "127.0.0.1", "Port": port}
        return await alb._proxy_http_target(
            target, group, method, raw_path or path, headers, body, query, raw_query
        )

    alb._forward_to_tg = forward


async def load_balancing(*request: Any) -> Any:
    """ministack's own answer of the load balancing API."""
    return await alb.handle_request(*request)


async def auto_scaling(*request: Any) -> Any:
    """ministack's own answer of the Auto Scaling API."""
    return await autoscaling.handle_request(*request)


def auto_scaling_action(name: str, parameters: Record) -> Any:
    """One action of ministack's Auto Scaling: status, headers, body."""
    return autoscaling._ACTION_MAP[name](parameters)


def group_tags(name: str) -> list[Record]:
    """A copy of the tags of a group, which ministack keeps beside its record, too."""
    return copy.deepcopy(autoscaling._tags.get(name) or [])


def set_group_tags(name: str, tags: list[Record]) -> None:
    """Make ``tags`` the group's."""
    autoscaling._tags[name] = tags
    autoscaling._asgs[name]["Tags"] = tags


def forget_group(name: str) -> None:
    """Remove the group's record with its tags, hooks and policies."""
    autoscaling._delete_asg({"AutoScalingGroupName": name})
