"""The ``traceship`` command as a user runs it: a process of its own, judged by what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.stdout)

    @property
    def error(self) -> dict[str, str]:
        """The error object that a command with ``--json`` prints last on standard error."""
        found: dict[str, str] = json.loads(self.stderr.splitlines()[-1])["error"]
        return found


def clean_environment(extra: Mapping[str, str] = {}) -> dict[str, str]:
    """This process's environment without anybody's AWS settings, plus ``extra``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", **extra}


def traceship(
    *arguments: str | Path, cwd: Path, python: str = sys.executable, env: Mapping[str, str] = {}
) -> Answer:
    """Run the command in ``cwd`` and wait for it."""
    result = subprocess.run(
        [python, "-m", "cli", *map(str, arguments)],
        cwd=cwd,
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Answer(code=result.returncode, stdout=result.stdout, stderr=result.stderr)
