"""AWS::EC2::LaunchTemplate and AWS::ElasticLoadBalancingV2::TargetGroup, where ministack differs.

A changed TagSpecifications changes the launch template's own tags (the type's schema has only the
name as createOnly). TargetGroupFullName begins with ``targetgroup/`` (AWS CloudFormation reference,
return values); alarms and scaling policies are written with it.

On AWS a rollback leaves the version of the failed update in the launch template
(aws-cloudformation/cloudformation-coverage-roadmap#1912); here it does, too.
"""

from __future__ import annotations

from ministack.services import ec2

from local_aws.extension.registry import Properties, Provisioned, Registry

LAUNCH_TEMPLATE = "AWS::EC2::LaunchTemplate"
TARGET_GROUP = "AWS::ElasticLoadBalancingV2::TargetGroup"


def register(registry: Registry) -> None:
    """Extend both types."""
    _extend_launch_template(registry)
    _extend_target_group(registry)


def _extend_launch_template(registry: Registry) -> None:
    own = registry.resource_type(LAUNCH_TEMPLATE)

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Provisioned:
        answer = own.update(physical_id, old, new, stack, logical_id)
        tags = _own_tags(new)
        ec2._launch_templates[answer[0]]["Tags"] = tags
        ec2._tags[answer[0]] = tags
        return answer

    registry.add_resource_type(LAUNCH_TEMPLATE, create=own.create, update=update, delete=own.delete)


def _own_tags(properties: Properties) -> list[dict[str, str]]:
    """Tags of the launch template itself, not of what it launches."""
    return [
        {"Key": tag["Key"], "Value": str(tag["Value"])}
        for entry in properties.get("TagSpecifications", [])
        if entry["ResourceType"] == "launch-template"
        for tag in entry["Tags"]
    ]


def _extend_target_group(registry: Registry) -> None:
    own = registry.resource_type(TARGET_GROUP)

    def create(logical_id: str, properties: Properties, stack: str) -> Provisioned:
        return _with_full_name(own.create(logical_id, properties, stack))

    def update(
        physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str
    ) -> Provisioned:
        return _with_full_name(own.update(physical_id, old, new, stack, logical_id))

    registry.add_resource_type(TARGET_GROUP, create=create, update=update, delete=own.delete)


def _with_full_name(provisioned: Provisioned) -> Provisioned:
    arn, attributes = provisioned
    return arn, {**attributes, "TargetGroupFullName": arn.rpartition(":")[2]}
