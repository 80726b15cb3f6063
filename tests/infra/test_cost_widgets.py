"""A dashboard shows what its machines cost an hour where the price is known, and never a guess."""

from __future__ import annotations

import json

import pytest

from infra.cost.prices import prices_of, read_prices
from tests.infra.worlds import World, lock_of, settings_of, synthesise

FLEET = {"fleet": {"instance_types": ["inf1.xlarge", "inf1.2xlarge"]}}


def _board(world: World, role: str) -> str:
    return json.dumps(world.properties(role, "AWS::CloudWatch::Dashboard")["DashboardBody"])


@pytest.fixture(scope="module")
def virginia(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A fleet of two types in a region whose prices are known."""
    settings = settings_of({"compile": {"target": "inf1"}, "project": {"region": "us-east-1"}}, FLEET)
    lock = lock_of("inf1")
    location = type(lock.location)(
        account="111122223333", region="us-east-1", bucket="any", prefix=lock.location.prefix
    )
    return synthesise(tmp_path_factory.mktemp("virginia"), settings, lock_of("inf1", location=location))


def test_the_price_of_the_dearest_type_is_multiplied_by_the_instances(virginia: World) -> None:
    """At most, because which type runs is Auto Scaling's choice; with the date of the price."""
    price = prices_of(read_prices(), "us-east-1").find("ec2/inf1.2xlarge")
    assert price is not None

    board = _board(virginia, "fleet")

    assert f"instances * {float(price.usd):g}" in board
    assert f"prices of {price.as_of}" in board


def test_without_a_region_or_a_price_the_command_is_named(cpu: World) -> None:
    """The region of the credentials is not known at synth, and not every price is known."""
    for world, role in ((cpu, "fleet"), (cpu, "endpoint")):
        board = _board(world, role)
        assert "`traceship cost`" in board
        assert "$ an hour" not in board
