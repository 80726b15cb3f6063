"""How an upload is shown where there is no terminal, and where there is one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from cli.transfer import LINE_SECONDS, Lines, line
from compile.publish import Progress
from tests.kit.command import CHECKOUT


def _progress(rate: float | None = 50e6, left: float | None = 12.0) -> Progress:
    return Progress(
        done_bytes=400_000_000,
        total_bytes=1_000_000_000,
        done_files=1,
        total_files=3,
        bytes_per_second=rate,
        seconds_left=left,
    )


def test_a_line_tells_how_far_how_fast_and_how_long() -> None:
    """And neither rate nor time before anything was sent."""
    assert line(_progress()) == "400.0 of 1,000.0 MB, 50.0 MB/s, about 12 s left"
    assert line(_progress(left=600.0)).endswith("about 10 min left")
    assert line(_progress(rate=None, left=None)) == "400.0 of 1,000.0 MB"


def test_a_log_gets_a_line_every_few_seconds_and_not_more() -> None:
    """Two thousand files are not two thousand lines."""
    written: list[str] = []
    now = [0.0]
    lines = Lines(written.append, clock=lambda: now[0])
    for _ in range(100):
        now[0] += LINE_SECONDS / 10
        lines(_progress())

    assert len(written) == 10


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end() -> None:
    """On a real terminal; a pipe gets no control character."""
    code = (
        "from cli.transfer import transfer\nfrom compile.publish import Progress\n"
        "with transfer() as tell: tell(Progress(done_bytes=5, total_bytes=10, done_files=0, total_files=1,"
        " bytes_per_second=None, seconds_left=None))\n"
    )
    command = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TERM": "xterm", "COLUMNS": "100"}
    env.pop("NO_COLOR", None)
    main, side = pty.openpty()
    subprocess.run(command, env=env, stderr=side, check=True)
    os.close(side)
    shown = os.read(main, 1 << 16).decode()
    os.close(main)

    piped = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert "5/10" in shown
    assert "\x1b" not in piped.stderr
