"""Application Auto Scaling: targets, policies and scheduled actions are stored and described, never acted on.

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


_ACTION_MEMBERS = (
    "ScheduledActionName", "Schedule", "Timezone", "StartTime", "EndTime", "ScalableTargetAction",
)  # fmt: skip


class ScalingStore:
    """Scalable targets with their policies and scheduled actions, per account and region."""

    def __init__(self) -> None:
        self.targets = AccountRegionScopedDict()
        self.policies = AccountRegionScopedDict()
        self.actions = AccountRegionScopedDict()

    def save(self) -> dict[str, Any]:
        """JSON data for ``Registry.add_state``."""
        return {"targets": self.targets, "policies": self.policies, "actions": self.actions}

    def restore(self, data: dict[str, Any]) -> None:
        """The reverse of ``save``."""
        self.targets.update(data["targets"])
        self.policies.update(data["policies"])
        self.actions.update(data.get("actions", {}))

    def scales(self, resource: str) -> bool:
        """Whether ``endpoint/NAME/variant/NAME`` is registered as a scalable target."""
        return any(record["ResourceId"] == resource for record in self.targets.values())

    def reset(self) -> None:
        """Forget everything."""
        self.targets.clear()
        self.policies.clear()
        self.actions.clear()


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
    """DeregisterScalableTarget: its policies and scheduled actions go with it."""
    key = _target_key(request)
    if store.targets.pop(key, None) is None:
        raise _no_target(request)
    for table in (store.policies, store.actions):
        for below in [name for name in table.keys() if name.startswith(f"{key}|")]:  # noqa: SIM118
            table.pop(below)
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


def put_action(store: ScalingStore, request: Request) -> dict[str, Any]:
    """PutScheduledAction: create or change. It never comes to its time here."""
    (name,) = required(request, "ScheduledActionName")
    key = _target_key(request)
    if key not in store.targets:
        raise _no_target(request)
    old = store.actions.get(f"{key}|{name}", {})
    if not old:
        required(request, "Schedule")
    store.actions[f"{key}|{name}"] = {
        "ScheduledActionARN": _arn(
            "autoscaling", f"scheduledAction:{uuid.uuid4()}:resource/{key}:scheduledActionName/{name}"
        ),
        "CreationTime": now(),
        **old,
        **dict(zip(_KEY, required(request, *_KEY))),
        **{member: request[member] for member in _ACTION_MEMBERS if request.get(member)},
    }
    return {}


def describe_actions(store: ScalingStore, request: Request) -> dict[str, Any]:
    """DescribeScheduledActions, filtered by what the request names."""
    required(request, "ServiceNamespace")
    wanted = request.get("ScheduledActionNames") or []
    return {
        "ScheduledActions": [
            record
            for record in store.actions.values()
            if _matches(record, request) and (not wanted or record["ScheduledActionName"] in wanted)
        ]
    }


def delete_action(store: ScalingStore, request: Request) -> dict[str, Any]:
    """DeleteScheduledAction."""
    (name,) = required(request, "ScheduledActionName")
    if store.actions.pop(f"{_target_key(request)}|{name}", None) is None:
        raise AwsError("ObjectNotFoundException", f"No scheduled action found for name: {name}")
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
    "PutScheduledAction": put_action,
    "DescribeScheduledActions": describe_actions,
    "DeleteScheduledAction": delete_action,
    "DescribeScalingActivities": describe_activities,
}


@functools.cache
def of(registry: Registry) -> ScalingStore:
    """The store of this process; SageMaker asks it what is scaled."""
    del registry
    return ScalingStore()


def register(registry: Registry) -> None:
    """Add the service and its two CloudFormation types."""
    store = of(registry)
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
        _set_actions(store, properties)
        return "|".join((properties["ResourceId"], properties["ScalableDimension"],
                         properties["ServiceNamespace"])), {"Id": arn, "ScalableTargetARN": arn}  # fmt: skip

    def update(_id: str, _old: Properties, new: Properties, stack: str, logical_id: str) -> Provisioned:
        return create(logical_id, new, stack)

    def delete(_physical_id: str, properties: Properties) -> None:
        if _target_key(properties) in store.targets:
            deregister_target(store, properties)

    registry.add_resource_type("AWS::ApplicationAutoScaling::ScalableTarget", create=create, update=update,
                               delete=delete, replaced_by=_KEY)  # fmt: skip


def _set_actions(store: ScalingStore, properties: Properties) -> None:
    """Make the target's scheduled actions those of the template; others go."""
    key, wanted = _target_key(properties), properties.get("ScheduledActions") or []
    kept = {f"{key}|{action['ScheduledActionName']}" for action in wanted}
    for name in [name for name in store.actions.keys() if name.startswith(f"{key}|")]:  # noqa: SIM118
        if name not in kept:
            store.actions.pop(name)
    for action in wanted:
        put_action(store, {**dict(zip(_KEY, required(properties, *_KEY))), **action})


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
