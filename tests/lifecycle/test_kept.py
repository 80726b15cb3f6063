"""A project that keeps its data: damage is detected, destroy is refused, and then the data is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.names import ARTIFACTS, stack_name, stack_names
from local_aws.conformance import Inventory, inventory
from local_aws.conformance.census import WITHOUT_OWN_LIST, Census
from tests.infra.worlds import settings_of
from tests.kit.command import Answer, traceship
from tests.lifecycle.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NAME = "keeper"
SETTINGS = settings_of({"project": {"name": NAME, "retain_data": True}})
STACKS = stack_names([SETTINGS], foundation=True)


@dataclass
class Keeper:
    """The foundation of a project with retain_data, deployed beside whatever else there is."""

    world: World
    folder: Path
    before: Census

    def look(self) -> Inventory:
        return inventory(self.world.aws, STACKS, self.world.templates("keeper", STACKS))

    def destroy(self) -> Answer:
        settings = ("--settings", self.folder / "traceship.toml")
        env = self.world.aws.environment()
        return traceship(*settings, "destroy", "--yes", "--json", cwd=self.folder, env=env)

    def client(self, service: str) -> Any:
        return self.world.aws.client(service)

    def identity(self, kind: str) -> str:
        """Physical id of the first resource of a type."""
        return next(row.physical_id for row in self.look().rows if row.type_name == kind)


@pytest.fixture(scope="module")
def keeper(world: World, tmp_path_factory: pytest.TempPathFactory) -> Keeper:
    folder, before = tmp_path_factory.mktemp("keeper"), world.census()
    (folder / "traceship.toml").write_text(f'[project]\nname = "{NAME}"\nretain_data = true\n')
    world.synthesise("keeper", SETTINGS, None, foundation=True)
    done = world.deploy("keeper")
    assert done.code == 0, done.output
    return Keeper(world=world, folder=folder, before=before)


@dataclass(frozen=True)
class Damage:
    """Something done behind CloudFormation's back, and how it is undone."""

    do: Callable[[Keeper], Any]
    undo: Callable[[Keeper], Any]
    named: str


def _alias(keeper: Keeper, *, there: bool) -> None:
    kms, name = keeper.client("kms"), f"alias/{NAME}"
    if there:
        kms.create_alias(AliasName=name, TargetKeyId=keeper.identity("AWS::KMS::Key"))
    else:
        kms.delete_alias(AliasName=name)


def _versioning(keeper: Keeper, *, there: bool) -> None:
    status = {"Status": "Enabled" if there else "Suspended"}
    bucket = keeper.identity("AWS::S3::Bucket")
    keeper.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration=status)


def _open_door(keeper: Keeper, *, there: bool) -> None:
    """A group that asks for no ingress; there: as it should be."""
    ec2, group = keeper.client("ec2"), keeper.identity("AWS::EC2::SecurityGroup")
    world = [{"CidrIp": "0.0.0.0/0"}]
    rule = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": world}]
    change = ec2.revoke_security_group_ingress if there else ec2.authorize_security_group_ingress
    change(GroupId=group, IpPermissions=rule)


def _stack_tag(keeper: Keeper, *, there: bool) -> None:
    ec2, vpc = keeper.client("ec2"), keeper.identity("AWS::EC2::VPC")
    tags = [{"Key": "traceship:project", "Value": NAME if there else "somebody else"}]
    ec2.create_tags(Resources=[vpc], Tags=tags)


DAMAGES: dict[str, tuple[Callable[..., None], str]] = {
    "a resource is removed": (_alias, "AWS::KMS::Alias"),
    "a property is changed": (_versioning, "AWS::S3::Bucket"),
    "a door is opened": (_open_door, "AWS::EC2::SecurityGroup"),
    "a tag of the stack is changed": (_stack_tag, "AWS::EC2::VPC"),
}
"""Done behind CloudFormation's back, and the type of the one resource that is different then."""


@pytest.mark.parametrize("name", DAMAGES)
def test_what_happens_behind_cloudformation_is_seen(keeper: Keeper, name: str) -> None:
    """The stack stays COMPLETE; the comparison names the one resource that is not what was asked for."""
    damage, kind = DAMAGES[name]
    assert keeper.look().problems == ()

    damage(keeper, there=False)
    problems = keeper.look().problems
    damage(keeper, there=True)

    assert len(problems) == 1, problems
    assert f"({kind}) different" in problems[0]
    assert keeper.look().problems == ()


def test_what_nobody_asked_for_is_seen(keeper: Keeper) -> None:
    """A resource that is in no template is new in the census, by type and id."""
    before = keeper.world.census()
    topic = keeper.client("sns").create_topic(Name=f"{NAME}-extra")["TopicArn"]

    found = keeper.world.census()
    keeper.client("sns").delete_topic(TopicArn=topic)

    assert found.since(before) == {"AWS::SNS::Topic": {topic}}
    assert list(found.differences(before)) == [f"AWS::SNS::Topic {topic} is new"]
    assert list(keeper.world.census().differences(before)) == []


def test_a_stack_with_more_than_its_template_is_seen(keeper: Keeper) -> None:
    """A resource that the stack still holds and the template has no longer is extra."""
    templates = keeper.world.templates("keeper", STACKS)
    key = next(
        name
        for name, one in templates[STACKS[0]]["Resources"].items()
        if one["Type"] == "AWS::S3::BucketPolicy"
    )
    del templates[STACKS[0]]["Resources"][key]

    problems = inventory(keeper.world.aws, STACKS, templates).problems

    assert [problem for problem in problems if f"/{key} " in problem and "extra" in problem] != []


def test_destroy_refuses_what_is_protected_and_then_keeps_the_data(keeper: Keeper) -> None:
    """Protection refuses before anything goes; without it exactly what is listed is left."""
    artifacts = stack_name(SETTINGS, ARTIFACTS)
    refused = keeper.destroy()
    still_there = {keeper.world.status(stack) for stack in STACKS}
    keeper.client("cloudformation").update_termination_protection(
        StackName=artifacts, EnableTerminationProtection=False
    )

    done = keeper.destroy()

    assert (refused.code, refused.error["id"]) == (2, "stack-protected")
    assert still_there == {"CREATE_COMPLETE"}
    assert done.code == 0, done.stderr
    kept = _kept(keeper)
    assert sorted(done.json["kept"]) == sorted(kept)
    left = keeper.world.census().since(keeper.before)
    listed = [kind for kind in (row.split(" ")[1] for row in kept) if kind not in WITHOUT_OWN_LIST]
    assert listed
    assert sorted(kind for kind, ids in left.items() for _ in ids) == sorted(listed)


def _kept(keeper: Keeper) -> list[str]:
    """What the templates keep, as `destroy` lists it: stack, type and logical id."""
    return [
        f"{stack}: {body['Type']} {name}"
        for stack, template in keeper.world.templates("keeper", STACKS).items()
        for name, body in template["Resources"].items()
        if body.get("DeletionPolicy", "Delete").startswith("Retain")
    ]
