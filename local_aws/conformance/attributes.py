"""What Fn::GetAtt gives, out of what a describe call returned.

Source of the names: the AWS CloudFormation template reference, "Return values" of each type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local_aws.conformance.describe.model import Found, Resource
from local_aws.conformance.template import UNKNOWN

Attribute = Callable[[Found, Resource], Any]


def attribute(found: Found, resource: Resource, name: str) -> Any:
    """The value of ``name``; ``UNKNOWN`` where we know no place for it."""
    own = _ATTRIBUTES.get((resource.type_name, name))
    if own is not None:
        return own(found, resource)
    noun = resource.type_name.rpartition("::")[2]
    for key in (name, f"{noun}{name}"):
        if found.get(key) not in (None, ""):
            return found[key]
    return UNKNOWN


def _bucket_arn(_found: Found, resource: Resource) -> str:
    return f"arn:aws:s3:::{resource.physical_id}"


def _after(key: str, marker: str, *, keep: bool) -> Attribute:
    """The part of an ARN from ``marker`` on, with it or without."""

    def found_in(found: Found, _resource: Resource) -> str:
        _, _, rest = str(found[key]).partition(marker)
        return marker + rest if keep else rest

    return found_in


_ATTRIBUTES: dict[tuple[str, str], Attribute] = {
    ("AWS::CloudWatch::Alarm", "Arn"): lambda found, _: found["AlarmArn"],
    ("AWS::EC2::LaunchTemplate", "LatestVersionNumber"): lambda found, _: str(found["VersionNumber"]),
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "LoadBalancerFullName"): _after(
        "LoadBalancerArn", "loadbalancer/", keep=False
    ),
    ("AWS::ElasticLoadBalancingV2::TargetGroup", "TargetGroupFullName"): _after(
        "TargetGroupArn", "targetgroup/", keep=True
    ),
    ("AWS::S3::Bucket", "Arn"): _bucket_arn,
    ("AWS::SNS::Topic", "TopicName"): lambda found, _: found["TopicArn"].rpartition(":")[2],
    ("AWS::StepFunctions::StateMachine", "Name"): lambda found, _: found["StateMachineName"],
}
