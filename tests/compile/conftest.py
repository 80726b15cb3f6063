"""Small models, made once a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

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
