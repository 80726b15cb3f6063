"""Auto Scaling groups whose instances are servers: health is probed, capacity is real, the dead look dead."""

from __future__ import annotations

import base64
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.emulator import Emulator, refusal, running, start, until
from tests.local_aws.fleet_stack import user_data


class World:
    """One target group behind a load balancer, and groups by name."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.groups = emulator.client("autoscaling")
        self.ec2 = emulator.client("ec2")
        self.balancing = emulator.client("elbv2")
        vpc = self.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        subnets = [one["SubnetId"] for one in self.ec2.describe_subnets()["Subnets"]][:2]
        (group,) = self.balancing.create_target_group(
            Name="tiny", Protocol="HTTP", Port=8080, VpcId=vpc, TargetType="instance", HealthCheckPath="/ping"
        )["TargetGroups"]
        self.targets = group["TargetGroupArn"]
        (balancer,) = self.balancing.create_load_balancer(Name="door", Subnets=subnets)["LoadBalancers"]
        forward = [{"Type": "forward", "TargetGroupArn": self.targets}]
        self.balancing.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=forward
        )

    def template(self, name: str, digest: str, *, pinned: str | None = None, ping: int = 200) -> str:
        """A new version of a launch template; its number."""
        text = user_data(self.emulator.publish(digest, ping=ping), pinned or digest)
        data = {
            "ImageId": "ami-1",
            "InstanceType": "inf1.xlarge",
            "UserData": base64.b64encode(text.encode()).decode(),
        }
        known = [one["LaunchTemplateName"] for one in self.ec2.describe_launch_templates()["LaunchTemplates"]]
        if name not in known:
            self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
            return "1"
        version = self.ec2.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData=data)
        return str(version["LaunchTemplateVersion"]["VersionNumber"])

    def group(self, name: str, *, desired: int = 1, version: str = "1", largest: int = 3) -> None:
        self.groups.create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=1,
            MaxSize=largest,
            DesiredCapacity=desired,
            AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateName": name, "Version": version},
            TargetGroupARNs=[self.targets],
        )

    def instances(self, name: str) -> list[dict[str, Any]]:
        found = self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        instances: list[dict[str, Any]] = found[0]["Instances"] if found else []
        return instances

    def in_service(self, name: str, count: int) -> list[dict[str, Any]]:
        def enough() -> Any:
            instances = self.instances(name)
            states = {(one["LifecycleState"], one["HealthStatus"]) for one in instances}
            return instances if len(instances) == count and states <= {("InService", "Healthy")} else None

        found: list[dict[str, Any]] = until(enough, f"{name} has {count} in service")
        return found

    def health(self) -> dict[str, dict[str, str]]:
        found = self.balancing.describe_target_health(TargetGroupArn=self.targets)
        return {one["Target"]["Id"]: one["TargetHealth"] for one in found["TargetHealthDescriptions"]}

    def row(self, instance: str) -> dict[str, Any]:
        return next(one for one in self.emulator.rows() if one["id"] == instance)

    def knock(self) -> Any:
        """POST through the load balancer."""
        url = f"http://127.0.0.1:{self.emulator.port}/_alb/door/invocations"
        with urllib.request.urlopen(urllib.request.Request(url, data=b"{}")) as answer:
            return json.loads(answer.read())

    def refresh(self, name: str, **more: Any) -> dict[str, Any]:
        """Start a refresh and return its record once it ended."""
        identity = self.groups.start_instance_refresh(AutoScalingGroupName=name, **more)["InstanceRefreshId"]
        return self.ended(name, identity)

    def ended(self, name: str, identity: str) -> dict[str, Any]:
        def final() -> Any:
            (record,) = self.groups.describe_instance_refreshes(
                AutoScalingGroupName=name, InstanceRefreshIds=[identity]
            )["InstanceRefreshes"]
            return record if "EndTime" in record else None

        found: dict[str, Any] = until(final, f"refresh of {name} ends")
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("aws")) as emulator:
        yield World(emulator)


@pytest.fixture
def name(world: World, request: pytest.FixtureRequest) -> Iterator[str]:
    """Name of a group (and its launch template) that is deleted afterwards, with its processes."""
    name = request.node.name.replace("_", "-")[:60]
    yield name
    if world.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]:
        world.groups.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)
    until(lambda: not [row for row in world.emulator.rows() if row["owner"] == name], f"{name} is gone")


def test_an_instance_is_a_server_that_fetched_its_release(world: World, name: str) -> None:
    """Visible in EC2 with its address, healthy at its target group, reached through the load balancer."""
    world.template(name, "aaaa")
    world.group(name)

    (entry,) = world.in_service(name, 1)

    (reservation,) = world.ec2.describe_instances(InstanceIds=[entry["InstanceId"]])["Reservations"]
    (instance,) = reservation["Instances"]
    tags = {one["Key"]: one["Value"] for one in instance["Tags"]}
    assert (instance["State"]["Name"], instance["InstanceType"]) == ("running", "inf1.xlarge")
    assert tags["aws:autoscaling:groupName"] == name
    assert tags["traceship:local-address"] == world.row(entry["InstanceId"])["address"]
    assert world.health() == {entry["InstanceId"]: {"State": "healthy"}}
    assert world.knock()["digest"] == "aaaa"
    (activity,) = world.groups.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]
    assert activity["StatusCode"] == "Successful"


def test_a_killed_server_turns_red_everywhere(world: World, name: str) -> None:
    """Unhealthy target, Unhealthy instance, 503 at the door."""
    world.template(name, "aaaa")
    world.group(name)
    (entry,) = world.in_service(name, 1)
    os.kill(world.row(entry["InstanceId"])["pid"], signal.SIGKILL)

    until(lambda: world.health()[entry["InstanceId"]]["State"] == "unhealthy", "the target is unhealthy")

    assert world.health()[entry["InstanceId"]]["Reason"] == "Target.FailedHealthChecks"
    # The probe may see the closed port before the emulator has seen its child end.
    until(lambda: world.instances(name)[0]["HealthStatus"] == "Unhealthy", "the instance is Unhealthy")
    with pytest.raises(urllib.error.HTTPError) as refused:
        world.knock()
    assert refused.value.code == 503


def test_a_server_that_is_not_ready_is_initial_and_not_in_service(world: World, name: str) -> None:
    """/ping answers 503: the process runs, the instance stays Pending."""
    world.template(name, "sick", ping=503)
    world.group(name)
    (entry,) = until(lambda: world.instances(name), "an instance exists")

    until(lambda: world.row(entry["InstanceId"])["state"] == "starting", "the server runs")

    assert world.health()[entry["InstanceId"]]["State"] == "initial"
    assert world.instances(name)[0]["LifecycleState"] == "Pending"


def test_a_target_without_a_server_is_unhealthy(world: World) -> None:
    """An instance nobody put a server on is not healthy because it is registered."""
    (instance,) = world.ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)["Instances"]
    target = [{"Id": instance["InstanceId"]}]
    world.balancing.register_targets(TargetGroupArn=world.targets, Targets=target)

    health = world.health()[instance["InstanceId"]]
    world.balancing.deregister_targets(TargetGroupArn=world.targets, Targets=target)

    assert health["State"] == "unhealthy"
    assert instance["InstanceId"] not in world.health()


def test_capacity_follows_the_desired_number(world: World, name: str) -> None:
    """Up starts processes, down ends them and their instances; out of bounds is refused."""
    world.template(name, "aaaa")
    world.group(name)
    (first,) = world.in_service(name, 1)
    world.groups.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=2)
    both = {one["InstanceId"] for one in world.in_service(name, 2)}
    served = {world.knock()["pid"] for _ in range(4)}
    world.groups.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)

    (left,) = world.in_service(name, 1)

    assert first["InstanceId"] in both
    assert len(served) == 2
    (gone,) = both - {left["InstanceId"]}
    until(lambda: not [row for row in world.emulator.rows() if row["id"] == gone], "its process ends")
    code, message = refusal(world.groups.set_desired_capacity, AutoScalingGroupName=name, DesiredCapacity=4)
    assert (code, "above max" in message) == ("ValidationError", True)


def by_auto_scaling(world: World, instance: str) -> None:
    world.groups.terminate_instance_in_auto_scaling_group(
        InstanceId=instance, ShouldDecrementDesiredCapacity=False
    )


def by_ec2(world: World, instance: str) -> None:
    world.ec2.terminate_instances(InstanceIds=[instance])


def by_health(world: World, instance: str) -> None:
    world.groups.set_instance_health(InstanceId=instance, HealthStatus="Unhealthy")


@pytest.mark.parametrize("end", [by_auto_scaling, by_ec2, by_health])
def test_an_instance_that_is_taken_away_is_replaced(
    world: World, name: str, end: Callable[[World, str], None]
) -> None:
    """The old process ends and another instance takes its place."""
    world.template(name, "aaaa")
    world.group(name)
    (old,) = world.in_service(name, 1)
    end(world, old["InstanceId"])

    until(lambda: old["InstanceId"] not in [one["InstanceId"] for one in world.instances(name)], "it is gone")
    (new,) = world.in_service(name, 1)

    assert world.health() == {new["InstanceId"]: {"State": "healthy"}}
    until(lambda: old["InstanceId"] not in [row["id"] for row in world.emulator.rows()], "its process ends")


def test_a_suspended_process_does_nothing_until_it_is_resumed(world: World, name: str) -> None:
    """Launch suspended: an instance that goes is not replaced; resumed: it is."""
    world.template(name, "aaaa")
    world.group(name)
    (old,) = world.in_service(name, 1)
    world.groups.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=["Launch"])
    by_auto_scaling(world, old["InstanceId"])
    until(lambda: world.instances(name) == [], "the instance is gone")
    (group,) = world.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]

    world.groups.resume_processes(AutoScalingGroupName=name, ScalingProcesses=["Launch"])

    assert [one["ProcessName"] for one in group["SuspendedProcesses"]] == ["Launch"]
    world.in_service(name, 1)


def test_a_refused_artifact_is_in_the_activities(world: World, name: str) -> None:
    """The instance is Unhealthy and the reason is the server's."""
    world.template(name, "aaaa", pinned="beef")
    world.group(name)

    until(lambda: any(one["HealthStatus"] == "Unhealthy" for one in world.instances(name)), "it is unhealthy")

    (activity,) = world.groups.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]
    assert activity["StatusCode"] == "Failed"
    assert "refused the artifact (exit 3): pinned beef, found aaaa" in activity["StatusMessage"]


def test_user_data_without_our_environment_starts_nothing(world: World, name: str) -> None:
    """No server is invented for an instance that would not start one."""
    data = {"UserData": base64.b64encode(b"#!/bin/sh\necho hello\n").decode()}
    world.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    world.group(name)

    def activities() -> Any:
        return world.groups.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]

    (activity,) = until(activities, "the attempt is recorded")

    assert "does not begin with #cloud-config" in activity["StatusMessage"]
    assert world.instances(name) == []


def test_a_group_with_instances_needs_force_to_be_deleted(world: World, name: str) -> None:
    """And a group that is not there is an error."""
    world.template(name, "aaaa")
    world.group(name)
    world.in_service(name, 1)

    assert refusal(world.groups.delete_auto_scaling_group, AutoScalingGroupName=name)[0] == "ResourceInUse"
    assert (
        refusal(world.groups.delete_auto_scaling_group, AutoScalingGroupName="nobody")[0] == "ValidationError"
    )


def test_a_refresh_replaces_every_outdated_instance(world: World, name: str) -> None:
    """Ids change, all run the new version, and the group remembers it."""
    world.template(name, "aaaa")
    world.group(name, desired=2)
    old = {one["InstanceId"] for one in world.in_service(name, 2)}
    version = world.template(name, "bbbb")
    wanted = {"LaunchTemplate": {"LaunchTemplateName": name, "Version": version}}

    record = world.refresh(name, DesiredConfiguration=wanted, Preferences={"SkipMatching": True})

    new = world.in_service(name, 2)
    assert (record["Status"], record["PercentageComplete"], record["InstancesToUpdate"]) == (
        "Successful",
        100,
        0,
    )
    assert not old & {one["InstanceId"] for one in new}
    assert {one["LaunchTemplate"]["Version"] for one in new} == {version}
    assert {world.knock()["digest"] for _ in range(4)} == {"bbbb"}
    again = world.refresh(name, Preferences={"SkipMatching": True})
    assert again["Status"] == "Successful"
    assert {one["InstanceId"] for one in world.in_service(name, 2)} == {one["InstanceId"] for one in new}


@pytest.mark.parametrize(("rollback", "status"), [(True, "RollbackSuccessful"), (False, "Failed")])
def test_a_refresh_to_a_bad_release_stops_and_the_old_one_serves(
    world: World, name: str, rollback: bool, status: str
) -> None:
    """No old instance is ended before a new one answers."""
    world.template(name, "aaaa")
    world.group(name)
    (old,) = world.in_service(name, 1)
    version = world.template(name, "bbbb", pinned="beef")
    wanted = {"LaunchTemplate": {"LaunchTemplateName": name, "Version": version}}

    record = world.refresh(name, DesiredConfiguration=wanted, Preferences={"AutoRollback": rollback})

    assert (record["Status"], record["PercentageComplete"]) == (status, 0)
    assert "pinned beef" in record["StatusReason"]
    assert [one["InstanceId"] for one in world.in_service(name, 1)] == [old["InstanceId"]]
    assert world.knock()["digest"] == "aaaa"


def test_an_alarm_rolls_a_refresh_back(world: World, name: str) -> None:
    """Instances that had moved go back to the previous version."""
    world.template(name, "aaaa")
    world.group(name, desired=2)
    world.in_service(name, 2)
    alarms = world.emulator.client("cloudwatch")
    alarms.put_metric_alarm(
        AlarmName=name, Namespace="n", MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    version = world.template(name, "bbbb")
    identity = world.groups.start_instance_refresh(
        AutoScalingGroupName=name,
        DesiredConfiguration={"LaunchTemplate": {"LaunchTemplateName": name, "Version": version}},
        Preferences={
            "AutoRollback": True, "AlarmSpecification": {"Alarms": [name]},
            "CheckpointPercentages": [50, 100], "CheckpointDelay": 600,
        },
    )["InstanceRefreshId"]  # fmt: skip
    until(lambda: "2" in {one["LaunchTemplate"]["Version"] for one in world.instances(name)}, "one has moved")

    alarms.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    record = world.ended(name, identity)

    assert record["Status"] == "RollbackSuccessful"
    assert "CloudWatch alarm in ALARM" in record["RollbackDetails"]["RollbackReason"]
    assert {one["LaunchTemplate"]["Version"] for one in world.in_service(name, 2)} == {"1"}


def test_a_refresh_can_be_cancelled_or_rolled_back_by_hand(world: World, name: str) -> None:
    """Only while one runs, and only one runs at a time."""
    world.template(name, "aaaa")
    world.group(name, desired=2)
    world.in_service(name, 2)
    slow = {"CheckpointPercentages": [50, 100], "CheckpointDelay": 600}

    def begin() -> str:
        version = world.template(name, "bbbb")
        return str(
            world.groups.start_instance_refresh(
                AutoScalingGroupName=name, Preferences=slow,
                DesiredConfiguration={"LaunchTemplate": {"LaunchTemplateName": name, "Version": version}},
            )["InstanceRefreshId"]
        )  # fmt: skip

    first = begin()
    second = refusal(world.groups.start_instance_refresh, AutoScalingGroupName=name)
    world.groups.cancel_instance_refresh(AutoScalingGroupName=name)
    cancelled = world.ended(name, first)
    third = begin()
    world.groups.rollback_instance_refresh(AutoScalingGroupName=name)
    back = world.ended(name, third)

    assert second[0] == "InstanceRefreshInProgress"
    assert (cancelled["Status"], back["Status"]) == ("Cancelled", "RollbackSuccessful")
    nothing = refusal(world.groups.rollback_instance_refresh, AutoScalingGroupName=name)
    assert nothing[0] == "ActiveInstanceRefreshNotFound"


@pytest.mark.parametrize("version", ["$Latest", "$Default", None])
def test_automatic_rollback_is_refused_where_it_could_not_happen(
    world: World, name: str, version: str | None
) -> None:
    """As on AWS: it needs a desired configuration, with the template's version by number."""
    world.template(name, "aaaa")
    world.group(name)
    desired = {"DesiredConfiguration": {"LaunchTemplate": {"LaunchTemplateName": name, "Version": version}}}

    code, message = refusal(
        world.groups.start_instance_refresh,
        AutoScalingGroupName=name,
        Preferences={"AutoRollback": True},
        **(desired if version else {}),
    )

    assert code == "ValidationError"
    assert "by version number" in message


def test_every_zone_offers_the_types_that_are_asked_for(world: World) -> None:
    """Which is said to be only present; a question without a type would need the catalogue."""
    asked = [{"Name": "instance-type", "Values": ["inf1.xlarge", "c5.large"]}]
    by_zone = world.ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=asked)
    here = [{"Name": "location", "Values": ["us-east-1b"]}]
    in_b = world.ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=asked + here)

    zones = [zone["ZoneName"] for zone in world.ec2.describe_availability_zones()["AvailabilityZones"]]
    found = {(one["InstanceType"], one["Location"]) for one in by_zone["InstanceTypeOfferings"]}
    assert found == {(name, zone) for name in ("inf1.xlarge", "c5.large") for zone in zones}
    assert {one["Location"] for one in in_b["InstanceTypeOfferings"]} == {"us-east-1b"}
    with pytest.raises(ClientError, match="instance-type"):
        world.ec2.describe_instance_type_offerings(LocationType="availability-zone")


def test_groups_get_new_machines_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The old instances are terminated, new ones serve, and the target group knows only them."""
    state = tmp_path_factory.mktemp("restart")
    with running(state) as first:
        before = World(first)
        before.template("kept", "aaaa")
        before.group("kept")
        (old,) = before.in_service("kept", 1)
        targets = before.targets
        first.stop()

        second = start(state, state / "python")
        try:
            instances = second.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"][0][
                "Instances"
            ]
            health = second.client("elbv2").describe_target_health(TargetGroupArn=targets)
            assert [one["LifecycleState"] for one in instances] == ["InService"]
            assert instances[0]["InstanceId"] != old["InstanceId"]
            assert [one["TargetHealth"]["State"] for one in health["TargetHealthDescriptions"]] == ["healthy"]
        finally:
            second.stop()
