"""Stacks are deleted by their names, whatever was synthesised last, and a destroy that failed says so."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from cli.cdk import Cdk
from cli.destroying import DestroyIncomplete, StackInUse, StackProtected, destroy, existing
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
    """Stacks by name; ``failing``: one that it cannot delete, the first ``failures`` times."""

    stacks: dict[str, dict[str, Any]]
    failing: str | None = None
    failures: int = 1000
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
        self.stacks.pop(StackName.removeprefix("id-of-"), None)

    def get_waiter(self, _: str) -> CloudFormation:
        return self

    def wait(self, *, StackName: str, **_: Any) -> None:  # noqa: N803
        if StackName == self.failing and self.deleted.count(StackName) <= self.failures:
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


@dataclass
class S3:
    """Two buckets with one object each, which every emptying finds again. Notes what stood before it."""

    cloudformation: CloudFormation
    emptied: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    errors: tuple[dict[str, str], ...] = ()
    gone: str | None = None

    def get_paginator(self, _: str) -> S3:
        return self

    def paginate(self, *, Bucket: str, **_: Any) -> list[dict[str, Any]]:  # noqa: N803 - boto3's
        if Bucket == self.gone:
            raise ClientError({"Error": {"Code": "NoSuchBucket"}}, "ListObjectVersions")
        return [{"Versions": [{"Key": "a", "VersionId": "1"}]}]

    def delete_objects(self, *, Bucket: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self.emptied.append((Bucket.split("-")[1], tuple(self.cloudformation.deleted)))
        return {"Errors": list(self.errors)}


@dataclass(frozen=True)
class Shop(Project):
    cloudformation: CloudFormation = field(default_factory=lambda: CloudFormation({}))
    s3: S3 = field(default_factory=lambda: S3(CloudFormation({})))

    @property
    def account(self) -> str:
        return "111122223333"

    @property
    def region(self) -> str:
        return "eu-west-1"

    def client(self, service: str, region: str | None = None) -> Any:  # noqa: ARG002 - Project has it
        return {"cloudformation": self.cloudformation, "s3": self.s3}[service]


def _shop(folder: Path, *names: str, settings: str = SETTINGS, service: str | None = None) -> Shop:
    (folder / "traceship.toml").write_text(settings)
    formation = CloudFormation({f"shop-{name}": {} for name in names})
    path = folder / "traceship.toml"
    return Shop(path, stage=None, service=service, cloudformation=formation, s3=S3(formation))


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


SERVICES = """
[project]
name = "shop"
retain_data = false
[fleet]
instance_types = ["inf1.xlarge"]
[service.search]
model = { source = "search-model" }
fleet = {}
[service.answers]
model = { source = "answers-model" }
fleet = {}
"""
FOUNDATION = ("artifacts", "network", "compile")


def test_a_service_goes_without_what_others_share(tmp_path: Path) -> None:
    """What is shared goes when it is named, or with everything."""
    present = (*FOUNDATION, "search-fleet", "answers-fleet")
    shop = _shop(tmp_path, *present, settings=SERVICES, service="search")

    assert existing(shop, ()) == ["shop-search-fleet"]
    assert existing(shop, ("compile",)) == ["shop-compile"]


def test_data_stays_while_another_stack_works_with_it(tmp_path: Path) -> None:
    """CloudFormation would refuse too, but after the buckets were emptied."""
    present = (*FOUNDATION, "search-fleet", "answers-fleet")
    shop = _shop(tmp_path, *present, settings=SERVICES, service="search")

    with pytest.raises(StackInUse, match="shop-artifacts is in use by shop-answers-fleet") as refused:
        destroy(shop, existing(shop, ("search-fleet", "compile", "network", "artifacts")))

    assert "`traceship destroy shop-answers-fleet`" in refused.value.fix
    assert shop.s3.emptied == []
    assert shop.cloudformation.deleted == []


def test_buckets_are_emptied_when_nothing_writes_to_them_any_more(tmp_path: Path) -> None:
    """Access logs of a balancer come in for as long as it is there."""
    shop = _shop(tmp_path, *FOUNDATION, "search-fleet", settings=SERVICES)

    destroy(shop, existing(shop, ()))

    before = ("id-of-shop-search-fleet", "id-of-shop-compile", "id-of-shop-network")
    assert shop.s3.emptied == [("artifacts", before), ("logs", before)]
    assert shop.cloudformation.deleted == [*before, "id-of-shop-artifacts"]


@pytest.mark.parametrize(("failures", "tries"), [(1, 2), (2, 3)])
def test_late_access_logs_are_deleted_too(tmp_path: Path, failures: int, tries: int) -> None:
    """They come minutes late, and a bucket with one is not deleted."""
    shop = _shop(tmp_path, "artifacts", settings=SERVICES)
    shop.cloudformation.failing, shop.cloudformation.failures = "id-of-shop-artifacts", failures
    shop.s3.gone = "shop-artifacts-111122223333-eu-west-1"

    destroy(shop, existing(shop, ()))

    assert [bucket for bucket, _ in shop.s3.emptied] == ["logs"] * tries


def test_a_bucket_that_always_fills_again_is_told(tmp_path: Path) -> None:
    """The reason is CloudFormation's."""
    shop = _shop(tmp_path, "artifacts", settings=SERVICES)
    shop.cloudformation.failing = "id-of-shop-artifacts"

    with pytest.raises(DestroyIncomplete, match="shop-artifacts could not be destroyed"):
        destroy(shop, existing(shop, ()))


def test_an_object_that_cannot_be_deleted_is_named(tmp_path: Path) -> None:
    """S3 answers 200 and lists it."""
    shop = _shop(tmp_path, "artifacts", settings=SERVICES)
    shop.s3.errors = ({"Key": "manifest.json", "Message": "Access Denied"},)

    with pytest.raises(DestroyIncomplete) as failed:
        destroy(shop, existing(shop, ()))

    assert failed.value.why == "shop-artifacts-111122223333-eu-west-1/manifest.json: Access Denied"
    assert shop.cloudformation.deleted == []


def test_each_stage_has_an_assembly_of_its_own(tmp_path: Path) -> None:
    """What was synthesised for one is never taken for another's."""
    shop = _shop(tmp_path)
    prod = Shop(shop.settings_path, stage="prod")

    assert Cdk.of(shop).out != Cdk.of(prod).out
