"""One local AWS, one bootstrap and one life for all tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from local_aws import launcher, processes
from local_aws.conformance import tracebacks
from local_aws.conformance.census import Census
from tests.lifecycle.history import History, lived
from tests.lifecycle.neighbour import settle
from tests.lifecycle.world import BASE, World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Bootstrapped, with a neighbour's stack in it and nothing of the project's."""
    folder = tmp_path_factory.mktemp("lifecycle")
    aws = launcher.up(folder / "state")
    try:
        world = World(folder=folder, aws=aws)
        (folder / "traceship.toml").write_text(_toml(BASE))
        world.synthesise("foundation", world.settings, None, foundation=True)
        world.bootstrap("foundation")
        settle(aws)
        yield world
    finally:
        launcher.down(folder / "state")
    assert processes.belonging_to(folder / "state") == []
    assert tracebacks(aws.log) == []


@pytest.fixture(scope="session")
def nothing(world: World) -> Census:
    """What there is before the project."""
    return world.census()


@pytest.fixture(scope="session")
def history(world: World, nothing: Census) -> History:
    """Everything, once."""
    return lived(world, nothing)


def _toml(tables: dict[str, dict[str, object]]) -> str:
    """Plain tables of texts, numbers and lists of them, which JSON spells as TOML does."""
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
