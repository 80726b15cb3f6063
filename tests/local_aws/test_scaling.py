"""Application Auto Scaling is present: stored, described, removed; nothing here makes it act."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.local_aws.emulator import Emulator, refusal, running

TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/e/variant/v",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
TRACKING = {
    "TargetValue": 70.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running(tmp_path_factory.mktemp("aws")) as emulator:
        yield emulator


@pytest.fixture
def scaling(emulator: Emulator) -> Iterator[Any]:
    client = emulator.client("application-autoscaling")
    yield client
    for target in client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]:
        client.deregister_scalable_target(**{key: target[key] for key in TARGET})


def test_a_target_is_described_and_changed_in_place(scaling: Any) -> None:
    """What is not given again keeps its value."""
    scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=4)
    scaling.register_scalable_target(**TARGET, MaxCapacity=2)

    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]

    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 2)
    assert target["ScalableTargetARN"].startswith("arn:aws:application-autoscaling:us-east-1:000000000000:")


def test_bounds_in_the_wrong_order_are_refused(scaling: Any) -> None:
    """Nothing is stored of a target that cannot be."""
    code, _ = refusal(scaling.register_scalable_target, **TARGET, MinCapacity=3, MaxCapacity=2)

    assert code == "ValidationException"
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_a_new_target_needs_both_bounds(scaling: Any) -> None:
    """Only a change may leave one out."""
    code, message = refusal(scaling.register_scalable_target, **TARGET, MaxCapacity=2)

    assert code == "ValidationException"
    assert "minCapacity" in message


def test_a_policy_needs_its_target(scaling: Any) -> None:
    """AWS calls it ObjectNotFoundException."""
    code, _ = refusal(
        scaling.put_scaling_policy, **TARGET, PolicyName="p", PolicyType="TargetTrackingScaling"
    )

    assert code == "ObjectNotFoundException"


def test_a_policy_is_described_replaced_and_deleted(scaling: Any) -> None:
    """The ARN survives a replacement; deleting twice is an error."""
    scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=4)
    policy = {**TARGET, "PolicyName": "p", "PolicyType": "TargetTrackingScaling"}
    first = scaling.put_scaling_policy(**policy, TargetTrackingScalingPolicyConfiguration=TRACKING)[
        "PolicyARN"
    ]
    changed = {**TRACKING, "TargetValue": 50.0}
    second = scaling.put_scaling_policy(**policy, TargetTrackingScalingPolicyConfiguration=changed)[
        "PolicyARN"
    ]

    (found,) = scaling.describe_scaling_policies(**TARGET)["ScalingPolicies"]
    scaling.delete_scaling_policy(**TARGET, PolicyName="p")

    assert first == second
    assert found["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 50.0
    assert scaling.describe_scaling_policies(**TARGET)["ScalingPolicies"] == []
    assert refusal(scaling.delete_scaling_policy, **TARGET, PolicyName="p")[0] == "ObjectNotFoundException"


def test_policies_go_with_their_target(scaling: Any) -> None:
    """As on AWS, deregistering removes them; twice is an error."""
    scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=4)
    scaling.put_scaling_policy(**TARGET, PolicyName="p", TargetTrackingScalingPolicyConfiguration=TRACKING)

    scaling.deregister_scalable_target(**TARGET)

    assert scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"] == []
    assert refusal(scaling.deregister_scalable_target, **TARGET)[0] == "ObjectNotFoundException"


def test_an_action_that_is_not_there_is_refused(scaling: Any) -> None:
    """Nothing is answered with an empty success."""
    code, message = refusal(scaling.list_tags_for_resource, ResourceARN="arn:aws:x")

    assert code == "UnknownOperationException"
    assert "ListTagsForResource" in message


def test_a_scheduled_action_is_described_changed_and_goes_with_its_target(scaling: Any) -> None:
    """What is not given again keeps its value; a target is needed."""
    action = {**TARGET, "ScheduledActionName": "night"}
    late = {"Schedule": "cron(0 20 ? * * *)", "ScalableTargetAction": {"MinCapacity": 1}}

    assert refusal(scaling.put_scheduled_action, **action, **late)[0] == "ObjectNotFoundException"
    scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=4)
    scaling.put_scheduled_action(**action, **late)
    scaling.put_scheduled_action(**action, Timezone="Europe/Paris")
    (found,) = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"]
    scaling.deregister_scalable_target(**TARGET)

    assert (found["Schedule"], found["Timezone"]) == ("cron(0 20 ? * * *)", "Europe/Paris")
    assert found["ScalableTargetAction"] == {"MinCapacity": 1}
    assert scaling.describe_scheduled_actions(ServiceNamespace="sagemaker")["ScheduledActions"] == []
    assert refusal(scaling.delete_scheduled_action, **action)[0] == "ObjectNotFoundException"
