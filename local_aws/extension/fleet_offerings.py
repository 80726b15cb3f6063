"""EC2's DescribeInstanceTypeOfferings: on this machine every type is offered in every zone.

Who asks about types gets each of them for each zone (or the region) that the filters leave. The
whole catalogue is not known here, so a question without a type is refused.
"""

from __future__ import annotations

from typing import Any

from ministack.core.responses import get_region
from ministack.services import ec2

ACTION = "DescribeInstanceTypeOfferings"
LETTERS = "abc"
"""Zones of a region, as ministack's DescribeAvailabilityZones lists them."""


def register() -> None:
    """Add the action, which ministack lacks."""
    ec2._ACTION_MAP[ACTION] = _describe


def _describe(parameters: dict[str, Any]) -> Any:
    kind = ec2._p(parameters, "LocationType") or "region"
    filters = ec2._parse_filters(parameters)
    types = filters.get("instance-type")
    if not types:
        return ec2._error("InvalidParameterValue", "the local AWS needs a filter on instance-type", 400)
    if kind not in ("region", "availability-zone"):
        return ec2._error("InvalidParameterValue", f"the local AWS has no location type {kind}", 400)
    here = [get_region()] if kind == "region" else [f"{get_region()}{letter}" for letter in LETTERS]
    asked = filters.get("location") or here
    rows = "".join(
        f"<item><instanceType>{name}</instanceType><locationType>{kind}</locationType>"
        f"<location>{place}</location></item>"
        for name in types
        for place in here
        if place in asked
    )
    return ec2._xml(200, f"{ACTION}Response", f"<instanceTypeOfferingSet>{rows}</instanceTypeOfferingSet>")
