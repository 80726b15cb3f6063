"""docs/signing.md is run as it is written, but for what needs AWS or a compile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from shlex import quote

import pytest

from tests.kit.command import CHECKOUT
from tests.kit.folders import CONTENT, write_folder

PAGE = CHECKOUT / "docs/signing.md"
ELSEWHERE = ("[signing]", "awskms:", "rebuild")


def _blocks() -> list[str]:
    """The indented blocks of the page that run on this machine alone."""
    found = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    blocks = [textwrap.dedent(block).strip("\n") for block in found]
    return [block for block in blocks if block.strip() and not any(word in block for word in ELSEWHERE)]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on this machine")
def test_every_command_of_the_page_works_in_order(tmp_path: Path) -> None:
    """Keys by us and by openssl, signing, verifying with three programs."""
    digest = write_folder(tmp_path / "DIR", CONTENT)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (("python3", ""), ("traceship", " -m cli")):
        (programs / name).write_text(f'#!/bin/sh\nexec {quote(sys.executable)}{module} "$@"\n')
        (programs / name).chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    blocks = _blocks()

    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={**os.environ, **path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(blocks) == 6
    assert ran.returncode == 0, ran.stderr
    assert "Verified OK" in ran.stdout
    assert f"[{{'digest': {{'sha256': '{digest}'}}, 'name': 'manifest.json'}}]" in ran.stdout
    assert f"{digest}  DIR/manifest.json" in ran.stdout
    signers = set(re.findall(r"signed by ([0-9a-f]{64})", ran.stdout))
    assert len(signers) == 1  # by `sign` and by `verify`
    assert f"['{signers.pop()}']" in ran.stdout
