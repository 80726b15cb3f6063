"""One ship of a project at a time; a dead one holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.alone import ShipRunning, alone
from tests.kit.command import CHECKOUT

_HOLDER = """
import pathlib, sys
from cli.alone import alone
with alone(pathlib.Path(sys.argv[1]), "traceship ship --json"):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(state: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(state)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_is_told_who_runs(tmp_path: Path) -> None:
    """Process id, command and exit code 5; the first goes on and lets go in the end."""
    with _holder(tmp_path) as holder:
        with pytest.raises(ShipRunning) as refused, alone(tmp_path, "traceship ship"):
            pass
        holder.communicate("")

    assert refused.value.exit_code == 5
    assert f"process {holder.pid} (`traceship ship --json`" in refused.value.why
    with alone(tmp_path, "traceship ship"):
        pass


def test_a_killed_owner_is_taken_over_at_once(tmp_path: Path) -> None:
    """Its file stays and says nothing any more."""
    with _holder(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()

    assert (tmp_path / "ship.lock").exists()
    with alone(tmp_path, "traceship ship"):
        pass
    assert not (tmp_path / "ship.lock").exists()
