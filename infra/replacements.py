"""How many instances of a fleet may have themselves replaced in an hour, and what they may do for it."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam

from infra import names
from infra.artifacts_stack import ArtifactsStack
from infra.roles import use_key
from settings.model import Fleet

SHARE = 10
"""One in so many instances."""
MAX_SLOTS = 10
"""A policy names each slot, and has room for so many beside the rest."""


def smallest(fleet: Fleet) -> int:
    """Fewest instances that the fleet ever has, its schedule included."""
    return min([fleet.min_size, *(change.min for change in fleet.schedule if change.min is not None)])


def slots(min_size: int) -> int:
    """At most a tenth of the fleet at its smallest, at least one instance, within an hour."""
    return min(MAX_SLOTS, max(1, min_size // SHARE))


def slot_keys(fleet_stack: str, min_size: int) -> Sequence[str]:
    """Objects that stand for those slots."""
    return [f"{names.replacement_slots(fleet_stack)}/{slot}" for slot in range(slots(min_size))]


def be_replaced(artifacts: ArtifactsStack, fleet_stack: str, min_size: int) -> list[iam.PolicyStatement]:
    """Take a slot, mark an instance of the own group Unhealthy, end the wait of a launch there.

    The group's ARN has a random part and does not exist before the role does, so its tag stands for it.
    """
    own = {"StringEquals": {f"aws:ResourceTag/{names.FLEET_TAG}": fleet_stack}}
    arns = [artifacts.object_arn(key) for key in slot_keys(fleet_stack, min_size)]
    return [
        iam.PolicyStatement(sid="Slots", actions=["s3:GetObject", "s3:PutObject"], resources=arns),
        use_key(artifacts, "kms:GenerateDataKey", sid="EncryptSlot"),
        iam.PolicyStatement(
            sid="OwnGroup",
            actions=["autoscaling:SetInstanceHealth", "autoscaling:CompleteLifecycleAction"],
            resources=["*"],
            conditions=own,
        ),
    ]


def let_instances_act(group: cdk.aws_autoscaling.AutoScalingGroup, fleet_stack: str) -> None:
    """Tag the group as the one that ``be_replaced`` speaks of."""
    cdk.Tags.of(group).add(names.FLEET_TAG, fleet_stack)
