"""Instance types that a zone lacks are found before a deploy, not by an empty fleet after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from artifact.aws import AwsDenied
from fleet.offerings import TypeNotOffered, check_offerings
from infra.stack import ZONES

TYPES = ("inf1.xlarge", "inf1.2xlarge")


class Ec2:
    """Answers the two questions from a table of zones by type, a page for each type."""

    def __init__(self, offered: dict[str, list[str]], zones: tuple[str, ...] = ()) -> None:
        self.offered = offered
        self.zones = zones
        self.asked: list[dict[str, Any]] = []

    def get_paginator(self, name: str) -> Ec2:
        assert name == "describe_instance_type_offerings"
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        self.asked.append(request)
        (types,) = [row["Values"] for row in request["Filters"] if row["Name"] == "instance-type"]
        for name in types:
            rows = [{"InstanceType": name, "Location": zone} for zone in self.offered.get(name, [])]
            yield {"InstanceTypeOfferings": rows}

    def describe_availability_zones(self, **_: Any) -> dict[str, Any]:
        return {"AvailabilityZones": [{"ZoneName": zone} for zone in self.zones]}


def test_zones_that_offer_every_type_are_let_through() -> None:
    """Every page of the answer counts."""
    ec2 = Ec2({name: ["eu-west-1a", "eu-west-1c"] for name in TYPES})

    check_offerings(ec2, TYPES, ("eu-west-1a", "eu-west-1c"))

    assert [request["LocationType"] for request in ec2.asked] == ["availability-zone"]


def test_a_zone_without_a_type_is_named_with_those_that_have_it() -> None:
    """Type, zone, and where to go instead."""
    ec2 = Ec2({"inf1.xlarge": ["eu-west-1a", "eu-west-1b"], "inf1.2xlarge": ["eu-west-1c", "eu-west-1b"]})

    with pytest.raises(TypeNotOffered) as refused:
        check_offerings(ec2, TYPES, ("eu-west-1b", "eu-west-1a"))

    assert refused.value.what == "zone eu-west-1a does not offer inf1.2xlarge"
    assert "eu-west-1b, eu-west-1c" in refused.value.why
    assert "project.zones" in refused.value.fix
    assert refused.value.exit_code == 2


def test_a_region_without_a_type_is_said_to_be_one() -> None:
    """Other zones would not help."""
    with pytest.raises(TypeNotOffered) as refused:
        check_offerings(Ec2({}), ("inf1.xlarge",), ("eu-west-3a",))

    assert "no zone does" in refused.value.why
    assert "project.region" in refused.value.fix


def test_without_zones_the_first_two_of_the_region_count() -> None:
    """As the network stack chooses them at deploy time."""
    zones = ("us-east-1c", "us-east-1a", "us-east-1b")

    check_offerings(Ec2({"c5.large": ["us-east-1a", "us-east-1b"]}, zones), ("c5.large",), ())
    with pytest.raises(TypeNotOffered, match="us-east-1b"):
        check_offerings(Ec2({"c5.large": ["us-east-1a", "us-east-1c"]}, zones), ("c5.large",), ())
    assert ZONES == 2


NAMES = st.lists(st.sampled_from([f"z{n}" for n in range(5)]), unique=True)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), NAMES, min_size=1), NAMES.filter(bool))
def test_exactly_the_gaps_are_refused(offered: dict[str, list[str]], zones: list[str]) -> None:
    """Whatever is offered where."""
    complete = all(zone in places for places in offered.values() for zone in zones)
    try:
        check_offerings(Ec2(offered), tuple(offered), tuple(zones))
    except TypeNotOffered:
        assert not complete
    else:
        assert complete


def test_the_questions_are_those_of_the_api() -> None:
    """Checked by the SDK's own model; a refusal is one of ours."""
    client: Any = boto3.client("ec2", "eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stub:
        stub.add_response(
            "describe_instance_type_offerings",
            {"InstanceTypeOfferings": [{"InstanceType": "c5.large", "Location": "eu-west-1a"}]},
            {
                "LocationType": "availability-zone",
                "Filters": [{"Name": "instance-type", "Values": ["c5.large"]}],
            },
        )
        stub.add_response("describe_availability_zones", {"AvailabilityZones": [{"ZoneName": "eu-west-1a"}]})
        check_offerings(client, ("c5.large",), ())
        stub.add_client_error("describe_instance_type_offerings", "UnauthorizedOperation", "no")
        with pytest.raises(AwsDenied):
            check_offerings(client, ("c5.large",), ())
