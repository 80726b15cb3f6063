"""A ship reads its model once: what the branch was at the start is what is compiled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.kit.command import CHECKOUT
from tests.kit.fake_hub import environment, folder_files, running_hub
from tests.kit.models import tiny_model

SETTINGS = """
[model]
source = "hub:org/tiny"
revision = "main"
task = "feature-extraction"

[compile]
buckets = ["1x16"]
"""
COMPILE = """
import json, pathlib, sys
from cli.project import Project
from cli.shipping import compile_artifact

built = compile_artifact(Project(settings_path=pathlib.Path(sys.argv[1]), stage=None))
manifest = json.loads((built.path / "manifest.json").read_text())
print(json.dumps({"reused": built.reused, "revision": manifest["source"]["revision"]}))
"""


def _compile(settings: Path, endpoint: str) -> dict[str, object]:
    env = environment(endpoint, settings.parent)
    command = [sys.executable, "-c", COMPILE, str(settings)]
    done = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_a_branch_is_resolved_once_a_ship_and_a_moved_branch_is_another_model(tmp_path: Path) -> None:
    """One question to the Hub each time; unchanged, the finished artifact is used again."""
    settings = tmp_path / "traceship.toml"
    settings.write_text(SETTINGS)
    with running_hub() as hub:
        repository = hub.add("org/tiny")
        first = repository.commit(folder_files(tiny_model(tmp_path / "one")))

        made, again = (_compile(settings, hub.endpoint) for _ in range(2))
        second = repository.commit(folder_files(tiny_model(tmp_path / "two", seed=1)))
        moved = _compile(settings, hub.endpoint)

        asked = [line for line in hub.asked if line.startswith("GET /api/models/")]

    assert made == {"reused": False, "revision": first}
    assert again == {"reused": True, "revision": first}
    assert moved == {"reused": False, "revision": second}
    assert len(asked) == 3
