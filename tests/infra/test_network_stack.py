"""A VPC without a way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.private_endpoints import FOR_REQUESTS, SERVICES
from tests.infra.worlds import CPU, EXISTING, World, lock_of, settings_of, synthesise, text_of


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
    assert len(SERVICES) == 10
    assert len(interfaces) == len(SERVICES) + len(FOR_REQUESTS)
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


def _endpoints(world: World) -> dict[str, dict[str, Any]]:
    """Endpoints by their service's short name."""
    found = [body["Properties"] for body in world.all("network", "AWS::EC2::VPCEndpoint").values()]
    return {text_of(e["ServiceName"]).partition("eu-west-1.")[2]: e for e in found}


def test_every_door_opens_for_this_account_only(cpu: World, existing: World) -> None:
    """With every action of its service: what each may do, its role says."""
    for world in (cpu, existing):
        for name, endpoint in _endpoints(world).items():
            if name == "s3":
                continue
            (statement,) = endpoint["PolicyDocument"]["Statement"]
            assert text_of(statement["Condition"]["StringEquals"]["aws:PrincipalAccount"]) == "111122223333"
            assert statement["Action"].endswith(":*"), name


def test_s3s_door_leads_to_the_projects_buckets_and_to_the_layers_of_images(cpu: World) -> None:
    """No other bucket can be read or written from inside, with whatever credentials."""
    statements = {s["Sid"]: s for s in _endpoints(cpu)["s3"]["PolicyDocument"]["Statement"]}
    own = ["arn:aws:s3:::traceship-artifacts-111122223333-eu-west-1"]
    own += ["arn:aws:s3:::traceship-logs-111122223333-eu-west-1"]

    assert set(statements) == {"OwnObjects", "OwnBuckets", "ImageLayers"}
    assert sorted(map(text_of, statements["OwnBuckets"]["Resource"])) == own
    assert sorted(map(text_of, statements["OwnObjects"]["Resource"])) == [f"{arn}/*" for arn in own]
    assert text_of(statements["ImageLayers"]["Resource"]) == (
        "arn:aws:s3:::prod-eu-west-1-starport-layer-bucket/*"
    )
    assert statements["ImageLayers"]["Action"] == "s3:GetObject"
    for sid in ("OwnObjects", "OwnBuckets"):
        assert "aws:PrincipalAccount" in statements[sid]["Condition"]["StringEquals"]


def test_doors_are_made_for_what_the_settings_ask(cpu: World, inf1: World, existing: World) -> None:
    """Each costs money by the hour."""
    more = {"states", "ecs", "ecs-agent", "ecs-telemetry", "imagebuilder"}

    assert set(_endpoints(inf1)) & more == {"imagebuilder"}
    assert set(_endpoints(cpu)) & more == {"states"}
    assert set(_endpoints(existing)) & more == more - {"imagebuilder"}


def test_an_existing_vpc_is_named_by_ids_and_nothing_in_it_is_replaced(existing: World) -> None:
    """No VPC, subnet or route of our own; endpoints in the subnets given, one route to S3 a table."""
    kinds = {body["Type"] for body in existing.templates["network"]["Resources"].values()}
    endpoints = _endpoints(existing)

    assert kinds == {"AWS::EC2::VPCEndpoint", "AWS::EC2::SecurityGroup"}
    assert endpoints["s3"]["RouteTableIds"] == ["rtb-00000001"]
    assert endpoints["kms"]["SubnetIds"] == ["subnet-0000000a", "subnet-0000000c"]
    assert {e["VpcId"] for e in endpoints.values()} == {"vpc-0123456789abcdef0"}
    group = existing.properties("network", "AWS::EC2::SecurityGroup")
    assert [rule["CidrIp"] for rule in group["SecurityGroupIngress"]] == ["10.1.0.0/16"]


def test_everything_downstream_is_in_the_existing_subnets(existing: World) -> None:
    """Load balancer, instances, endpoint and jobs; no template looked anything up."""
    subnets = ["subnet-0000000a", "subnet-0000000c"]
    balancer = existing.properties("fleet", "AWS::ElasticLoadBalancingV2::LoadBalancer")
    group = existing.properties("fleet", "AWS::AutoScaling::AutoScalingGroup")
    model = existing.properties("endpoint", "AWS::SageMaker::Model")

    assert balancer["Subnets"] == group["VPCZoneIdentifier"] == model["VpcConfig"]["Subnets"] == subnets
    for environment in existing.all("compile", "AWS::Batch::ComputeEnvironment").values():
        assert environment["Properties"]["ComputeResources"]["Subnets"] == subnets
    assert "ImportValue" not in json.dumps(existing.templates["network"])
    assert json.loads((existing.folder / "manifest.json").read_text()).get("missing") is None


def test_endpoints_that_are_there_already_are_not_made_again(tmp_path: Path) -> None:
    """A second one with the same private name would fail; the stack still has something to deploy."""
    network = {**EXISTING["network"], "make_endpoints": False}
    settings = settings_of(CPU, {"network": network})

    world = synthesise(tmp_path, settings, lock_of("cpu"))

    kinds = [body["Type"] for body in world.templates["network"]["Resources"].values()]
    assert kinds == ["AWS::CloudFormation::WaitConditionHandle"]
