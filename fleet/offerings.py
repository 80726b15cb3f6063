"""Do the zones of a fleet offer its instance types? Asked before a deploy, never at synth.

Not every zone of a region has every type, least of all Inf1; Auto Scaling finds out after
CloudFormation said yes, and then only tries again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from artifact.aws import AwsClient, translated
from artifact.errors import UsageError

ZONES_TAKEN = 2
"""Of a region, where the settings name no zones or subnets (infra/stack.py)."""


class TypeNotOffered(UsageError):
    """A zone of the fleet has no instances of a type that the settings name."""

    id = "type-not-offered"

    def __init__(self, *, name: str, zone: str, others: Sequence[str]) -> None:
        elsewhere = f"these zones of the region do: {', '.join(others)}" if others else "no zone does"
        super().__init__(
            what=f"zone {zone} does not offer {name}",
            why=f"EC2 says so for this account; {elsewhere}",
            fix="name zones in project.zones, or network.subnets in zones, that offer every type of "
            "fleet.instance_types"
            if others
            else "name other types in fleet.instance_types, or another project.region",
        )


def check_offerings(ec2: AwsClient, types: Sequence[str], zones: Sequence[str]) -> None:
    """See that each zone offers each type.

    Args:
        zones: by name; empty: the region's first two, which the network stack takes then.

    Raises:
        TypeNotOffered: the first one that does not.
        AwsDenied, AwsUnreachable, AwsRefused: what AWS said.
    """
    with translated("ask which instance types the zones offer"):
        offered = _offered(ec2, types)
        wanted = zones or _first_zones(ec2)
    for zone in wanted:
        for name in types:
            if zone not in offered[name]:
                raise TypeNotOffered(name=name, zone=zone, others=sorted(offered[name]))


def _offered(ec2: AwsClient, types: Sequence[str]) -> Mapping[str, set[str]]:
    """Zones by type; of the whole region, so that an error can name those that would do."""
    found: dict[str, set[str]] = {name: set() for name in types}
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": list(types)}],
    )
    for page in pages:
        for row in page["InstanceTypeOfferings"]:
            found[row["InstanceType"]].add(row["Location"])
    return found


def _first_zones(ec2: AwsClient) -> list[str]:
    answer = ec2.describe_availability_zones(
        Filters=[
            {"Name": "zone-type", "Values": ["availability-zone"]},
            {"Name": "state", "Values": ["available"]},
        ]
    )
    return sorted(zone["ZoneName"] for zone in answer["AvailabilityZones"])[:ZONES_TAKEN]
