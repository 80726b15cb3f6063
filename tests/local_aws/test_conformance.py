"""The inventory says what is really there, and turns red for each way of not being there."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws import names
from local_aws.conformance import Inventory, Verdict, inventory, tracebacks
from local_aws.conformance.compare import differences
from local_aws.conformance.template import UNKNOWN, Known, resolved
from local_aws.launcher import LocalAws
from tests.local_aws.stacks import TRUST, VPC, Json, Stack, attribute, new_stack, ref, template

LIFECYCLE = {"Rules": [{"Id": "x", "Status": "Enabled", "ExpirationInDays": 9}]}


def resources(stack: Stack) -> Json:
    """A few resources that refer to each other."""
    group = {
        "GroupDescription": "door",
        "VpcId": ref("Vpc"),
        "SecurityGroupIngress": [
            {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIp": attribute("Vpc", "CidrBlock")}
        ],
    }
    bucket = {
        "BucketName": {"Fn::Join": ["-", [ref("AWS::StackName"), ref("AWS::AccountId")]]},
        "LifecycleConfiguration": LIFECYCLE,
        "VersioningConfiguration": {"Status": "Enabled"},
    }
    role = {"AssumeRolePolicyDocument": TRUST, "Tags": [{"Key": "a", "Value": "b"}]}
    return {
        "Vpc": VPC,
        "Group": {"Type": "AWS::EC2::SecurityGroup", "Properties": group},
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": bucket},
        "Role": {"Type": "AWS::IAM::Role", "Properties": role},
        "Meta": {"Type": "AWS::CDK::Metadata", "Properties": {}},
    }


@pytest.fixture
def stack(aws: LocalAws) -> Stack:
    stack = new_stack(aws)
    assert stack.deploy(resources(stack), {"Bucket": {"Value": ref("Bucket")}}) == "CREATE_COMPLETE"
    return stack


def look(stack: Stack, *, more: Json | None = None, outputs: tuple[str, ...] = ("Bucket",)) -> Inventory:
    asked = template(
        {**resources(stack), **(more or {})}, {name: {"Value": ref("Bucket")} for name in outputs}
    )
    return inventory(stack.aws, [stack.name], {stack.name: asked})


def verdicts(found: Inventory) -> dict[str, Verdict]:
    return {row.logical_id: row.verdict for row in found.rows}


def test_what_was_asked_for_is_verified(stack: Stack) -> None:
    """Every known type is compared; the waived one says why."""
    found = look(stack)

    assert found.problems == ()
    assert verdicts(found) == {
        "Vpc": Verdict.VERIFIED,
        "Group": Verdict.VERIFIED,
        "Bucket": Verdict.VERIFIED,
        "Role": Verdict.VERIFIED,
        "Meta": Verdict.WAIVED,
    }
    assert {row.logical_id for row in found.unsupported} == {"Meta"}
    assert all(row.detail for row in found.unsupported)


def test_a_type_that_nobody_describes_is_a_problem(aws: LocalAws) -> None:
    """It may have been skipped or be a stub, however green the stack."""
    stack = new_stack(aws)
    queue = {"Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": stack.name}}}
    assert stack.deploy(queue) == "CREATE_COMPLETE"

    found = inventory(aws, [stack.name], {stack.name: template(queue)})

    assert verdicts(found) == {"Queue": Verdict.LISTED}
    assert "Queue (AWS::SQS::Queue) listed" in found.problems[0]


def test_an_output_with_another_value_is_a_problem(stack: Stack) -> None:
    """The template says what it is made of."""
    asked = template(resources(stack), {"Bucket": {"Value": ref("Vpc")}})

    found = inventory(stack.aws, [stack.name], {stack.name: asked})

    assert found.problems == (f"output {stack.name}.Bucket is missing or has another value",)


def fleet_parts() -> Json:
    """An empty group with what only some fleets have."""
    group = {"AutoScalingGroupName": ref("Fleet")}
    steps = [
        {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 5, "ScalingAdjustment": -5},
        {"MetricIntervalLowerBound": 5, "ScalingAdjustment": -10},
    ]
    parts = {
        "LifecycleHook": {
            "LifecycleHookName": "Ready",
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
            "DefaultResult": "ABANDON",
            "HeartbeatTimeout": 1200,
        },
        "ScheduledAction": {
            "Recurrence": "0 20 * * *",
            "TimeZone": "Europe/Berlin",
            **dict.fromkeys(("MinSize", "MaxSize", "DesiredCapacity"), 0),
        },
        "WarmPool": {"PoolState": "Running", "MinSize": 1, "InstanceReusePolicy": {"ReuseOnScaleIn": True}},
        "ScalingPolicy": {
            "PolicyType": "StepScaling",
            "AdjustmentType": "PercentChangeInCapacity",
            "MinAdjustmentMagnitude": 1,
            "MetricAggregationType": "Minimum",
            "StepAdjustments": steps,
        },
    }
    launch = {"LaunchTemplateData": {"ImageId": "ami-00000000000000000", "InstanceType": "inf1.xlarge"}}
    fleet = {
        "MinSize": "0",
        "MaxSize": "2",
        "AvailabilityZones": ["us-east-1a"],
        "LaunchTemplate": {"LaunchTemplateId": ref("Launch"), "Version": "1"},
        "InstanceMaintenancePolicy": {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 110},
        "CapacityRebalance": True,
        "MaxInstanceLifetime": 604800,
    }
    return {
        "Launch": {"Type": "AWS::EC2::LaunchTemplate", "Properties": launch},
        "Fleet": {"Type": "AWS::AutoScaling::AutoScalingGroup", "Properties": fleet},
        **{
            name: {"Type": f"AWS::AutoScaling::{name}", "Properties": {**group, **p}}
            for name, p in parts.items()
        },
    }


@pytest.fixture
def fleet(aws: LocalAws) -> Iterator[Stack]:
    stack = new_stack(aws)
    assert stack.deploy(fleet_parts()) == "CREATE_COMPLETE"
    yield stack
    stack.delete()


def test_what_only_some_fleets_have_is_verified_too(fleet: Stack) -> None:
    """Hooks, schedules, warm pools and steps are described as the template asks for them."""
    found = inventory(fleet.aws, [fleet.name], {fleet.name: template(fleet_parts())})

    assert found.problems == ()
    assert set(verdicts(found).values()) == {Verdict.VERIFIED}


def _wake_later(aws: LocalAws, name: str) -> None:
    groups = aws.client("autoscaling")
    (action,) = groups.describe_scheduled_actions(AutoScalingGroupName=name)["ScheduledUpdateGroupActions"]
    groups.put_scheduled_update_group_action(
        AutoScalingGroupName=name, ScheduledActionName=action["ScheduledActionName"], Recurrence="0 22 * * *"
    )


def _stop_the_pool(aws: LocalAws, name: str) -> None:
    aws.client("autoscaling").put_warm_pool(AutoScalingGroupName=name, PoolState="Stopped", MinSize=1)


def _delete_the_pool(aws: LocalAws, name: str) -> None:
    aws.client("autoscaling").delete_warm_pool(AutoScalingGroupName=name)


@pytest.mark.parametrize(
    ("change", "part"),
    [(_wake_later, "ScheduledAction"), (_stop_the_pool, "WarmPool"), (_delete_the_pool, "WarmPool")],
)
def test_a_change_behind_the_stack_is_seen(
    fleet: Stack, change: Callable[[LocalAws, str], None], part: str
) -> None:
    """Each by the part of the fleet that it changed, and no other."""
    change(fleet.aws, fleet.physical_id("Fleet"))

    found = inventory(fleet.aws, [fleet.name], {fleet.name: template(fleet_parts())})

    assert {name for name, verdict in verdicts(found).items() if verdict != Verdict.VERIFIED} == {part}


def _drop_lifecycle(aws: LocalAws, stack: Stack) -> None:
    aws.client("s3").delete_bucket_lifecycle(Bucket=stack.physical_id("Bucket"))


def _delete_bucket(aws: LocalAws, stack: Stack) -> None:
    aws.client("s3").delete_bucket(Bucket=stack.physical_id("Bucket"))


def _suspend_versions(aws: LocalAws, stack: Stack) -> None:
    aws.client("s3").put_bucket_versioning(
        Bucket=stack.physical_id("Bucket"), VersioningConfiguration={"Status": "Suspended"}
    )


@pytest.mark.parametrize("damage", [_drop_lifecycle, _delete_bucket, _suspend_versions])
def test_a_lost_property_or_resource_is_seen(
    aws: LocalAws, stack: Stack, damage: Callable[[LocalAws, Stack], None]
) -> None:
    """CloudFormation still says COMPLETE; the describe call says otherwise."""
    damage(aws, stack)

    found = look(stack)

    assert verdicts(found)["Bucket"] == Verdict.DIFFERENT
    assert len(found.problems) == 1
    assert "Bucket" in found.problems[0]


def test_a_skipped_resource_is_missing(stack: Stack) -> None:
    """A resource of the template that CloudFormation does not list is a problem."""
    found = look(stack, more={"Skipped": VPC})

    assert verdicts(found)["Skipped"] == Verdict.MISSING
    assert "Skipped" in found.problems[0]


def test_a_missing_output_is_a_problem(stack: Stack) -> None:
    """Return code 0 and no outputs is not success."""
    found = look(stack, outputs=("Bucket", "Endpoint"))

    assert found.missing_outputs == (f"{stack.name}.Endpoint",)
    assert found.problems == (f"output {stack.name}.Endpoint is missing or has another value",)


def test_properties_that_nobody_read_are_named(aws: LocalAws) -> None:
    """The server notes what a provisioner ignored, and forgets it when it is read."""
    stack = new_stack(aws)
    bucket = {"BucketName": f"{stack.name}-b", "AnalyticsConfigurations": [], "Tags": []}
    stack.deploy({"Bucket": {"Type": "AWS::S3::Bucket", "Properties": bucket}})

    with urllib.request.urlopen(aws.endpoint + names.INTERNAL_PREFIX + names.UNREAD) as answer:
        unread = json.loads(answer.read())

    assert unread[stack.name] == {"Bucket": ["AnalyticsConfigurations"]}


def test_tracebacks_are_found_in_a_log(tmp_path: Path) -> None:
    """An error that the server answered with 500 and the SDK retried away is still in the log."""
    log = tmp_path / "server.log"
    log.write_text("fine\nTraceback (most recent call last):\n  File x\nKeyError: 'a'\nfine\n")

    assert tracebacks(log) == ["KeyError: 'a'"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("1", 1),
        (True, "true"),
        (5, 5.0),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({}, None),
        ([], None),
        ([1, 2], [2, 1]),
        ({"Tags": [{"Key": "k"}]}, {"Tags": [{"Key": "other"}, {"Key": "k"}]}),
        ({"Policy": {"a": [1]}}, {"Policy": '{"a": [1]}'}),
        (f"arn:{UNKNOWN}:end", "arn:something:end"),
    ],
)
def test_the_same_in_another_spelling_is_no_difference(asked: object, found: object) -> None:
    """Types, order, defaults and JSON in texts do not count."""
    assert list(differences(asked, found)) == []


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("a", "b"),
        ("a", None),
        (True, None),
        (False, True),
        (UNKNOWN, ""),
        (UNKNOWN, None),
        (f"arn:{UNKNOWN}:end", "arn:something:else"),
        ({"a": {"b": 1}}, {"a": {}}),
        ({"a": 1}, None),
        ([1], [1, 2]),
        ([1, 1], [1, 2]),
        ([1], None),
        ({"Tags": [{"Key": "k", "Value": "v"}]}, {"Tags": [{"Key": "k", "Value": "w"}]}),
    ],
)
def test_anything_else_is_a_difference(asked: object, found: object) -> None:
    """A comparison that cannot fail proves nothing."""
    assert list(differences(asked, found)) != []


def test_references_resolve_to_what_the_stack_says() -> None:
    """Ids, exports and pseudo parameters are filled in; attributes stay unknown, also inside a text."""
    known = Known(ids={"B": "bucket-1"}, exports={"e": "value"}, pseudo={"AWS::Region": "eu-west-1"})
    value = {
        "Ref": {"Ref": "B"},
        "Import": {"Fn::ImportValue": "e"},
        "Text": {"Fn::Join": ["/", [{"Ref": "AWS::Region"}, {"Fn::GetAtt": ["B", "Arn"]}]]},
        "Gone": {"Ref": "AWS::NoValue"},
        "List": [{"Ref": "AWS::NoValue"}, 1],
    }

    assert resolved(value, known) == {
        "Ref": "bucket-1",
        "Import": "value",
        "Text": f"eu-west-1/{UNKNOWN}",
        "List": [1],
    }


@given(
    parts=st.lists(st.text(alphabet="ab", max_size=2), min_size=2, max_size=5),
    text=st.text(alphabet="ab", max_size=10),
)
def test_what_is_known_only_when_deployed_fits_as_a_regular_expression_would(
    parts: list[str], text: str
) -> None:
    """Something for each unknown, everything else as it is; without trying every combination."""
    pattern = ".+".join(re.escape(part) for part in parts)

    agrees = not list(differences(UNKNOWN.join(parts), text))

    assert agrees == (text != "" and re.fullmatch(pattern, text) is not None)


def test_a_long_text_with_many_unknowns_is_compared_at_once() -> None:
    """A dashboard names every alarm; a regular expression would take hours to say no."""
    wanted = '{"alarms":[' + ",".join(f'"{UNKNOWN}"' for _ in range(30)) + "]}x"
    found = '{"alarms":[' + ",".join('"arn:aws:cloudwatch:one"' for _ in range(30)) + "]}y"

    assert len(list(differences(wanted, found))) == 1
