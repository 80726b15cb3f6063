"""Stacks that several tests ask: the artifact signed and pinned, reached through a link."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from artifact import serving
from tests.inference_code.running import RunningServer, running
from tests.kit.handmade import World, build
from tests.kit.keys import Key
from tests.stock.stack import Stack, archived, stack


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Sentence embeddings, buckets 1x8, 1x16 and 4x16."""
    return build(tmp_path_factory.mktemp("world") / "artifact")


@pytest.fixture(scope="session")
def trusted(world: World) -> dict[str, str]:
    """The variables that pin the artifact's digest and the key that signed it."""
    key = Key()
    return {
        serving.ENV_DIGEST: world.digest,
        serving.ENV_PUBLIC_KEYS: key.public.line,
        serving.ENV_SIGNATURE: base64.b64encode(key.release(world.digest)).decode(),
    }


@pytest.fixture(scope="session")
def aws(world: World, trusted: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """AWS's stack; /opt/ml/model is a link, and TorchServe makes one more to it."""
    folder = tmp_path_factory.mktemp("stock")
    link = folder / "opt/ml/model"
    link.parent.mkdir(parents=True)
    link.symlink_to(archived(world.root, folder / "elsewhere"))
    with stack(link, folder / "stack", trusted) as started:
        yield started.await_loaded()


@pytest.fixture(scope="session")
def ours(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """`traceship serve` on the same artifact."""
    with running(world.root, cwd=tmp_path_factory.mktemp("cwd")) as started:
        yield started.await_ready()
