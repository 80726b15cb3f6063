"""AWS::AutoScaling::AutoScalingGroup with instances behind it.

Creation waits until MinSize instances answer /ping, as if the template had a creation policy, and
fails with the server's own reason. A new launch template version replaces instances if the
template's UpdatePolicy says instance refresh; then the update waits for it, and a failed refresh
has gone back to the previous version before the update fails. Without an UpdatePolicy running
instances stay as they are, as on AWS. Lifecycle hooks are stored and not waited for.
"""

from __future__ import annotations

import copy

from local_aws.extension import fleet_stores as stores
from local_aws.extension.fleet_engine import FleetEngine, LaunchFailed, adopt
from local_aws.extension.fleet_refresh import Refreshes, template_preferences
from local_aws.extension.fleet_stores import Record, Template
from local_aws.extension.registry import Properties, Provisioned, Registry, ResourceFailed

TYPE = "AWS::AutoScaling::AutoScalingGroup"
REFRESH = "AutoScalingInstanceRefresh"
_NOT_THERE = ("AutoScalingRollingUpdate", "AutoScalingReplacingUpdate")


class GroupType:
    """The type's three handlers, around ministack's own, which keep the group's record."""

    def __init__(self, registry: Registry, engine: FleetEngine, refreshes: Refreshes) -> None:
        self._original = registry.resource_type(TYPE)
        self._engine = engine
        self._refreshes = refreshes
        registry.add_resource_type(
            TYPE,
            create=self.create,
            update=self.update,
            delete=self.delete,
            replaced_by=("AutoScalingGroupName", "InstanceId"),
            blocking=True,
        )

    def create(self, logical_id: str, properties: Properties, stack: str, /) -> Provisioned:
        """Create the group and wait for its smallest size; leaves nothing behind if that fails."""
        named = properties.get("AutoScalingGroupName")
        if named and named in stores.groups():
            raise ResourceFailed(f"{named} already exists")
        _policy(stack, logical_id)
        name, attributes = self._original.create(logical_id, properties, stack)
        group = stores.groups()[name]
        adopt(group, properties)
        try:
            self._engine.reconcile(group)
            self._engine.await_capacity(group, group["MinSize"])
        except LaunchFailed as failure:
            self._engine.delete(group)
            raise ResourceFailed(f"group {name}: {failure}") from failure
        return name, attributes

    def update(
        self, physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str, /
    ) -> Provisioned:
        """Change the group in place; restores what it was if the instances cannot follow."""
        policy = _policy(stack, logical_id)
        group = stores.groups()[physical_id]
        before = {key: copy.deepcopy(value) for key, value in group.items() if key != "Instances"}
        tags = stores.group_tags(physical_id)
        try:
            previous = self._engine.template(group)
            answer = self._original.update(physical_id, old, new, stack, logical_id)
            adopt(group, new)
            _keep_desired_capacity(group, new, before["DesiredCapacity"])
            target = self._engine.template(group)
            if target != previous and REFRESH in policy:
                self._refresh(group, target, previous, policy[REFRESH])
            self._engine.reconcile(group)
            self._engine.await_capacity(group, group["MinSize"])
        except LaunchFailed as failure:
            kept = ("Activities", "InstanceRefreshes")
            group.update({key: value for key, value in before.items() if key not in kept})
            stores.set_group_tags(physical_id, tags)
            raise ResourceFailed(f"group {physical_id}: {failure}") from failure
        return answer

    def delete(self, physical_id: str, _properties: Properties, /) -> None:
        """Terminate every instance, then remove the group."""
        group = stores.groups().get(physical_id)
        if group is not None:
            refresh = self._refreshes.running(group)
            if refresh is not None:
                refresh.interrupt("cancel")
            self._engine.delete(group)

    def _refresh(self, group: Record, target: Template, previous: Template, policy: Record) -> None:
        refresh = self._refreshes.begin(group, target, template_preferences(policy))
        if not refresh.run(previous):
            reason = refresh.record.get("StatusReason", "")
            raise LaunchFailed(f"instance refresh {refresh.record['Status']}: {reason}")


def _policy(stack: str, logical_id: str) -> Record:
    """The resource's UpdatePolicy.

    Raises:
        ResourceFailed: it asks for a kind of update that would be silently skipped here.
    """
    policy = stores.update_policy(stack, logical_id)
    for name in _NOT_THERE:
        if name in policy:
            raise ResourceFailed(f"the local AWS has no UpdatePolicy {name}; use {REFRESH}")
    return policy


def _keep_desired_capacity(group: Record, properties: Properties, before: int) -> None:
    """A template that names no desired capacity does not change the current one, within the bounds."""
    if properties.get("DesiredCapacity") is None:
        group["DesiredCapacity"] = min(max(before, group["MinSize"]), group["MaxSize"])
