"""Auto Scaling groups whose instances are real: launched, counted, replaced and terminated.

An instance is a record in EC2, an entry in its group, a target in the group's target groups and
a server process, in that order on the way up and in reverse on the way down. Operations on one
group wait for each other.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from artifact import serving
from local_aws.extension import fleet_stores as stores
from local_aws.extension.faults import Injected, check
from local_aws.extension.fleet_stores import Record, Template, TemplateMissing
from local_aws.extension.fleet_userdata import UserDataUnreadable, serve_environment
from local_aws.extension.replicas import RESTORE_SECONDS, Launch, Replica, ReplicaFailed, Replicas

ADDRESS_TAG = "traceship:local-address"
"""Tag of an instance: the URL on loopback under which its server answers."""
_ACTIVITIES_KEPT = 100
_KEPT_AS_GIVEN = (
    "MixedInstancesPolicy",
    "DefaultInstanceWarmup",
    "MaxInstanceLifetime",
    "InstanceMaintenancePolicy",
    "CapacityRebalance",
)

logger = logging.getLogger("traceship.fleet")


class LaunchFailed(Exception):
    """An instance of the group cannot be launched, or did not come up; the message is the reason."""


class FleetEngine:
    """Keeps every group at its desired capacity. Groups are ministack's records."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self._locks: dict[str, threading.RLock] = defaultdict(threading.RLock)

    def lock(self, group: Record) -> threading.RLock:
        """One operation at a time on a group."""
        return self._locks[group["AutoScalingGroupARN"]]

    def replica(self, entry: Record) -> Replica | None:
        """The server behind a group's instance."""
        return self._replicas.get(entry["InstanceId"])

    def launch(self, group: Record, template: Template) -> Record:
        """Start one more instance and return its entry; ``await_ready`` waits for it.

        Raises:
            LaunchFailed: its user data starts no server of ours.
        """
        try:
            environment = serve_environment(template.data.get("UserData", ""))
        except UserDataUnreadable as error:
            raise LaunchFailed(str(error)) from error
        try:
            check("autoscaling:Launch")
        except Injected as injected:
            raise LaunchFailed(f"Could not launch On-Demand Instances. {injected}") from None
        instance = stores.add_instance(group, template)
        identity = instance["InstanceId"]
        entry = _entry(group, template, instance)
        activity = _begin_activity(group, f"Launching a new EC2 instance: {identity}")
        launch = Launch(
            kind="instance",
            id=identity,
            owner=group["AutoScalingGroupName"],
            environment={**environment, serving.ENV_INSTANCE: identity},
            serve=self._replicas.command("serve"),
            prepare=lambda replica: replica.run(self._replicas.command("fetch")),
        )
        try:
            replica = self._replicas.start(launch, lambda settled: _settle(entry, activity, settled))
        except ReplicaFailed as failure:
            stores.terminated(identity)
            raise LaunchFailed(str(failure)) from failure
        group["Instances"].append(entry)
        stores.tag_instance(group, template, identity, {ADDRESS_TAG: replica.address})
        for arn in group["TargetGroupARNs"]:
            stores.register_target(arn, identity)
        return entry

    def await_ready(self, entry: Record) -> None:
        """Return when the instance's server answers.

        Raises:
            LaunchFailed: it never will.
        """
        replica = self.replica(entry)
        if replica is None:
            raise LaunchFailed(f"{entry['InstanceId']} has no server process")
        try:
            replica.wait_ready()
        except ReplicaFailed as failure:
            raise LaunchFailed(f"instance {entry['InstanceId']}: {failure}") from failure

    def terminate(self, group: Record, entries: list[Record], cause: str) -> None:
        """Take instances out of service, stop their servers and end them; returns when done."""
        for entry in entries:
            for arn in group["TargetGroupARNs"]:
                stores.deregister_target(arn, entry["InstanceId"])
            entry["LifecycleState"] = "Terminating"
            stores.shutting_down(entry["InstanceId"])
        self._replicas.stop([one for one in map(self.replica, entries) if one is not None], cause)
        for entry in entries:
            stores.terminated(entry["InstanceId"])
            activity = _begin_activity(group, f"Terminating EC2 instance: {entry['InstanceId']}", cause)
            _end_activity(activity, "Successful")
        gone = {entry["InstanceId"] for entry in entries}
        group["Instances"] = [entry for entry in group["Instances"] if entry["InstanceId"] not in gone]

    def reconcile(self, group: Record) -> None:
        """Launch what is missing, terminate what is too many; does not wait for new servers.

        Raises:
            LaunchFailed: the launch template is missing or starts no server of ours.
        """
        with self.lock(group):
            if stores.groups().get(group["AutoScalingGroupName"]) is not group:
                return  # deleted, or replaced under the same name, while this waited
            self._forget_terminated(group)
            suspended = {one["ProcessName"] for one in group["SuspendedProcesses"]}
            surplus = len(group["Instances"]) - group["DesiredCapacity"]
            if surplus > 0 and "Terminate" not in suspended:
                first_to_go = sorted(group["Instances"], key=_in_service)[:surplus]
                self.terminate(
                    group, first_to_go, "the desired capacity is lower than the number of instances"
                )
            if surplus < 0 and "Launch" not in suspended:
                template = self.template(group)
                for _ in range(-surplus):
                    self.launch(group, template)

    def await_capacity(self, group: Record, smallest: int) -> None:
        """Return when at least ``smallest`` instances answer.

        Raises:
            LaunchFailed: too few will; the reason is that of the first that failed.
        """
        failures = []
        for entry in list(group["Instances"]):
            try:
                self.await_ready(entry)
            except LaunchFailed as failure:
                failures.append(failure)
        ready = len(group["Instances"]) - len(failures)
        if ready < smallest:
            reason = str(failures[0]) if failures else "launching is suspended"
            raise LaunchFailed(f"{ready} of at least {smallest} instances came into service; {reason}")

    def template(self, group: Record, named: Record | None = None) -> Template:
        """The launch template version that the group launches.

        Raises:
            LaunchFailed: it does not exist.
        """
        try:
            return stores.resolve_template(group, named)
        except TemplateMissing as error:
            raise LaunchFailed(str(error)) from error

    def delete(self, group: Record) -> None:
        """Terminate everything in the group and forget it."""
        with self.lock(group):
            self.terminate(group, list(group["Instances"]), "the group is deleted")
            stores.forget_group(group["AutoScalingGroupName"])

    def in_background(self, group: Record, work: Callable[[], None]) -> None:
        """Run in the caller's account and region; what fails is in the group's activities and the log."""

        def guarded() -> None:
            try:
                work()
            except LaunchFailed as failure:
                logger.warning("group %s: %s", group["AutoScalingGroupName"], failure)
                _end_activity(_begin_activity(group, "Launching a new EC2 instance"), "Failed", str(failure))

        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(guarded,), daemon=True).start()

    def reset(self) -> None:
        """Stop every instance's server; ministack forgets the records itself."""
        self._replicas.stop(self._replicas.of_kind("instance"))

    def resume(self) -> None:
        """After a restart the machines are gone, so each group gets new ones; waits for them a while."""
        for group in stores.every_group():
            adopt(group, {})
            for refresh in group.get("InstanceRefreshes", []):
                if refresh["Status"] in (
                    "Pending",
                    "InProgress",
                    "Baking",
                    "RollbackInProgress",
                    "Cancelling",
                ):
                    refresh.update(
                        Status="Failed", StatusReason="the local AWS was stopped", EndTime=timestamp()
                    )
            self.terminate(group, list(group["Instances"]), "the local AWS was stopped")
            try:
                self.reconcile(group)
            except LaunchFailed as failure:
                logger.warning("group %s: %s", group["AutoScalingGroupName"], failure)
        self._replicas.await_settled(RESTORE_SECONDS)

    def _forget_terminated(self, group: Record) -> None:
        """Instances that somebody ended through EC2 count no longer."""
        ended = [entry for entry in group["Instances"] if stores.is_terminated(entry["InstanceId"])]
        if ended:
            self.terminate(group, ended, "an EC2 instance was taken out of service by its termination")


def adopt(group: Record, properties: Record) -> None:
    """Give ministack's record of a group the members that ministack drops."""
    for name in ("TargetGroupARNs", "SuspendedProcesses", "Activities"):
        group[name] = list(properties.get(name) or group.get(name) or [])
    for name in _KEPT_AS_GIVEN:
        if properties.get(name) is not None:
            group[name] = properties[name]


def show_health(group: Record, replica_of: Callable[[Record], Replica | None]) -> None:
    """Mark instances whose server has ended as Unhealthy, as an ELB health check would."""
    for entry in group["Instances"]:
        replica = replica_of(entry)
        if replica is None or replica.state in ("failed", "stopped"):
            entry["HealthStatus"] = "Unhealthy"


def timestamp() -> str:
    """Now, as the Query protocol carries it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _entry(group: Record, template: Template, instance: Record) -> Record:
    return {
        "InstanceId": instance["InstanceId"],
        "InstanceType": template.instance_type,
        "AvailabilityZone": instance["Placement"]["AvailabilityZone"],
        "LifecycleState": "Pending",
        "HealthStatus": "Healthy",
        "ProtectedFromScaleIn": bool(group.get("NewInstancesProtectedFromScaleIn", False)),
        "LaunchTemplate": template.specification(),
    }


def _settle(entry: Record, activity: Record, replica: Replica) -> None:
    if replica.state == "serving":
        entry["LifecycleState"] = "InService"
        _end_activity(activity, "Successful")
    else:
        entry["HealthStatus"] = "Unhealthy"
        _end_activity(activity, "Failed", replica.reason)


def _in_service(entry: Record) -> bool:
    """Sorts what does not serve first; among equals the oldest stays first."""
    return bool(entry["HealthStatus"] == "Healthy" and entry["LifecycleState"] == "InService")


def _begin_activity(group: Record, description: str, cause: str = "") -> Record:
    activity: dict[str, Any] = {
        "ActivityId": str(uuid.uuid4()),
        "AutoScalingGroupName": group["AutoScalingGroupName"],
        "Description": description,
        "Cause": cause or "the number of instances is lower than the desired capacity",
        "StartTime": timestamp(),
        "StatusCode": "InProgress",
        "Progress": 50,
    }
    group["Activities"] = [activity, *group["Activities"]][:_ACTIVITIES_KEPT]
    return activity


def _end_activity(activity: Record, status: str, message: str = "") -> None:
    activity.update(StatusCode=status, EndTime=timestamp(), Progress=100)
    if message:
        activity["StatusMessage"] = message[:1000]
