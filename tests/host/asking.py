"""Clients of the AWS on loopback, and who asks it for slots."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

from inference_code.host.slots import Slots
from tests.host.loopback_aws import Aws

BUCKET, PREFIX = "releases-of-a-test", "fleets/traceship-fleet/replacements"


def client(aws: Aws, service: str = "s3") -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=aws.url,
        region_name="eu-west-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5),
    )


def some(aws: Aws, count: int) -> Slots:
    return Slots(client(aws), bucket=BUCKET, prefix=PREFIX, count=count, owner="111122223333")
