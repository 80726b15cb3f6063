"""A VPC without a way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.network_stack import SERVICES
from tests.infra.worlds import World, settings_of, synthesise, text_of


def test_there_is_no_way_to_or_from_the_internet(cpu: World) -> None:
    """No gateway, no NAT, no public address."""
    types = {r["Type"] for r in cpu.templates["network"]["Resources"].values()}

    assert not types & {
        "AWS::EC2::InternetGateway",
        "AWS::EC2::NatGateway",
        "AWS::EC2::EIP",
        "AWS::EC2::Route",
    }
    subnets = cpu.all("network", "AWS::EC2::Subnet").values()
    assert len(subnets) == 2
    assert not any(subnet["Properties"]["MapPublicIpOnLaunch"] for subnet in subnets)


def test_zones_are_chosen_at_deploy_time_or_named_by_the_settings(cpu: World, pinned: World) -> None:
    """The region's first two, or exactly those of the file, in their own region only."""
    chosen = [s["Properties"]["AvailabilityZone"] for s in cpu.all("network", "AWS::EC2::Subnet").values()]
    named = [s["Properties"]["AvailabilityZone"] for s in pinned.all("network", "AWS::EC2::Subnet").values()]

    assert [zone["Fn::Select"][0] for zone in chosen] == [0, 1]
    lookups = [zone["Fn::FindInMap"] for zone in named]
    assert lookups == [["Zones", {"Ref": "AWS::Region"}, key] for key in ("Zone0", "Zone1")]
    assert pinned.templates["network"]["Mappings"] == {
        "Zones": {"eu-west-1": {"Zone0": "eu-west-1a", "Zone1": "eu-west-1c"}}
    }


@pytest.mark.parametrize(
    ("zone", "region"),
    [("eu-west-1a", "eu-west-1"), ("us-gov-east-1b", "us-gov-east-1"), ("us-west-2-lax-1a", "us-west-2")],
)
def test_a_zone_names_its_region(tmp_path: Path, zone: str, region: str) -> None:
    """CloudFormation finds no zone of it in another one, and stops before it makes anything."""
    settings = settings_of({"project": {"zones": [zone, f"{zone[:-1]}z"]}})

    world = synthesise(tmp_path, settings, None)

    assert list(world.templates["network"]["Mappings"]["Zones"]) == [region]


def test_every_service_in_use_has_a_private_door(cpu: World) -> None:
    """One gateway for S3, an interface with private names for each other service."""
    endpoints = [e["Properties"] for e in cpu.all("network", "AWS::EC2::VPCEndpoint").values()]
    gateways = [e for e in endpoints if e["VpcEndpointType"] == "Gateway"]
    interfaces = [e for e in endpoints if e["VpcEndpointType"] == "Interface"]

    assert [text_of(g["ServiceName"]) for g in gateways] == ["com.amazonaws.eu-west-1.s3"]
    assert len(interfaces) == len(SERVICES) == 10
    assert all(e["PrivateDnsEnabled"] for e in interfaces)
    names = {text_of(e["ServiceName"]).rpartition("eu-west-1.")[2] for e in interfaces}
    assert {"ecr.api", "ecr.dkr", "logs", "ssm", "ssmmessages", "ec2messages", "kms", "sts"} <= names


def test_the_doors_open_for_https_from_the_vpc_only(cpu: World) -> None:
    """And let nothing out."""
    group = cpu.properties("network", "AWS::EC2::SecurityGroup")

    assert [(r["CidrIp"], r["FromPort"], r["ToPort"]) for r in group["SecurityGroupIngress"]] == [
        ("10.20.0.0/16", 443, 443)
    ]
    assert [r["CidrIp"] for r in group["SecurityGroupEgress"]] == ["255.255.255.255/32"]


def test_all_traffic_is_logged_to_an_encrypted_group(cpu: World) -> None:
    """Accepted and rejected, kept for a year."""
    assert cpu.properties("network", "AWS::EC2::FlowLog")["TrafficType"] == "ALL"
    group = cpu.properties("network", "AWS::Logs::LogGroup")
    assert group["RetentionInDays"] == 365
    assert "Key" in json.dumps(group["KmsKeyId"])
    assert group["LogGroupName"] == "/traceship/traceship/network"
