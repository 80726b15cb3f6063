"""Change detectors: no template changes unseen. What it must hold is said in the other files."""

from __future__ import annotations

import pytest

from tests.infra.snapshots import FOLDER, WORLDS, taken
from tests.infra.worlds import World


@pytest.mark.parametrize("name", WORLDS)
def test_the_templates_are_those_that_were_looked_at(name: str, request: pytest.FixtureRequest) -> None:
    """After a change run `python -m tests.infra.snapshots` and read what `git diff` shows."""
    world: World = request.getfixturevalue(name)

    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob(f"{name}-*.json")}

    found = taken(name, world)
    assert set(found) == set(kept)
    for file, text in found.items():
        assert text == kept[file], f"{file} differs: python -m tests.infra.snapshots"


def test_there_is_a_snapshot_of_every_stack_and_no_other() -> None:
    """A stack without one could change unseen."""
    names = {path.name for path in FOLDER.iterdir()}

    stacks = ("artifacts", "compile", "fleet", "network")
    assert names == {
        *(f"inf1-{stack}.json" for stack in (*stacks, "endpoint", "image")),
        *(f"pinned-{stack}.json" for stack in stacks),
    }
