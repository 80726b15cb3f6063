"""Image Builder: what the fleet's machines are made of."""

from __future__ import annotations

import re
from typing import Any

from infra.instances import INF1_DRIVER
from infra.rules.machines import AMI
from infra.rules.template import Resource, Template, listed, rule, text

COMPONENT = "AWS::ImageBuilder::Component"
RECIPE = "AWS::ImageBuilder::ImageRecipe"
INFRASTRUCTURE = "AWS::ImageBuilder::InfrastructureConfiguration"
PIPELINE = "AWS::ImageBuilder::ImagePipeline"
DRIVER = re.compile(r"^\s*export DRIVER_VERSION=(\S+)$", re.MULTILINE)
DIGEST = re.compile(r"^\s*export (DRIVER|TOOLS)_SHA256=([0-9a-f]{64})$", re.MULTILINE)
BRACES = "{" * 2


@rule(
    "driver-with-inf1",
    COMPONENT,
    what=f"The Neuron driver is {INF1_DRIVER}.*",
    why="newer ones have no Inf1, and a machine with one has no devices",
    fix="set image.driver_version, exactly",
)
def driver_with_inf1(resource: Resource, _: Template) -> bool:
    found = DRIVER.findall(_data(resource))
    return bool(found) and all(re.fullmatch(re.escape(INF1_DRIVER) + r"(\.\d+)+", each) for each in found)


@rule(
    "packages-by-digest",
    COMPONENT,
    what="Packages that are not the system's are named by their digest",
    why="whoever could replace one would run code as root on every machine",
    fix="set image.driver_sha256 and image.tools_sha256",
)
def packages_by_digest(resource: Resource, _: Template) -> bool:
    data = _data(resource)
    pinned = {name for name, _ in DIGEST.findall(data)}
    return "packages/" not in data or pinned == {"DRIVER", "TOOLS"}


@rule(
    "parent-by-id",
    RECIPE,
    what="The parent image is a literal id",
    why="the newest one has another kernel, for which the driver is not built",
    fix="set image.parent_ami",
)
def parent_by_id(resource: Resource, _: Template) -> bool:
    parent = resource.at("ParentImage")
    return isinstance(parent, str) and AMI.fullmatch(parent) is not None


@rule(
    "encrypted-image",
    RECIPE,
    what="Every disk of the image is encrypted",
    why="images and their snapshots outlive the machines",
    fix="set Encrypted on each volume",
)
def encrypted_image(resource: Resource, _: Template) -> bool:
    disks = [row.get("Ebs", {}) for row in listed(resource.at("BlockDeviceMappings"))]
    return bool(disks) and all(disk.get("Encrypted") is True for disk in disks)


@rule(
    "builder-shut-in",
    INFRASTRUCTURE,
    what="Machines that build have a subnet and a security group of ours, and no key pair",
    why="Image Builder would otherwise take the default network, with a way in and out",
    fix="set SubnetId and SecurityGroupIds, and remove KeyPair",
)
def builder_shut_in(resource: Resource, _: Template) -> bool:
    shut_in = resource.at("SubnetId") is not None and bool(listed(resource.at("SecurityGroupIds")))
    return shut_in and resource.at("KeyPair") is None


@rule(
    "builder-imds-v2",
    INFRASTRUCTURE,
    what="Credentials of machines that build need a session token and stay on the host",
    why="a build step or a container could otherwise read them by a forged request",
    fix="set InstanceMetadataOptions.HttpTokens to required and HttpPutResponseHopLimit to 1",
)
def builder_imds_v2(resource: Resource, _: Template) -> bool:
    options = resource.at("InstanceMetadataOptions") or {}
    return options.get("HttpTokens") == "required" and options.get("HttpPutResponseHopLimit") == 1


@rule(
    "failed-builder-goes",
    INFRASTRUCTURE,
    what="A machine whose build failed is terminated",
    why="nobody looks at it, and it is paid for",
    fix="set TerminateInstanceOnFailure",
)
def failed_builder_goes(resource: Resource, _: Template) -> bool:
    return resource.at("TerminateInstanceOnFailure") is True


@rule(
    "image-tried-on-inf1",
    PIPELINE,
    what="An image is tried on an Inf1 machine before it is made available",
    why="a driver that does not find its devices is seen nowhere else",
    fix="enable ImageTestsConfiguration, and use an Inf1 type",
)
def image_tried_on_inf1(resource: Resource, template: Template) -> bool:
    types = [each for found in template.all(INFRASTRUCTURE) for each in listed(found.at("InstanceTypes"))]
    on_inf1 = bool(types) and all(str(each).startswith("inf1.") for each in types)
    return on_inf1 and resource.at("ImageTestsConfiguration", "ImageTestsEnabled") is True


@rule(
    "script-without-references",
    COMPONENT,
    what="No script holds double braces",
    why="Image Builder replaces what is between them before the script runs",
    fix="write the command without a template of its own",
)
def script_without_references(resource: Resource, _: Template) -> bool:
    return BRACES not in _data(resource)


def _data(resource: Resource) -> str:
    data: Any = resource.at("Data")
    return text(data)
