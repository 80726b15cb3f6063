"""An artifact of one generation loads in the other: container and host, in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_code.load import load
from tests.inference_code.proving import proven

KEPT = sorted((Path(__file__).parent / "generations").iterdir())


def test_there_is_one_of_each_generation() -> None:
    """torch 1.13 of the container, torch 2 of the host."""
    assert {folder.name.partition(".")[0] for folder in KEPT} == {"torch-1", "torch-2"}


@pytest.mark.parametrize("root", KEPT, ids=lambda root: root.name)
def test_an_artifact_of_either_generation_is_served_by_this_one(root: Path) -> None:
    """Verified, loaded, and its golden set met within the tolerance that was recorded."""
    assert sorted(proven(load(root))) == ["b1_s16", "b2_s32"]
