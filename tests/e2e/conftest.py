"""One demo for all end-to-end tests: run as a user runs it, left running, stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_aws import launcher
from local_aws.launcher import LocalAws
from tests.kit.command import Answer, traceship


@dataclass(frozen=True)
class Demo:
    """A demo that runs: its folder, what it printed, and the AWS that it left up."""

    folder: Path
    found: dict[str, Any]
    talk: str
    aws: LocalAws

    def command(self, *arguments: str | Path) -> Answer:
        """Run ``traceship`` on the demo's settings, against the demo's AWS."""
        settings = ["--settings", str(self.folder / "traceship.toml")]
        return traceship(*settings, *arguments, cwd=self.folder, env=self.aws.environment())


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo") / "home"
    answer = traceship("demo", "--keep", "--json", "--folder", folder, cwd=folder.parent)
    try:
        assert answer.code == 0, answer.stderr
        aws = launcher.require(folder / "local")
        yield Demo(folder=folder, found=answer.json, talk=answer.stderr, aws=aws)
    finally:
        launcher.down(folder / "local")
