"""What AWS refuses and ministack accepts: a name that is taken, a reference to nothing.

Without this a stack adopts another stack's role, and an update that "fails" in a test passes.
Runs around every other provisioner of these types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ministack.services import (
    alb,
    cloudwatch,
    cloudwatch_logs,
    ec2,
    ecr,
    iam,
    kms,
    s3,
    sns,
    stepfunctions,
)

from local_aws.extension.registry import Properties, Provisioned, Registry, ResourceFailed

Names = Callable[[], Iterable[str]]


def _named(records: Any, key: str) -> Names:
    return lambda: [record[key] for record in records.values()]


_TAKEN: dict[str, tuple[str, Names]] = {
    "AWS::CloudWatch::Alarm": ("AlarmName", lambda: cloudwatch._alarms),
    "AWS::CloudWatch::Dashboard": ("DashboardName", lambda: cloudwatch._dashboards),
    "AWS::EC2::LaunchTemplate": ("LaunchTemplateName", _named(ec2._launch_templates, "LaunchTemplateName")),
    "AWS::ECR::Repository": ("RepositoryName", lambda: ecr._repositories),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": ("Name", _named(alb._lbs, "LoadBalancerName")),
    "AWS::ElasticLoadBalancingV2::TargetGroup": ("Name", _named(alb._tgs, "TargetGroupName")),
    "AWS::IAM::ManagedPolicy": ("ManagedPolicyName", _named(iam._policies, "PolicyName")),
    "AWS::IAM::Role": ("RoleName", lambda: iam._roles),
    "AWS::KMS::Alias": ("AliasName", lambda: [arn.rpartition(":")[2] for arn in kms._aliases]),
    "AWS::Logs::LogGroup": ("LogGroupName", lambda: cloudwatch_logs._log_groups),
    "AWS::SNS::Topic": ("TopicName", lambda: [arn.rpartition(":")[2] for arn in sns._topics]),
    "AWS::StepFunctions::StateMachine": ("StateMachineName", _named(stepfunctions._state_machines, "name")),
}
"""By type: the property that names the resource, and the names in use. All these have an update
handler, so their create is never called for a resource that exists."""

_REFERENCES: dict[str, dict[str, Any]] = {
    "AWS::EC2::RouteTable": {"VpcId": ec2._vpcs},
    "AWS::EC2::SecurityGroup": {"VpcId": ec2._vpcs},
    "AWS::EC2::Subnet": {"VpcId": ec2._vpcs},
    "AWS::EC2::SubnetRouteTableAssociation": {"RouteTableId": ec2._route_tables, "SubnetId": ec2._subnets},
    "AWS::EC2::VPCEndpoint": {
        "RouteTableIds": ec2._route_tables,
        "SecurityGroupIds": ec2._security_groups,
        "SubnetIds": ec2._subnets,
        "VpcId": ec2._vpcs,
    },
    "AWS::ElasticLoadBalancingV2::LoadBalancer": {
        "SecurityGroups": ec2._security_groups,
        "Subnets": ec2._subnets,
    },
    "AWS::ElasticLoadBalancingV2::TargetGroup": {"VpcId": ec2._vpcs},
    "AWS::S3::BucketPolicy": {"Bucket": s3._buckets},
    "AWS::SNS::TopicPolicy": {"Topics": sns._topics},
}
"""By type and property: the ids that exist."""


def register(registry: Registry) -> None:
    """Put the checks around the types; call this after the modules that add or extend them."""
    for type_name in sorted({*_TAKEN, *_REFERENCES}):
        _guard(registry, type_name)


def _guard(registry: Registry, type_name: str) -> None:
    own = registry.resource_type(type_name)

    def create(logical_id: str, properties: Properties, stack: str) -> Provisioned:
        _refuse_taken_name(type_name, properties)
        _refuse_dangling(type_name, properties)
        return own.create(logical_id, properties, stack)

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Provisioned:
        _refuse_dangling(type_name, new)
        return own.update(physical_id, old, new, stack, logical_id)

    registry.wrap_resource_type(type_name, create=create, update=update)


def _refuse_taken_name(type_name: str, properties: Properties) -> None:
    if type_name not in _TAKEN:
        return
    property_name, names = _TAKEN[type_name]
    name = properties.get(property_name)
    if name and name in names():
        raise ResourceFailed(f"Resource of type '{type_name}' with identifier '{name}' already exists.")


def _refuse_dangling(type_name: str, properties: Properties) -> None:
    ec2._ensure_defaults_initialized()
    for property_name, known in _REFERENCES.get(type_name, {}).items():
        value = properties.get(property_name)
        for reference in value if isinstance(value, list) else [value]:
            if reference and reference not in known:
                raise ResourceFailed(f"{property_name}: '{reference}' does not exist")
