"""The Auto Scaling actions that concern instances; ministack answers the others.

Actions return before their work is done, as on AWS; DescribeScalingActivities says how it went.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any

from local_aws.extension import fleet_stores as stores
from local_aws.extension import fleet_warm_pools as warm_pools
from local_aws.extension.fleet_engine import FleetEngine, LaunchFailed, adopt, show_health, timestamp
from local_aws.extension.fleet_query import AUTO_SCALING, Request, error, flat, nested, response
from local_aws.extension.fleet_refresh import Preferences, Refreshes
from local_aws.extension.fleet_stores import Record
from local_aws.extension.json_protocol import AwsError
from local_aws.extension.registry import Response

PROCESSES = (
    "Launch", "Terminate", "AddToLoadBalancer", "AlarmNotification", "AZRebalance", "HealthCheck",
    "InstanceRefresh", "ReplaceUnhealthy", "ScheduledActions",
)  # fmt: skip
_FLOATING = ("$Latest", "$Default")
_NOT_SHOWN = ("Activities", "InstanceRefreshes", "AutoScalingGroupStatus")


class AutoScaling:
    """Answers the API."""

    def __init__(self, engine: FleetEngine, refreshes: Refreshes) -> None:
        self._engine = engine
        self._refreshes = refreshes
        self._actions: dict[str, Callable[[Request], Record]] = {
            "DescribeAutoScalingGroups": self.describe_groups,
            "DescribeScalingActivities": self.describe_activities,
            "SetDesiredCapacity": self.set_desired_capacity,
            "DeleteAutoScalingGroup": self.delete_group,
            "TerminateInstanceInAutoScalingGroup": self.terminate_instance,
            "SetInstanceHealth": self.set_instance_health,
            "SuspendProcesses": functools.partial(self.switch_processes, suspend=True),
            "ResumeProcesses": functools.partial(self.switch_processes, suspend=False),
            "AttachLoadBalancerTargetGroups": self.attach_target_groups,
            "PutWarmPool": lambda request: warm_pools.put(self._group(request), request),
            "DescribeWarmPool": lambda request: warm_pools.describe(self._group(request)),
            "DeleteWarmPool": lambda request: warm_pools.delete(self._group(request)),
            "StartInstanceRefresh": self.start_refresh,
            "DescribeInstanceRefreshes": self.describe_refreshes,
            "CancelInstanceRefresh": functools.partial(self.interrupt_refresh, wish="cancel"),
            "RollbackInstanceRefresh": functools.partial(self.interrupt_refresh, wish="roll back"),
        }

    async def handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]
    ) -> Response:
        """Answer one request."""
        parameters = flat(body, query)
        name = parameters.get("Action", "")
        try:
            if name in ("CreateAutoScalingGroup", "UpdateAutoScalingGroup"):
                return self._put_group(name, parameters)
            action = self._actions.get(name)
            if action is None:
                self._show_all()
                answer: Response = await stores.auto_scaling(method, path, headers, body, query)
                return answer
            return response(AUTO_SCALING, name, action(nested(parameters)))
        except AwsError as refused:
            return error(AUTO_SCALING, refused)

    def describe_groups(self, request: Request) -> Record:
        """DescribeAutoScalingGroups, with instances whose servers have ended shown as Unhealthy."""
        wanted = request.get("AutoScalingGroupNames") or []
        self._show_all()
        groups = [
            one for one in stores.groups().values() if not wanted or one["AutoScalingGroupName"] in wanted
        ]
        return {"AutoScalingGroups": [_shown(group) for group in groups]}

    def describe_activities(self, request: Request) -> Record:
        """DescribeScalingActivities, latest first."""
        name = request.get("AutoScalingGroupName")
        groups = [self._group(request)] if name else stores.groups().values()
        return {"Activities": [activity for group in groups for activity in group["Activities"]]}

    def set_desired_capacity(self, request: Request) -> Record:
        """SetDesiredCapacity: within the group's bounds."""
        group = self._group(request)
        desired = int(request["DesiredCapacity"])
        if not group["MinSize"] <= desired <= group["MaxSize"]:
            side = "above max" if desired > group["MaxSize"] else "below min"
            raise _invalid(
                f"New SetDesiredCapacity value {desired} is {side} value for the AutoScalingGroup."
            )
        group["DesiredCapacity"] = desired
        self._reconcile(group)
        return {}

    def delete_group(self, request: Request) -> Record:
        """DeleteAutoScalingGroup: one with instances only with ForceDelete."""
        group = self._group(request)
        if group["Instances"] and request.get("ForceDelete") != "true":
            raise AwsError(
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance "
                "request(s) still in the group.",
            )
        refresh = self._refreshes.running(group)
        if refresh is not None:
            refresh.interrupt("cancel")
        self._engine.in_background(group, lambda: self._engine.delete(group))
        return {}

    def terminate_instance(self, request: Request) -> Record:
        """TerminateInstanceInAutoScalingGroup: replaced unless the desired capacity goes down too."""
        group, entry = self._instance(request)
        if request.get("ShouldDecrementDesiredCapacity") == "true":
            if group["DesiredCapacity"] - 1 < group["MinSize"]:
                raise _invalid(
                    "Currently, desiredSize equals minSize. Terminating instance without replacement will "
                    "violate group's min size constraint."
                )
            group["DesiredCapacity"] -= 1
        self._replace(group, entry, "a user request")
        return {"Activity": {
            "ActivityId": str(uuid.uuid4()), "AutoScalingGroupName": group["AutoScalingGroupName"],
            "Description": f"Terminating EC2 instance: {entry['InstanceId']}", "Cause": "a user request",
            "StartTime": timestamp(), "StatusCode": "InProgress", "Progress": 0,
        }}  # fmt: skip

    def set_instance_health(self, request: Request) -> Record:
        """SetInstanceHealth: an Unhealthy instance is replaced unless ReplaceUnhealthy is suspended."""
        group, entry = self._instance(request)
        entry["HealthStatus"] = request["HealthStatus"]
        suspended = {one["ProcessName"] for one in group["SuspendedProcesses"]}
        if entry["HealthStatus"] == "Unhealthy" and "ReplaceUnhealthy" not in suspended:
            self._replace(group, entry, "an instance was marked Unhealthy")
        return {}

    def switch_processes(self, request: Request, *, suspend: bool) -> Record:
        """SuspendProcesses and ResumeProcesses; here Launch, Terminate and ReplaceUnhealthy matter."""
        group = self._group(request)
        named = request.get("ScalingProcesses") or list(PROCESSES)
        unknown = sorted(set(named) - set(PROCESSES))
        if unknown:
            raise _invalid(f"no such process: {', '.join(unknown)}")
        kept = [one for one in group["SuspendedProcesses"] if one["ProcessName"] not in named]
        added = [
            {"ProcessName": one, "SuspensionReason": f"User suspended at {timestamp()}"} for one in named
        ]
        group["SuspendedProcesses"] = kept + (added if suspend else [])
        if not suspend:
            self._reconcile(group)
        return {}

    def attach_target_groups(self, request: Request) -> Record:
        """AttachLoadBalancerTargetGroups: the instances become targets."""
        group = self._group(request)
        for arn in request.get("TargetGroupARNs") or []:
            if stores.target_group(arn) is None:
                raise _invalid(f"Target group {arn} not found.")
            if arn not in group["TargetGroupARNs"]:
                group["TargetGroupARNs"].append(arn)
            for entry in group["Instances"]:
                stores.register_target(arn, entry["InstanceId"])
        return {}

    def start_refresh(self, request: Request) -> Record:
        """StartInstanceRefresh: to DesiredConfiguration, which becomes the group's, or to what it has."""
        group = self._group(request)
        if self._refreshes.running(group) is not None:
            raise AwsError(
                "InstanceRefreshInProgress",
                "An Instance Refresh is already in progress and blocks the execution of this Instance "
                "Refresh.",
            )
        desired = (request.get("DesiredConfiguration") or {}).get("LaunchTemplate")
        preferences = Preferences.parse(request.get("Preferences") or {})
        if preferences.auto_rollback and not _can_go_back(group, desired):
            raise _invalid(
                "AutoRollback needs a desired configuration, and launch templates by version number."
            )
        try:
            previous, target = self._engine.template(group), self._engine.template(group, desired)
        except LaunchFailed as failure:
            raise _invalid(str(failure)) from failure
        refresh = self._refreshes.begin(group, target, preferences)

        def work() -> None:
            if refresh.run(previous) and desired:
                stores.specification(group).update(target.specification())

        self._engine.in_background(group, work)
        return {"InstanceRefreshId": refresh.record["InstanceRefreshId"]}

    def describe_refreshes(self, request: Request) -> Record:
        """DescribeInstanceRefreshes, latest first."""
        wanted = request.get("InstanceRefreshIds") or []
        records = self._group(request).get("InstanceRefreshes", [])
        return {
            "InstanceRefreshes": [one for one in records if not wanted or one["InstanceRefreshId"] in wanted]
        }

    def interrupt_refresh(self, request: Request, *, wish: Any) -> Record:
        """CancelInstanceRefresh and RollbackInstanceRefresh."""
        refresh = self._refreshes.running(self._group(request))
        if refresh is None:
            raise AwsError(
                "ActiveInstanceRefreshNotFound",
                "No in progress or pending Instance Refresh found for Auto Scaling group "
                f"{request.get('AutoScalingGroupName')}",
            )
        refresh.interrupt(wish)
        return {"InstanceRefreshId": refresh.record["InstanceRefreshId"]}

    def _put_group(self, name: str, parameters: dict[str, str]) -> Response:
        """Create or update: ministack keeps the record, the engine follows it."""
        answer: Response = stores.auto_scaling_action(name, parameters)
        group = stores.groups().get(parameters.get("AutoScalingGroupName", ""))
        if answer[0] == 200:
            request = nested(parameters)
            adopt(group, request)
            template = request.get("LaunchTemplate")
            if template:
                group["LaunchTemplate"] = template
            self._reconcile(group)
        return answer

    def _reconcile(self, group: Record) -> None:
        self._engine.in_background(group, lambda: self._engine.reconcile(group))

    def _replace(self, group: Record, entry: Record, cause: str) -> None:
        def work() -> None:
            with self._engine.lock(group):
                self._engine.terminate(group, [entry], cause)
                self._engine.reconcile(group)

        self._engine.in_background(group, work)

    def _show_all(self) -> None:
        for group in stores.groups().values():
            show_health(group, self._engine.replica)

    def _group(self, request: Request) -> Record:
        name = request.get("AutoScalingGroupName")
        group: Record | None = stores.groups().get(name)
        if group is None:
            raise _invalid(f"AutoScalingGroup name not found - AutoScalingGroup {name} not found")
        return group

    def _instance(self, request: Request) -> tuple[Record, Record]:
        identity = request.get("InstanceId")
        for group in stores.groups().values():
            for entry in group["Instances"]:
                if entry["InstanceId"] == identity:
                    return group, entry
        raise _invalid(f"Instance Id not found - No managed instance found for instance ID: {identity}")


def _can_go_back(group: Record, desired: Record | None) -> bool:
    versions = [
        str((spec or {}).get("Version", "$Default")) for spec in (desired, stores.specification(group))
    ]
    return desired is not None and not any(version in _FLOATING for version in versions)


def _shown(group: Record) -> Record:
    shown = {
        key: value for key, value in group.items() if key not in _NOT_SHOWN and value not in ("", None, {})
    }
    if group.get("MixedInstancesPolicy"):
        shown.pop("LaunchTemplate", None)
    return shown


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationError", message)
