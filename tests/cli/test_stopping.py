"""Ctrl-C and SIGTERM end a ship soon, with 130 and the command that goes on, whatever it is doing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stopping import GRACE_SECONDS
from tests.cli.shipyard import NAME
from tests.kit.command import CHECKOUT, clean_environment
from tests.kit.folders import CONTENT, write_folder

HANG_SECONDS = 30
"""How long each of the programs below would go on; a test that takes as long has failed."""
_PROGRAM = """
import hashlib, sys, threading, time
from cli.stopping import stops_at_once, Stopped, tell
def busy():
{busy}
try:
    with stops_at_once("traceship ship --json"):
        busy()
except Stopped:
    tell("traceship ship --json")
    sys.exit(130)
"""
BUSY = {
    "waiting": "print('busy', flush=True); time.sleep(30)",
    "in a call that never looks at signals": (
        "print('busy', flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
    ),
    "in a clean-up that hangs": "try: print('busy', flush=True); time.sleep(30)\n    finally: time.sleep(30)",
    "with a worker that does not end": (
        "threading.Thread(target=time.sleep, args=(30,)).start(); print('busy', flush=True); time.sleep(30)"
    ),
}


def _ended(process: subprocess.Popen[str], number: int) -> tuple[int, str, float]:
    """Send the signal; exit code, talk and seconds until the process was gone."""
    started = time.monotonic()
    process.send_signal(number)
    _, talk = process.communicate(timeout=2 * HANG_SECONDS)
    return process.returncode, talk, time.monotonic() - started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("doing", BUSY)
def test_a_signal_ends_the_process_whatever_it_is_doing(doing: str, number: int) -> None:
    """130, the way on said once, and not a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(busy=f"    {BUSY[doing]}")],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "busy\n"

    code, talk, seconds = _ended(process, number)

    assert code == 130, talk
    assert talk.count("Go on with: traceship ship --json") == 1
    assert "Traceback" not in talk
    assert seconds < HANG_SECONDS / 3
    assert GRACE_SECONDS < 1


def test_a_block_that_ends_by_itself_leaves_the_signals_as_they_were() -> None:
    """Nobody is stopped by a watch that is over."""
    from cli.stopping import stops_at_once

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    with stops_at_once("traceship ship"):
        pass

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.fixture
def mute() -> Iterator[tuple[str, socket.socket]]:
    """An AWS that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(HANG_SECONDS)
        yield f"http://127.0.0.1:{server.getsockname()[1]}", server


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_ship_prints_the_exact_command_to_go_on(
    mute: tuple[str, socket.socket], number: int, tmp_path: Path
) -> None:
    """With the options as they were typed, quoted for a shell."""
    endpoint, server = mute
    write_folder(tmp_path / "made here", CONTENT)
    (tmp_path / "traceship.toml").write_text(
        f'[project]\nname = "{NAME}"\n[model]\nsource = "x"\n[compile]\nbuckets = ["1x32"]\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "ship", "--artifact", "made here", "--json"],
        cwd=tmp_path,
        env=clean_environment(
            {
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "x",
            }
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    waiting, _ = server.accept()

    code, talk, seconds = _ended(process, number)

    waiting.close()
    assert code == 130, talk
    assert "Go on with: traceship ship --artifact 'made here' --json" in talk
    assert "Traceback" not in talk
    assert seconds < HANG_SECONDS / 3
    assert not (tmp_path / ".traceship/ship.lock").exists() or seconds > GRACE_SECONDS
