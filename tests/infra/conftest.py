"""Worlds that many tests read: each is synthesised once a session."""

from __future__ import annotations

import pytest

from infra.entry import use_pinned_node

use_pinned_node()

from tests.infra.worlds import (  # noqa: E402
    CANARY,
    CPU,
    EXISTING,
    INF1,
    LATER,
    PINNED,
    SPOT,
    WARM,
    World,
    canary_lock_of,
    lock_of,
    settings_of,
    synthesise,
)


@pytest.fixture(scope="session")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A fleet and an endpoint on cpu types, everything else by default, data not retained."""
    return synthesise(tmp_path_factory.mktemp("cpu"), settings_of(CPU), lock_of("cpu"))


@pytest.fixture(scope="session")
def inf1(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A fleet with four chips an instance, and an endpoint; data retained."""
    return synthesise(tmp_path_factory.mktemp("inf1"), settings_of(INF1), lock_of("inf1"))


@pytest.fixture(scope="session")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Only a fleet: account, region, zones, certificate, callers and topic all given."""
    return synthesise(tmp_path_factory.mktemp("pinned"), settings_of(PINNED), lock_of("cpu"))


@pytest.fixture(scope="session")
def spot(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A fleet that is mostly Spot, sleeps at night, and admits one group's callers by their certificates."""
    return synthesise(tmp_path_factory.mktemp("spot"), settings_of(SPOT), lock_of("cpu"))


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A fleet with running instances in reserve."""
    return synthesise(tmp_path_factory.mktemp("warm"), settings_of(WARM), lock_of("inf1"))


@pytest.fixture(scope="session")
def foundation(tmp_path_factory: pytest.TempPathFactory) -> World:
    """What exists before the first release."""
    return synthesise(tmp_path_factory.mktemp("foundation"), settings_of(CPU), None, foundation=True)


@pytest.fixture(scope="session")
def canary(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Only an endpoint on Inf1: two releases, captured requests, a schedule."""
    folder = tmp_path_factory.mktemp("canary")
    return synthesise(folder, settings_of(CANARY), lock_of("inf1"), canary=canary_lock_of("inf1"))


@pytest.fixture(scope="session")
def later(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Only an endpoint that answers by way of S3, may be empty, and whose traffic SageMaker shifts."""
    return synthesise(tmp_path_factory.mktemp("later"), settings_of(LATER), lock_of("cpu"))


@pytest.fixture(scope="session")
def existing(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A VPC that was there before, compile jobs on EC2, and their image built from the checkout."""
    return synthesise(tmp_path_factory.mktemp("existing"), settings_of(EXISTING), lock_of("cpu"))
