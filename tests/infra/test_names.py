"""Names that the stacks and the command must both arrive at."""

from __future__ import annotations

import pytest

from infra.names import canary_lock_file, key_alias, key_alias_arn
from settings.model import Settings


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_the_key_is_named_in_the_regions_own_partition(region: str, partition: str) -> None:
    """S3 finds no key under another."""
    assert key_alias_arn("minilm", "123456789012", region) == (
        f"arn:{partition}:kms:{region}:123456789012:{key_alias('minilm')}"
    )


def test_a_canarys_lock_is_named_after_the_lock_beside_it() -> None:
    """Of every service and stage its own."""
    settings = Settings()
    cases = [
        settings,
        settings.of(stage=None, service="search", runs="search"),
        settings.of(stage="prod", service=None, runs=None),
        settings.of(stage="prod", service="search", runs="other"),
    ]

    assert [canary_lock_file(case) for case in cases] == [
        "release.canary.lock.json",
        "release.search.canary.lock.json",
        "release@prod.canary.lock.json",
        "release.other@prod.canary.lock.json",
    ]
