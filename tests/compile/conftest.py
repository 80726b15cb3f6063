"""Small models, made once a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compile.pipeline import compile_model
from tests.compile.world import make_request
from tests.kit.models import tiny_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny tensors: more threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare BERT body that uses token types."""
    return tiny_model(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with a three-label head."""
    folder = tmp_path_factory.mktemp("models") / "classifier"
    return tiny_model(folder, labels=("no", "yes", "maybe"))


@pytest.fixture(scope="session")
def packaged_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare BERT body compiled for the buckets 1x16 and 2x24; its checkpoint lies beside it in ``model``."""
    base = tmp_path_factory.mktemp("packaged")
    tiny_model(base / "model")
    compile_model(make_request(base / "model", base / "artifact", "1x16", "2x24"), [].append)
    return base / "artifact"
