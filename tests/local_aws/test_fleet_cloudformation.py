"""The fleet stack's group: a green deploy means serving instances, an update really replaces them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.local_aws import fleet_stack
from tests.local_aws.emulator import Emulator, deployed, running, until


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running(tmp_path_factory.mktemp("aws")) as emulator:
        yield emulator


class Stack:
    """A fleet stack by name."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.name = "fleet"
        self.client = emulator.client("cloudformation")

    def create(self, digest: str, **more: Any) -> tuple[str, str]:
        self.client.create_stack(StackName=self.name, TemplateBody=self.template(digest, **more))
        return deployed(self.client, self.name)

    def update(self, digest: str, **more: Any) -> tuple[str, str]:
        self.client.update_stack(StackName=self.name, TemplateBody=self.template(digest, **more))
        return deployed(self.client, self.name)

    def template(
        self, digest: str, *, published: str | None = None, extra: dict[str, Any] | None = None, **more: Any
    ) -> str:
        release = self.emulator.publish(published or digest)
        template = fleet_stack.fleet(release, digest, **more)
        template["Resources"] |= extra or {}
        return json.dumps(template)

    def group(self) -> dict[str, Any]:
        groups = self.emulator.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        group: dict[str, Any] = groups[0] if groups else {}
        return group

    def refreshes(self) -> list[dict[str, Any]]:
        found = self.emulator.client("autoscaling").describe_instance_refreshes(
            AutoScalingGroupName=self.group()["AutoScalingGroupName"]
        )
        refreshes: list[dict[str, Any]] = found["InstanceRefreshes"]
        return refreshes

    def digests(self) -> list[str]:
        return sorted(row["digest"] for row in self.emulator.rows())


@pytest.fixture
def stack(emulator: Emulator) -> Iterator[Stack]:
    stack = Stack(emulator)
    yield stack
    stack.client.delete_stack(StackName=stack.name)
    until(lambda: not stack.group(), "the group is gone")
    assert emulator.rows() == []


def test_a_stack_is_complete_when_its_smallest_size_serves(stack: Stack) -> None:
    """Instances run the overridden type, and their target group finds them healthy."""
    status, reasons = stack.create("aaaa", smallest=2)

    group = stack.group()
    health = stack.emulator.client("elbv2").describe_target_health(TargetGroupArn=group["TargetGroupARNs"][0])
    assert (status, reasons) == ("CREATE_COMPLETE", "")
    assert [one["LifecycleState"] for one in group["Instances"]] == ["InService"] * 2
    assert {one["InstanceType"] for one in group["Instances"]} == {"c5.large"}
    assert [one["TargetHealth"]["State"] for one in health["TargetHealthDescriptions"]] == ["healthy"] * 2
    assert stack.digests() == ["aaaa", "aaaa"]


def test_a_bad_artifact_rolls_the_stack_back_with_the_reason(stack: Stack) -> None:
    """CREATE_FAILED carries the server's own words; no instance stays."""
    status, reasons = stack.create("beef", published="aaaa")

    assert status == "ROLLBACK_COMPLETE"
    assert "0 of at least 1 instances came into service" in reasons
    assert "refused the artifact (exit 3): pinned beef, found aaaa" in reasons
    assert stack.emulator.rows() == []


def test_an_update_refreshes_the_instances_and_keeps_the_desired_capacity(stack: Stack) -> None:
    """The UpdatePolicy is performed: other ids, the new version, a refresh on record."""
    stack.create("aaaa")
    name = stack.group()["AutoScalingGroupName"]
    stack.emulator.client("autoscaling").set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)
    old = until(lambda: len(found := stack.group()["Instances"]) == 2 and found, "two instances")

    status, _ = stack.update("bbbb")

    group = stack.group()
    (refresh,) = stack.refreshes()
    assert status == "UPDATE_COMPLETE"
    assert stack.digests() == ["bbbb", "bbbb"]
    assert not {one["InstanceId"] for one in old} & {one["InstanceId"] for one in group["Instances"]}
    assert {one["LaunchTemplate"]["Version"] for one in group["Instances"]} == {"2"}
    assert (refresh["Status"], refresh["PercentageComplete"]) == ("Successful", 100)
    assert refresh["Preferences"]["AlarmSpecification"]["Alarms"] == ["tiny-errors"]


def test_a_failed_update_leaves_the_old_release_serving(stack: Stack) -> None:
    """The refresh goes back, the stack rolls back, and the group names the old version again."""
    stack.create("aaaa")
    before = stack.group()["Instances"]

    status, reasons = stack.update("beef", published="bbbb")

    group = stack.group()
    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert "instance refresh RollbackSuccessful" in reasons
    assert "pinned beef, found bbbb" in reasons
    assert group["Instances"] == before
    named = group["MixedInstancesPolicy"]["LaunchTemplate"]["LaunchTemplateSpecification"]
    assert named["Version"] == "1"
    assert stack.digests() == ["aaaa"]


def test_a_later_failure_takes_the_refreshed_instances_back(stack: Stack) -> None:
    """Another resource of the same update fails: the group goes back to the release before."""
    nowhere = {"Fn::GetAtt": ["Vpc", "NoSuchAttribute"]}
    broken = {
        "Type": "AWS::SSM::Parameter",
        "DependsOn": "Group",
        "Properties": {"Name": "broken", "Type": "String", "Value": nowhere},
    }
    stack.create("aaaa")

    status, _ = stack.update("bbbb", extra={"Broken": broken})

    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.digests() == ["aaaa"]
    assert [one["Status"] for one in stack.refreshes()] == ["Successful", "Successful"]


def test_an_alarm_fails_the_update(stack: Stack) -> None:
    """A ringing alarm of the UpdatePolicy stops the refresh before an instance is touched."""
    stack.create("aaaa")
    stack.emulator.client("cloudwatch").set_alarm_state(
        AlarmName="tiny-errors", StateValue="ALARM", StateReason="test"
    )

    status, reasons = stack.update("bbbb")

    assert status == "UPDATE_ROLLBACK_COMPLETE"
    assert "CloudWatch alarm in ALARM: tiny-errors" in reasons
    assert stack.digests() == ["aaaa"]


def test_without_an_update_policy_running_instances_stay(stack: Stack) -> None:
    """As on AWS: only instances launched later run the new version."""
    policy = {"AutoScalingScheduledAction": {"IgnoreUnmodifiedGroupSizeProperties": True}}
    stack.create("aaaa", policy=policy)

    stack.update("bbbb", policy=policy, smallest=2)

    assert stack.digests() == ["aaaa", "bbbb"]


WAITING = {
    "Type": "AWS::AutoScaling::WarmPool",
    "Properties": {
        "AutoScalingGroupName": {"Ref": "Group"},
        "PoolState": "Running",
        "MinSize": 2,
        "MaxGroupPreparedCapacity": 3,
        "InstanceReusePolicy": {"ReuseOnScaleIn": True},
    },
}
NIGHT = {
    "Type": "AWS::AutoScaling::ScheduledAction",
    "Properties": {
        "AutoScalingGroupName": {"Ref": "Group"},
        "Recurrence": "0 20 * * *",
        "TimeZone": "Europe/Berlin",
        "MinSize": 0,
        "MaxSize": 0,
        "DesiredCapacity": 0,
    },
}


def test_a_warm_pool_and_a_schedule_are_described_and_go_with_their_resources(stack: Stack) -> None:
    """Stored as asked, shown by the APIs, changed in place, and gone after the update that drops them."""
    groups = stack.emulator.client("autoscaling")

    assert stack.create("aaaa", extra={"Waiting": WAITING, "Night": NIGHT})[0] == "CREATE_COMPLETE"
    name = stack.group()["AutoScalingGroupName"]
    pool = groups.describe_warm_pool(AutoScalingGroupName=name)["WarmPoolConfiguration"]
    assert pool == {
        "PoolState": "Running",
        "MinSize": 2,
        "MaxGroupPreparedCapacity": 3,
        "InstanceReusePolicy": {"ReuseOnScaleIn": True},
    }
    assert stack.group()["WarmPoolConfiguration"] == pool
    (night,) = groups.describe_scheduled_actions(AutoScalingGroupName=name)["ScheduledUpdateGroupActions"]
    assert (night["Recurrence"], night["TimeZone"], night["MaxSize"]) == ("0 20 * * *", "Europe/Berlin", 0)

    smaller = {**WAITING, "Properties": {"AutoScalingGroupName": {"Ref": "Group"}}}
    assert stack.update("aaaa", extra={"Waiting": smaller, "Night": NIGHT})[0] == "UPDATE_COMPLETE"
    pool = groups.describe_warm_pool(AutoScalingGroupName=name)["WarmPoolConfiguration"]
    assert pool == {
        "PoolState": "Stopped",
        "MinSize": 0,
        "InstanceReusePolicy": {"ReuseOnScaleIn": False},
    }

    assert stack.update("aaaa")[0] == "UPDATE_COMPLETE"
    assert "WarmPoolConfiguration" not in groups.describe_warm_pool(AutoScalingGroupName=name)
    assert groups.describe_scheduled_actions(AutoScalingGroupName=name)["ScheduledUpdateGroupActions"] == []


def test_a_warm_pool_beside_spot_is_refused(stack: Stack) -> None:
    """With the reason, and nothing is left."""
    template = json.loads(stack.template("aaaa", extra={"Waiting": WAITING}))
    mixed = template["Resources"]["Group"]["Properties"]["MixedInstancesPolicy"]
    mixed["InstancesDistribution"] = {"OnDemandPercentageAboveBaseCapacity": 50}
    stack.client.create_stack(StackName=stack.name, TemplateBody=json.dumps(template))

    status, reasons = deployed(stack.client, stack.name)

    assert status == "ROLLBACK_COMPLETE"
    assert "launches Spot Instances" in reasons


def test_how_instances_are_replaced_is_described(stack: Stack) -> None:
    """Maintenance policy and rebalancing, as the group was given them."""
    template = json.loads(stack.template("aaaa"))
    template["Resources"]["Group"]["Properties"] |= {
        "InstanceMaintenancePolicy": {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 110},
        "CapacityRebalance": True,
    }
    stack.client.create_stack(StackName=stack.name, TemplateBody=json.dumps(template))

    assert deployed(stack.client, stack.name)[0] == "CREATE_COMPLETE"
    group = stack.group()
    assert group["InstanceMaintenancePolicy"] == {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 110}
    assert group["CapacityRebalance"] is True


def test_an_update_policy_that_is_not_there_is_refused(stack: Stack) -> None:
    """It would be skipped in silence, and the deploy would look right."""
    status, reasons = stack.create("aaaa", policy={"AutoScalingRollingUpdate": {"MaxBatchSize": 1}})

    assert status == "ROLLBACK_COMPLETE"
    assert "the local AWS has no UpdatePolicy AutoScalingRollingUpdate" in reasons


def test_a_reset_ends_the_servers_with_the_records(stack: Stack) -> None:
    """ministack's reset forgets every resource; no server stays without one."""
    stack.create("aaaa")
    stack.emulator.publish("aaaa")

    url = f"http://127.0.0.1:{stack.emulator.port}/_ministack/reset"
    with urllib.request.urlopen(urllib.request.Request(url, method="POST")) as answer:
        assert answer.status == 200

    assert stack.emulator.rows() == []
