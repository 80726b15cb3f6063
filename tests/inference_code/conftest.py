"""Worlds are made once: an artifact by hand, a model loaded from it, a server in front of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from inference_code.load import LoadedModel, load
from tests.inference_code.running import RunningServer, running
from tests.kit.handmade import Recipe, World, build

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., World]:
    """Make (or find) the artifact of a recipe. Read only: copy before you change it."""
    made: dict[Recipe, World] = {}

    def make(recipe: Recipe | None = None) -> World:
        recipe = recipe or Recipe()
        if recipe not in made:
            made[recipe] = build(tmp_path_factory.mktemp("world") / "artifact", recipe)
        return made[recipe]

    return make


@pytest.fixture(scope="session")
def world(worlds: Callable[..., World]) -> World:
    """Sentence embeddings, mean pooling, buckets 1x8, 1x16 and 4x16."""
    return worlds()


@pytest.fixture(scope="session")
def models(worlds: Callable[..., World]) -> Callable[..., LoadedModel]:
    """Load (or find) the model of a recipe."""
    loaded: dict[Recipe, LoadedModel] = {}

    def get(recipe: Recipe | None = None) -> LoadedModel:
        recipe = recipe or Recipe()
        if recipe not in loaded:
            loaded[recipe] = load(worlds(recipe).root)
        return loaded[recipe]

    return get


@pytest.fixture
def copied(world: World, tmp_path: Path) -> World:
    """The plain artifact, free to be damaged."""
    root = tmp_path / "copied"
    shutil.copytree(world.root, root)
    return World(root=root, digest=world.digest, recipe=world.recipe)


@pytest.fixture(scope="session")
def server(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A ready server of the plain artifact, shared: tests must leave it ready."""
    with running(world.root, "--digest", world.digest, cwd=tmp_path_factory.mktemp("elsewhere")) as started:
        yield started.await_ready()
