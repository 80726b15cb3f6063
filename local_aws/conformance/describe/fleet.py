"""Launch templates, Auto Scaling and load balancers."""

from __future__ import annotations

from typing import Any

from local_aws.conformance.describe.model import Describer, Found, Resource, only
from local_aws.conformance.selfcheck import Clients


def _launch_template(clients: Clients, resource: Resource) -> Found:
    ec2, template = clients.client("ec2"), resource.physical_id
    answer = ec2.describe_launch_template_versions(LaunchTemplateId=template, Versions=["$Latest"])
    version = only(answer["LaunchTemplateVersions"], "launch template version")
    listed = only(
        ec2.describe_launch_templates(LaunchTemplateIds=[template])["LaunchTemplates"], "launch template"
    )
    tags = {"ResourceType": "launch-template", "Tags": listed.get("Tags", [])}
    return {**version, "LaunchTemplateName": listed["LaunchTemplateName"], "TagSpecifications": [tags]}


def _group(clients: Clients, resource: Resource) -> Found:
    autoscaling, name = clients.client("autoscaling"), resource.physical_id
    answer = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])
    group = only(answer["AutoScalingGroups"], "Auto Scaling group")
    return {**group, "VPCZoneIdentifier": group.get("VPCZoneIdentifier", "").split(",")}


def _hook(clients: Clients, resource: Resource) -> Found:
    group = resource.properties["AutoScalingGroupName"]
    hooks = clients.client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName=group)[
        "LifecycleHooks"
    ]
    name = resource.physical_id.rpartition("|")[2].rpartition("/")[2]
    return only([hook for hook in hooks if hook["LifecycleHookName"] == name], "lifecycle hook")


def _warm_pool(clients: Clients, resource: Resource) -> Found:
    answer = clients.client("autoscaling").describe_warm_pool(AutoScalingGroupName=resource.physical_id)
    pools = [answer["WarmPoolConfiguration"]] if "WarmPoolConfiguration" in answer else []
    return {"AutoScalingGroupName": resource.physical_id, **only(pools, "warm pool")}


def _scheduled_action(clients: Clients, resource: Resource) -> Found:
    group = resource.properties["AutoScalingGroupName"]
    answer = clients.client("autoscaling").describe_scheduled_actions(AutoScalingGroupName=group)
    name = resource.physical_id.rpartition("|")[2].rpartition("/")[2]
    found = [one for one in answer["ScheduledUpdateGroupActions"] if one["ScheduledActionName"] == name]
    return only(found, "scheduled action")


def _scaling_policy(clients: Clients, resource: Resource) -> Found:
    group = resource.properties["AutoScalingGroupName"]
    policies = clients.client("autoscaling").describe_policies(AutoScalingGroupName=group)["ScalingPolicies"]
    return only([p for p in policies if p["PolicyARN"] == resource.physical_id], "scaling policy")


def _load_balancer(clients: Clients, resource: Resource) -> Found:
    elb, arn = clients.client("elbv2"), resource.physical_id
    found = only(elb.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"], "load balancer")
    attributes = elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    zones = found["AvailabilityZones"]
    return {
        **found,
        "LoadBalancerAttributes": _asked_for(
            attributes, resource.properties.get("LoadBalancerAttributes", [])
        ),
        "Subnets": [zone["SubnetId"] for zone in zones],
        "Tags": _tags(elb, arn),
    }


def _target_group(clients: Clients, resource: Resource) -> Found:
    elb, arn = clients.client("elbv2"), resource.physical_id
    found = only(elb.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"], "target group")
    attributes = elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
    asked = resource.properties.get("TargetGroupAttributes", [])
    return {**found, "TargetGroupAttributes": _asked_for(attributes, asked), "Tags": _tags(elb, arn)}


def _tags(elb: Any, arn: str) -> list[Found]:
    """Tags of a load balancer, target group or listener."""
    found: list[Found] = only(elb.describe_tags(ResourceArns=[arn])["TagDescriptions"], "tags")["Tags"]
    return found


def _asked_for(attributes: list[Found], asked: list[Found]) -> list[Found]:
    """The API lists every attribute with its default; the template names some."""
    keys = {item["Key"] for item in asked}
    return [item for item in attributes if item["Key"] in keys]


def _listener(clients: Clients, resource: Resource) -> Found:
    elb, arn = clients.client("elbv2"), resource.physical_id
    found = only(elb.describe_listeners(ListenerArns=[arn])["Listeners"], "listener")
    return {**found, "Tags": _tags(elb, arn)}


DESCRIBERS: dict[str, Describer] = {
    "AWS::EC2::LaunchTemplate": _launch_template,
    "AWS::AutoScaling::AutoScalingGroup": _group,
    "AWS::AutoScaling::LifecycleHook": _hook,
    "AWS::AutoScaling::ScalingPolicy": _scaling_policy,
    "AWS::AutoScaling::ScheduledAction": _scheduled_action,
    "AWS::AutoScaling::WarmPool": _warm_pool,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": _load_balancer,
    "AWS::ElasticLoadBalancingV2::TargetGroup": _target_group,
    "AWS::ElasticLoadBalancingV2::Listener": _listener,
}
