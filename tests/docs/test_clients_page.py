"""Every curl command of docs/clients.md, run as it stands against a server of its task."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.inference_code.running import running
from tests.kit.command import CHECKOUT
from tests.kit.handmade import Recipe, build

PAGE = (CHECKOUT / "docs/clients.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### ([a-z-]+)\n(.*?)(?=^##)", PAGE, flags=re.MULTILINE | re.DOTALL))
ARRAY = "vectors.npy"


def _commands(section: str) -> list[str]:
    joined = section.replace("\\\n", "")
    return [line.strip() for line in joined.splitlines() if line.startswith("    curl ")]


def test_the_page_shows_every_task_that_needs_no_search() -> None:
    """A command for each; an empty page would prove nothing."""
    assert set(SECTIONS) == {
        "feature-extraction",
        "text-classification",
        "token-classification",
        "question-answering",
        "fill-mask",
        "multiple-choice",
    }
    assert all(_commands(section) for section in SECTIONS.values())


@pytest.mark.parametrize("task", sorted(SECTIONS))
def test_every_command_is_answered(task: str, tmp_path: Path) -> None:
    """With 200, and a body in the form that was asked for."""
    bash = shutil.which("bash")
    assert bash is not None
    assert shutil.which("curl"), "the page's commands need curl"
    world = build(tmp_path / "artifact", Recipe(task=task))
    with running(world.root, cwd=tmp_path, env={"TRACESHIP_OPENAI": "1"}) as server:
        server.await_ready()
        for command in _commands(SECTIONS[task]):
            here = command.replace("localhost:8080", f"127.0.0.1:{server.port}")
            found = subprocess.run(
                [bash, "-c", here], cwd=tmp_path, capture_output=True, timeout=60, check=False
            )

            assert found.returncode == 0, (command, found.stderr)
            _check(command, found.stdout, tmp_path)


def _check(command: str, answer: bytes, folder: Path) -> None:
    if ARRAY in command:
        assert np.load(folder / ARRAY, allow_pickle=False).ndim == 2
    elif "Accept: text/csv" in command:
        assert len(answer.splitlines()) == 2
    else:
        lines = answer.splitlines() if "/csv" in command or "jsonlines" in command else [answer]
        assert all(json.loads(line) for line in lines)
