"""Stacks are deleted by their names, whatever was synthesised last, and a destroy that failed says so."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from cli.cdk import Cdk
from cli.destroying import DestroyIncomplete, StackProtected, destroy, existing
from cli.owners import StackOfAnother
from cli.project import Project

SETTINGS = "[project]\nname = 'shop'\n[stage.prod.project]\nregion = 'eu-west-1'\n"
TEMPLATE = {
    "Resources": {
        "Key": {"Type": "AWS::KMS::Key", "DeletionPolicy": "RetainExceptOnCreate"},
        "Vpc": {"Type": "AWS::EC2::VPC"},
    }
}


@dataclass
class CloudFormation:
    """Stacks by name; ``failing``: those that it cannot delete."""

    stacks: dict[str, dict[str, Any]]
    failing: str | None = None
    deleted: list[str] = field(default_factory=list)

    def get_paginator(self, _: str) -> CloudFormation:
        return self

    def paginate(self) -> list[dict[str, Any]]:
        return [{"Stacks": [{"StackName": name} for name in self.stacks]}]

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803 - boto3's
        facts = {"StackName": StackName, "StackId": f"id-of-{StackName}", **self.stacks[StackName]}
        return {"Stacks": [facts]}

    def get_template(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803
        return {"TemplateBody": TEMPLATE if StackName.endswith("artifacts") else json.dumps(TEMPLATE)}

    def delete_stack(self, *, StackName: str) -> None:  # noqa: N803
        self.deleted.append(StackName)

    def get_waiter(self, _: str) -> CloudFormation:
        return self

    def wait(self, *, StackName: str, **_: Any) -> None:  # noqa: N803
        if StackName == self.failing:
            raise WaiterError("stack_delete_complete", "it failed", {})

    def describe_stack_events(self, **_: Any) -> dict[str, Any]:
        reason = "has dependent objects"
        return {
            "StackEvents": [
                {"ResourceStatus": "DELETE_IN_PROGRESS", "LogicalResourceId": "Vpc"},
                {
                    "ResourceStatus": "DELETE_FAILED",
                    "LogicalResourceId": "Vpc",
                    "ResourceStatusReason": reason,
                },
            ]
        }


@dataclass(frozen=True)
class Shop(Project):
    cloudformation: CloudFormation = field(default_factory=lambda: CloudFormation({}))

    def client(self, service: str, region: str | None = None) -> Any:
        return self.cloudformation if service == "cloudformation" else super().client(service, region)


def _shop(folder: Path, *names: str, **facts: Any) -> Shop:
    (folder / "traceship.toml").write_text(SETTINGS)
    stacks = {f"shop-{name}": dict(facts) for name in names}
    return Shop(folder / "traceship.toml", stage=None, cloudformation=CloudFormation(stacks))


def test_stacks_go_in_the_order_in_which_they_stand_and_what_is_kept_is_listed(tmp_path: Path) -> None:
    """By the deployed templates; nothing was synthesised here."""
    shop = _shop(tmp_path, "artifacts", "network", "compile")

    stacks = existing(shop, ())
    kept = destroy(shop, stacks)

    assert shop.cloudformation.deleted == ["id-of-shop-compile", "id-of-shop-network", "id-of-shop-artifacts"]
    assert kept == [f"{stack}: AWS::KMS::Key Key" for stack in stacks]
    assert not shop.state.exists()


def test_a_protected_stack_is_refused_before_anything_is_deleted(tmp_path: Path) -> None:
    """The error names the others, so that they can go."""
    shop = _shop(tmp_path, "network", "artifacts")
    shop.cloudformation.stacks["shop-artifacts"]["EnableTerminationProtection"] = True

    with pytest.raises(StackProtected, match="shop-artifacts") as refused:
        destroy(shop, existing(shop, ()))

    assert "`traceship destroy shop-network`" in refused.value.fix
    assert refused.value.exit_code == 2
    assert shop.cloudformation.deleted == []


def test_a_stack_that_cannot_be_deleted_is_told_with_its_reason(tmp_path: Path) -> None:
    """And the stacks that it needs are left alone."""
    shop = _shop(tmp_path, "artifacts", "network")
    shop.cloudformation.failing = "id-of-shop-network"

    with pytest.raises(DestroyIncomplete, match="shop-network") as failed:
        destroy(shop, existing(shop, ()))

    assert failed.value.why == "Vpc: has dependent objects"
    assert failed.value.exit_code == 1
    assert shop.cloudformation.deleted == ["id-of-shop-network"]


def test_a_stack_that_another_stage_made_is_refused_before_anything_is_deleted(tmp_path: Path) -> None:
    """Both spell its name alike; `--stage` was forgotten."""
    shop = _shop(tmp_path, "artifacts", "network")
    tags = [{"Key": "traceship:project", "Value": "shop"}, {"Key": "traceship:stage", "Value": "prod"}]
    shop.cloudformation.stacks["shop-artifacts"]["Tags"] = tags

    with pytest.raises(StackOfAnother, match="in stage 'prod', not to the project 'shop' without a stage"):
        destroy(shop, existing(shop, ()))

    assert shop.cloudformation.deleted == []


def test_each_stage_has_an_assembly_of_its_own(tmp_path: Path) -> None:
    """What was synthesised for one is never taken for another's."""
    shop = _shop(tmp_path)
    prod = Shop(shop.settings_path, stage="prod")

    assert Cdk.of(shop).out != Cdk.of(prod).out
