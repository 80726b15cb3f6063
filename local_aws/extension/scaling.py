"""Application Auto Scaling: targets and policies are stored and described, never acted on.

What the stacks declare can be deployed, read back and removed. No alarm is made and no capacity
is changed by a policy here, so a green deploy proves that the resources are present, not that
they scale.
"""

from __future__ import annotations

import functools
import uuid
from typing import Any

from ministack.core.responses import AccountRegionScopedDict, get_account_id, get_region

from local_aws.extension.json_protocol import AwsError, Request, answer, now, required
from local_aws.extension.registry import Properties, Provisioned, Registry, Response

_KEY = ("ServiceNamespace", "ResourceId", "ScalableDimension")
_POLICY_MEMBERS = ("PolicyType", "StepScalingPolicyConfiguration", "TargetTrackingScalingPolicyConfiguration")


class ScalingStore:
    """Scalable targets and their policies, per account and region."""

    def __init__(self) -> None:
        self.targets = AccountRegionScopedDict()
        self.policies = AccountRegionScopedDict()

    def save(self) -> dict[str, Any]:
        """JSON data for ``Registry.add_state``."""
        return {"targets": self.targets, "policies": self.policies}

    def restore(self, data: dict[str, Any]) -> None:
        """The reverse of ``save``."""
        self.targets.update(data["targets"])
        self.policies.update(data["policies"])

    def reset(self) -> None:
        """Forget everything."""
        self.targets.clear()
        self.policies.clear()


def register_target(store: ScalingStore, request: Request) -> dict[str, Any]:
    """RegisterScalableTarget: create, or change what is given."""
    key = _target_key(request)
    record = store.targets.get(key)
    if record is None:
        required(request, "MinCapacity", "MaxCapacity")
        identity = uuid.uuid4().hex[:8]
        record = {
            **dict(zip(_KEY, required(request, *_KEY))),
            "RoleARN": _service_role(request["ServiceNamespace"]),
            "CreationTime": now(),
            "SuspendedState": {},
            "ScalableTargetARN": _arn("application-autoscaling", f"scalable-target/{identity}"),
        }
    changed = {
        **record,
        **{name: request[name] for name in ("RoleARN", "SuspendedState") if request.get(name)},
        **{
            name: int(request[name])
            for name in ("MinCapacity", "MaxCapacity")
            if request.get(name) is not None
        },
    }
    if changed["MinCapacity"] > changed["MaxCapacity"]:
        raise AwsError("ValidationException", "Maximum capacity cannot be less than minimum capacity")
    store.targets[key] = changed
    return {"ScalableTargetARN": changed["ScalableTargetARN"]}


def describe_targets(store: ScalingStore, request: Request) -> dict[str, Any]:
    """DescribeScalableTargets, filtered by what the request names."""
    required(request, "ServiceNamespace")
    wanted = request.get("ResourceIds") or []
    return {
        "ScalableTargets": [
            record
            for record in store.targets.values()
            if _matches(record, request) and (not wanted or record["ResourceId"] in wanted)
        ]
    }


def deregister_target(store: ScalingStore, request: Request) -> dict[str, Any]:
    """DeregisterScalableTarget: its policies go with it."""
    key = _target_key(request)
    if store.targets.pop(key, None) is None:
        raise _no_target(request)
    for policy_key in [name for name in store.policies.keys() if name.startswith(f"{key}|")]:  # noqa: SIM118
        store.policies.pop(policy_key)
    return {}


def put_policy(store: ScalingStore, request: Request) -> dict[str, Any]:
    """PutScalingPolicy: create or replace. No alarms are made."""
    (name,) = required(request, "PolicyName")
    key = _target_key(request)
    if key not in store.targets:
        raise _no_target(request)
    old = store.policies.get(f"{key}|{name}", {})
    record = {
        "PolicyName": name,
        **dict(zip(_KEY, required(request, *_KEY))),
        **{member: request[member] for member in _POLICY_MEMBERS if request.get(member)},
        "PolicyARN": old.get("PolicyARN")
        or _arn("autoscaling", f"scalingPolicy:{uuid.uuid4()}:resource/{request['ServiceNamespace']}/"
                f"{request['ResourceId']}:policyName/{name}"),
        "Alarms": [],
        "CreationTime": old.get("CreationTime", now()),
    }  # fmt: skip
    store.policies[f"{key}|{name}"] = record
    return {"PolicyARN": record["PolicyARN"], "Alarms": []}


def describe_policies(store: ScalingStore, request: Request) -> dict[str, Any]:
    """DescribeScalingPolicies, filtered by what the request names."""
    required(request, "ServiceNamespace")
    wanted = request.get("PolicyNames") or []
    return {
        "ScalingPolicies": [
            record
            for record in store.policies.values()
            if _matches(record, request) and (not wanted or record["PolicyName"] in wanted)
        ]
    }


def delete_policy(store: ScalingStore, request: Request) -> dict[str, Any]:
    """DeleteScalingPolicy."""
    (name,) = required(request, "PolicyName")
    if store.policies.pop(f"{_target_key(request)}|{name}", None) is None:
        raise AwsError("ObjectNotFoundException", f"No scaling policy found for policy name: {name}")
    return {}


def describe_activities(_store: ScalingStore, request: Request) -> dict[str, Any]:
    """DescribeScalingActivities: always empty, since nothing acts."""
    required(request, "ServiceNamespace")
    return {"ScalingActivities": []}


_ACTIONS = {
    "RegisterScalableTarget": register_target,
    "DescribeScalableTargets": describe_targets,
    "DeregisterScalableTarget": deregister_target,
    "PutScalingPolicy": put_policy,
    "DescribeScalingPolicies": describe_policies,
    "DeleteScalingPolicy": delete_policy,
    "DescribeScalingActivities": describe_activities,
}


def register(registry: Registry) -> None:
    """Add the service and its two CloudFormation types."""
    store = ScalingStore()
    actions = {name: functools.partial(action, store) for name, action in _ACTIONS.items()}

    async def handle(
        _method: str, _path: str, headers: dict[str, str], body: bytes, _query: dict[str, list[str]]
    ) -> Response:
        return answer(actions, headers, body)

    registry.add_service("application-autoscaling", handle, {"target_prefixes": ["AnyScaleFrontendService."]})
    registry.add_state("scaling", save=store.save, restore=store.restore, reset=store.reset)
    _add_target_type(registry, store)
    _add_policy_type(registry, store)


def _add_target_type(registry: Registry, store: ScalingStore) -> None:
    def create(_logical_id: str, properties: Properties, _stack: str) -> Provisioned:
        arn = register_target(store, properties)["ScalableTargetARN"]
        return "|".join((properties["ResourceId"], properties["ScalableDimension"],
                         properties["ServiceNamespace"])), {"Id": arn, "ScalableTargetARN": arn}  # fmt: skip

    def update(_id: str, _old: Properties, new: Properties, stack: str, logical_id: str) -> Provisioned:
        return create(logical_id, new, stack)

    def delete(_physical_id: str, properties: Properties) -> None:
        store.targets.pop(_target_key(properties), None)

    registry.add_resource_type("AWS::ApplicationAutoScaling::ScalableTarget", create=create, update=update,
                               delete=delete, replaced_by=_KEY)  # fmt: skip


def _add_policy_type(registry: Registry, store: ScalingStore) -> None:
    def create(_logical_id: str, properties: Properties, _stack: str) -> Provisioned:
        arn = put_policy(store, _policy_request(properties))["PolicyARN"]
        return arn, {"Arn": arn}

    def update(_id: str, _old: Properties, new: Properties, stack: str, logical_id: str) -> Provisioned:
        return create(logical_id, new, stack)

    def delete(physical_id: str, _properties: Properties) -> None:
        for key, record in store.policies.items():
            if record["PolicyARN"] == physical_id:
                store.policies.pop(key)

    registry.add_resource_type(
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        create=create,
        update=update,
        delete=delete,
        replaced_by=("PolicyName", "ScalingTargetId", *_KEY),
    )


def _policy_request(properties: Properties) -> Request:
    """A template may name its target by ``ScalingTargetId``, the target's Ref, instead of three keys."""
    target = properties.get("ScalingTargetId")
    if not target:
        return properties
    resource, dimension, namespace = str(target).split("|")
    return {
        **properties,
        "ResourceId": resource,
        "ScalableDimension": dimension,
        "ServiceNamespace": namespace,
    }


def _target_key(request: Request) -> str:
    return "|".join(required(request, *_KEY))


def _matches(record: dict[str, Any], request: Request) -> bool:
    return all(record[name] == request[name] for name in _KEY if request.get(name))


def _no_target(request: Request) -> AwsError:
    namespace, resource, dimension = required(request, *_KEY)
    return AwsError(
        "ObjectNotFoundException",
        f"No scalable target registered for namespace: {namespace}, resource ID: {resource}, "
        f"scalable dimension: {dimension}",
    )


def _service_role(namespace: str) -> str:
    suffix = {"sagemaker": "SageMakerEndpoint"}.get(namespace, namespace)
    return (
        f"arn:aws:iam::{get_account_id()}:role/aws-service-role/{namespace}.application-autoscaling.amazonaws.com/"
        f"AWSServiceRoleForApplicationAutoScaling_{suffix}"
    )


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{get_region()}:{get_account_id()}:{resource}"
