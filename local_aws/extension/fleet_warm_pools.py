"""Warm pools: stored and described, never filled. An instance that a group wants starts from nothing.

The configuration lies in the group's record, where DescribeAutoScalingGroups shows it, too.
"""

from __future__ import annotations

from typing import Any

from local_aws.extension import fleet_stores as stores
from local_aws.extension.fleet_query import Request
from local_aws.extension.fleet_stores import Record
from local_aws.extension.json_protocol import AwsError
from local_aws.extension.registry import Properties, Provisioned, Registry, ResourceFailed

TYPE = "AWS::AutoScaling::WarmPool"
KEY = "WarmPoolConfiguration"
_NUMBERS = ("MinSize", "MaxGroupPreparedCapacity")
_STATES = ("Stopped", "Running", "Hibernated")


def put(group: Record, request: Request) -> Record:
    """PutWarmPool: what is not given goes back to its default.

    Raises:
        AwsError: an unknown state, or a group that may launch Spot instances.
    """
    state = request.get("PoolState") or "Stopped"
    if state not in _STATES:
        raise AwsError("ValidationError", f"PoolState must be one of {', '.join(_STATES)}")
    distribution = (group.get("MixedInstancesPolicy") or {}).get("InstancesDistribution") or {}
    if int(distribution.get("OnDemandPercentageAboveBaseCapacity", 100)) < 100:
        raise AwsError(
            "ValidationError",
            "You can't add a warm pool to an Auto Scaling group that launches Spot Instances.",
        )
    reuse = (request.get("InstanceReusePolicy") or {}).get("ReuseOnScaleIn", False)
    group[KEY] = {
        "PoolState": state,
        "MinSize": int(request.get("MinSize") or 0),
        **{name: int(request[name]) for name in _NUMBERS if request.get(name) is not None},
        "InstanceReusePolicy": {"ReuseOnScaleIn": str(reuse).lower() == "true"},
    }
    return {}


def describe(group: Record) -> Record:
    """DescribeWarmPool; no pool is an answer without a configuration."""
    return {**({KEY: group[KEY]} if KEY in group else {}), "Instances": []}


def delete(group: Record) -> Record:
    """DeleteWarmPool."""
    if group.pop(KEY, None) is None:
        raise AwsError("ValidationError", f"No warm pool found for {group['AutoScalingGroupName']}")
    return {}


def add_type(registry: Registry) -> None:
    """Add the CloudFormation type; its Ref is the group's name."""

    def create(_logical_id: str, properties: Properties, _stack: str) -> Provisioned:
        name = properties["AutoScalingGroupName"]
        _put(name, properties)
        return name, {}

    def update(physical_id: str, _old: Properties, new: Properties, _stack: str, _id: str) -> Provisioned:
        _put(physical_id, new)
        return physical_id, {}

    def remove(physical_id: str, _properties: Properties) -> None:
        group = stores.groups().get(physical_id)
        if group is not None:
            group.pop(KEY, None)

    registry.add_resource_type(
        TYPE, create=create, update=update, delete=remove, replaced_by=("AutoScalingGroupName",)
    )


def _put(name: str, properties: Any) -> None:
    group = stores.groups().get(name)
    if group is None:
        raise ResourceFailed(f"AutoScalingGroup name not found - AutoScalingGroup {name} not found")
    try:
        put(group, properties)
    except AwsError as refused:
        raise ResourceFailed(refused.message) from refused
