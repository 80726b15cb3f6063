"""Every price that a bill can ask for: its unit, and the question to AWS's price list that finds it.

A key is a fixed one of ``FIXED``, or ``ec2/TYPE``, ``ec2-spot/TYPE`` and ``sagemaker/ml.TYPE``. Service codes
and attributes: AWS Price List API, GetProducts. A usage type begins with its region (``EUW2-``,
``eu-west-2-``) in most lists and not in the oldest ones, so refresh.py takes that off before it compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EC2, SPOT, SAGEMAKER = "ec2/", "ec2-spot/", "sagemaker/"
"""Beginnings of the keys of instances."""


@dataclass(frozen=True)
class Question:
    """What to ask. ``where``: attributes that must be equal; ``usage``: usage type without its region."""

    service: str
    usage: str
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fixed:
    """A price with a key of its own, and the unit that AWS gives it in."""

    unit: str
    question: Question


FIXED: dict[str, Fixed] = {
    "ebs/gp3": Fixed("GB-month", Question("AmazonEC2", "EBS:VolumeUsage.gp3", {"volumeApiName": "gp3"})),
    "alb/hour": Fixed(
        "hour", Question("AWSELB", "LoadBalancerUsage", {"productFamily": "Load Balancer-Application"})
    ),
    "alb/lcu": Fixed(
        "LCU-hour", Question("AWSELB", "LCUUsage", {"productFamily": "Load Balancer-Application"})
    ),
    "vpc-endpoint/hour": Fixed("endpoint-zone-hour", Question("AmazonVPC", "VpcEndpoint-Hours")),
    "vpc-endpoint/gb": Fixed("GB", Question("AmazonVPC", "VpcEndpoint-Bytes")),
    "kms/key": Fixed("key-month", Question("awskms", "KMS-Keys")),
    "logs/ingest": Fixed("GB", Question("AmazonCloudWatch", "DataProcessing-Bytes")),
    "logs/storage": Fixed("GB-month", Question("AmazonCloudWatch", "TimedStorage-ByteHrs")),
    "cloudwatch/metric": Fixed("metric-month", Question("AmazonCloudWatch", "CW:MetricMonitorUsage")),
    "cloudwatch/alarm": Fixed("alarm-metric-month", Question("AmazonCloudWatch", "CW:AlarmMonitorUsage")),
    "cloudwatch/dashboard": Fixed("dashboard-month", Question("AmazonCloudWatch", "DashboardsUsageHour")),
    "s3/storage": Fixed(
        "GB-month", Question("AmazonS3", "TimedStorage-ByteHrs", {"productFamily": "Storage"})
    ),
    "fargate/vcpu": Fixed("vCPU-hour", Question("AmazonECS", "Fargate-vCPU-Hours:perCPU")),
    "fargate/memory": Fixed("GB-hour", Question("AmazonECS", "Fargate-GB-Hours")),
    "fargate/storage": Fixed("GB-hour", Question("AmazonECS", "Fargate-EphemeralStorage-GB-Hours")),
}
OPTIONAL = frozenset({"cloudwatch/dashboard"})
"""Prices that the lists of most regions lack, because dashboards are sold once for all of them."""


def unit_of(key: str) -> str | None:
    """What the price of ``key`` is for; None where there is no such key."""
    if key.startswith((EC2, SPOT, SAGEMAKER)):
        return "instance-hour"
    return FIXED[key].unit if key in FIXED else None


def question_for(key: str) -> Question:
    """The question for a key that is not a Spot price; those come from EC2's history."""
    if key.startswith(EC2):
        kind = key.removeprefix(EC2)
        where = {
            "instanceType": kind,
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
            "marketoption": "OnDemand",
            "operation": "RunInstances",
        }
        return Question("AmazonEC2", f"BoxUsage:{kind}", where)
    if key.startswith(SAGEMAKER):
        kind = key.removeprefix(SAGEMAKER)
        return Question("AmazonSageMaker", f"Host:{kind}", {"productFamily": "ML Instance"})
    return FIXED[key].question
