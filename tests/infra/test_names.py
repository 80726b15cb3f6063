"""Names that the stacks and the command must both arrive at."""

from __future__ import annotations

import pytest

from infra.names import key_alias, key_alias_arn


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_the_key_is_named_in_the_regions_own_partition(region: str, partition: str) -> None:
    """S3 finds no key under another."""
    assert key_alias_arn("minilm", "123456789012", region) == (
        f"arn:{partition}:kms:{region}:123456789012:{key_alias('minilm')}"
    )
