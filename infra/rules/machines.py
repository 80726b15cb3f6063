"""Launch templates, and what a machine does at boot."""

from __future__ import annotations

import re
from typing import Any

from artifact import serving
from infra.rules.secrets import holds_secret
from infra.rules.template import Resource, Template, is_by_digest, is_completed_by_batch, listed, rule, text
from infra.units import ENV_IMAGE

TEMPLATE = "AWS::EC2::LaunchTemplate"
INSTANCE = "AWS::EC2::Instance"
VOLUME = "AWS::EC2::Volume"

AMI = re.compile(r"ami-[0-9a-f]{8,17}")
RUN = re.compile(r"docker run [^\n]*")
CONFINED = ("--read-only", "--cap-drop ALL", "--security-opt no-new-privileges")


@rule(
    "ami-by-id",
    TEMPLATE,
    what="The machine image is a literal id",
    why="Auto Scaling cannot roll a refresh back if the AMI is an SSM parameter, and the newest Neuron "
    "image has no Inf1",
    fix="take the id from the lock",
)
def ami_by_id(resource: Resource, template: Template) -> bool:
    if is_completed_by_batch(resource, template):
        return resource.at("LaunchTemplateData", "ImageId") is None
    image = resource.at("LaunchTemplateData", "ImageId")
    return isinstance(image, str) and AMI.fullmatch(image) is not None


@rule(
    "imds-v2",
    TEMPLATE,
    what="Instance credentials need a session token",
    why="a forged request that makes the server fetch a URL would otherwise read them",
    fix="set MetadataOptions.HttpTokens to required",
)
def imds_v2(resource: Resource, _: Template) -> bool:
    return bool(resource.at("LaunchTemplateData", "MetadataOptions", "HttpTokens") == "required")


@rule(
    "imds-one-hop",
    TEMPLATE,
    what="Instance credentials stay on the host",
    why="a bridged container could otherwise ask for them",
    fix="set MetadataOptions.HttpPutResponseHopLimit to 1",
)
def imds_one_hop(resource: Resource, _: Template) -> bool:
    return bool(resource.at("LaunchTemplateData", "MetadataOptions", "HttpPutResponseHopLimit") == 1)


@rule(
    "imds-at-one-address",
    TEMPLATE,
    what="Instance credentials are at their IPv4 address only",
    why="that is the one which the host shuts to the server's user",
    fix="set MetadataOptions.HttpProtocolIpv6 to disabled",
)
def imds_at_one_address(resource: Resource, template: Template) -> bool:
    stated = resource.at("LaunchTemplateData", "MetadataOptions", "HttpProtocolIpv6")
    return stated == "disabled" or (stated is None and is_completed_by_batch(resource, template))


@rule(
    "encrypted-disks",
    TEMPLATE,
    VOLUME,
    what="Every disk is encrypted",
    why="the model lies on it",
    fix="set Encrypted on each volume",
)
def encrypted_disks(resource: Resource, _: Template) -> bool:
    if resource.type == VOLUME:
        return resource.at("Encrypted") is True
    disks = [row.get("Ebs", {}) for row in listed(resource.at("LaunchTemplateData", "BlockDeviceMappings"))]
    return bool(disks) and all(disk.get("Encrypted") is True for disk in disks)


@rule(
    "no-ssh-key",
    TEMPLATE,
    what="Session Manager is the only way in",
    why="keys are shared, and what is done with them is not logged",
    fix="remove KeyName, and keep IamInstanceProfile, which Session Manager needs",
)
def no_ssh_key(resource: Resource, template: Template) -> bool:
    has_role = resource.at("LaunchTemplateData", "IamInstanceProfile") is not None
    return resource.at("LaunchTemplateData", "KeyName") is None and (
        has_role or is_completed_by_batch(resource, template)
    )


@rule(
    "no-public-address",
    TEMPLATE,
    INSTANCE,
    what="No machine has a public address",
    why="the network has no way in or out, and nothing should make one",
    fix="remove AssociatePublicIpAddress",
)
def no_public_address(resource: Resource, _: Template) -> bool:
    data = resource.at("LaunchTemplateData") if resource.type == TEMPLATE else resource.at()
    return all(
        face.get("AssociatePublicIpAddress") in (None, False)
        for face in listed(data.get("NetworkInterfaces"))
    )


@rule(
    "detailed-monitoring",
    TEMPLATE,
    what="Machines report every minute",
    why="an alarm that looks every minute cannot use a metric of five",
    fix="set Monitoring.Enabled",
)
def detailed_monitoring(resource: Resource, _: Template) -> bool:
    return resource.at("LaunchTemplateData", "Monitoring", "Enabled") is True


@rule(
    "no-secrets-at-boot",
    TEMPLATE,
    INSTANCE,
    what="User data holds no secret",
    why="whoever may describe the instance reads it, and it stays in the launch template's versions",
    fix="let the machine fetch the secret with its role",
)
def no_secrets_at_boot(resource: Resource, _: Template) -> bool:
    return not any(holds_secret(line) for line in user_data(resource).splitlines())


@rule(
    "boots-a-digest",
    TEMPLATE,
    what="The image that a machine starts is named by its digest",
    why="a tag can mean something else tomorrow, on half of the fleet",
    fix="use repository@sha256:digest",
)
def boots_a_digest(resource: Resource, template: Template) -> bool:
    if is_completed_by_batch(resource, template):
        return not user_data(resource)
    images = re.findall(rf"^\s*{ENV_IMAGE}=(\S+)$", user_data(resource), re.MULTILINE)
    return bool(images) and all(is_by_digest(image) for image in images)


@rule(
    "confined-container",
    TEMPLATE,
    what="Containers run read-only, without root, capabilities or new privileges",
    why="a fault in a parser must not become a foothold on the host",
    fix="keep --read-only, --user, --cap-drop ALL and --security-opt no-new-privileges, and no --privileged",
)
def confined_container(resource: Resource, template: Template) -> bool:
    if is_completed_by_batch(resource, template):
        return not user_data(resource)
    commands = RUN.findall(user_data(resource).replace("\\\n", " "))
    return bool(commands) and all(_is_confined(command) for command in commands)


@rule(
    "stops-in-order",
    TEMPLATE,
    what="The server drains, then its container is stopped, then the unit",
    why="an earlier kill breaks the requests that are still being answered",
    fix="keep TimeoutStopSec above --stop-timeout, and that at or above the server's drain",
)
def stops_in_order(resource: Resource, template: Template) -> bool:
    if is_completed_by_batch(resource, template):
        return not user_data(resource)
    data = user_data(resource)
    container = [int(found) for found in re.findall(r"--stop-timeout (\d+)", data)]
    unit = [int(found) for found in re.findall(r"TimeoutStopSec=(\d+)", data)]
    return bool(container and unit) and serving.DRAIN_SECONDS <= max(container) < min(unit)


def user_data(resource: Resource) -> str:
    data: Any = resource.at("LaunchTemplateData", "UserData") or resource.at("UserData")
    return "" if data is None else text(data)


def _is_confined(command: str) -> bool:
    user = re.search(r"--user (\d+):\d+", command)
    not_root = user is not None and int(user[1]) != 0
    return not_root and "--privileged" not in command and all(option in command for option in CONFINED)
