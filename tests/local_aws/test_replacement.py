"""What replaces a resource, and what takes the stack's tags, is what CloudFormation's schemas say."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomllib

import local_aws
from local_aws.conformance.census import LISTERS, WITHOUT_OWN_LIST
from local_aws.conformance.describe import DESCRIBERS, TAGGED
from local_aws.conformance.waivers import Waivers
from local_aws.launcher import LocalAws
from tests.local_aws.schemas import schema, types_of_our_templates
from tests.local_aws.stacks import VPC, new_stack, ref

CREATE_ONLY = Path(local_aws.__file__).parent / "extension/cloudformation/create_only.toml"
TYPES = [name for name in types_of_our_templates() if not name.startswith("AWS::ImageBuilder::")]
"""The image stack is refused here; waivers.toml says what tests it instead."""
NOT_GIVEN = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::CloudWatch::Dashboard",
    "AWS::IAM::InstanceProfile",
}
"""Types that take tags by their schema, and to which the emulator gives none of the stack's."""


@pytest.mark.parametrize("type_name", TYPES)
def test_the_list_of_a_type_is_that_of_its_schema(type_name: str) -> None:
    """createOnlyProperties at the top level; nested ones change with the property that holds them."""
    known = tomllib.loads(CREATE_ONLY.read_text(encoding="utf-8"))
    paths = [path.removeprefix("/properties/") for path in schema(type_name).get("createOnlyProperties", [])]

    assert known[type_name] == sorted({path for path in paths if "/" not in path})


@pytest.mark.parametrize("type_name", TYPES)
def test_every_type_of_our_templates_is_described_and_counted(type_name: str) -> None:
    """Compared with a describe call, and listed in the census: a new type needs both."""
    waived = set(Waivers.load().types)

    assert type_name in DESCRIBERS or type_name in waived
    assert type_name in LISTERS or type_name in WITHOUT_OWN_LIST


def test_the_types_with_the_stacks_tags_are_those_of_the_schemas() -> None:
    """Types whose property Tags the registry knows; without those that are named here."""
    taking = {
        name
        for name in TYPES
        if schema(name).get("tagging", {}).get("taggable")
        and schema(name)["tagging"].get("tagProperty") == "/properties/Tags"
    }

    assert taking - NOT_GIVEN == {name for name in TAGGED if name in TYPES}


def test_a_create_only_property_makes_a_new_resource_and_removes_the_old(aws: LocalAws) -> None:
    """A subnet with another range is another subnet; the one before is gone once the update succeeded."""
    stack, ec2 = new_stack(aws), aws.client("ec2")
    assert stack.deploy({"Vpc": VPC, "Subnet": _subnet("10.0.0.0/24")}) == "CREATE_COMPLETE"
    before = stack.physical_id("Subnet")

    assert stack.deploy({"Vpc": VPC, "Subnet": _subnet("10.0.1.0/24")}) == "UPDATE_COMPLETE"

    after = stack.physical_id("Subnet")
    of_vpc = [{"Name": "vpc-id", "Values": [stack.physical_id("Vpc")]}]
    subnets = ec2.describe_subnets(Filters=of_vpc)["Subnets"]
    assert after != before
    assert [(one["SubnetId"], one["CidrBlock"]) for one in subnets] == [(after, "10.0.1.0/24")]


def _subnet(cidr: str) -> dict[str, object]:
    return {"Type": "AWS::EC2::Subnet", "Properties": {"VpcId": ref("Vpc"), "CidrBlock": cidr}}
