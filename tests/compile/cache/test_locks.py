"""One process at a time; a process that dies lets go."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from compile.cache.locks import locked, removing

_ROOT = Path(__file__).resolve().parents[3]
_HOLD = (
    "import sys; from pathlib import Path; from compile.cache.locks import locked\n"
    "with locked(Path(sys.argv[1]), exclusive=True, waiting=lambda: None):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


def _holder(lock: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(lock)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("ending", [signal.SIGKILL, None], ids=["killed", "finished"])
def test_a_waiter_goes_on_when_the_holder_is_gone(tmp_path: Path, ending: signal.Signals | None) -> None:
    """Also when it was killed and could not clean up; the wait is told once."""
    lock = tmp_path / "lock"
    holder = _holder(lock)
    told: list[str] = []

    def waiting() -> None:
        told.append("waiting")
        if ending is None:
            holder.communicate()
        else:
            holder.send_signal(ending)

    with locked(lock, exclusive=True, waiting=waiting):
        assert told == ["waiting"]
    holder.communicate()


def test_readers_share_and_a_writer_does_not(tmp_path: Path) -> None:
    """Two readers never wait for each other; who would remove is told to leave it."""
    lock = tmp_path / "lock"

    with (
        locked(lock, exclusive=False, waiting=pytest.fail),
        locked(lock, exclusive=False, waiting=pytest.fail),
    ):
        with removing(lock) as free:
            assert not free
        assert lock.exists()
    with removing(lock) as free:
        assert free
    assert not lock.exists()


def test_a_lock_file_that_was_removed_meanwhile_does_not_count(tmp_path: Path) -> None:
    """Who waited for a file that then lost its name takes the new one: never two holders."""
    lock = tmp_path / "lock"
    holder = _holder(lock)
    alone: list[bool] = []

    def wait_for_it() -> None:
        with locked(lock, exclusive=True, waiting=lambda: None), removing(lock) as free:
            alone.append(not free)

    waiter = threading.Thread(target=wait_for_it)
    waiter.start()
    _until_somebody_waits(lock)
    lock.unlink()
    holder.communicate()
    waiter.join(timeout=60)

    assert alone == [True]


def _until_somebody_waits(lock: Path) -> None:
    """The kernel lists who is blocked on a file's lock, by its inode."""
    blocked = re.compile(rf"-> FLOCK .*:{lock.stat().st_ino} ")
    while not blocked.search(Path("/proc/locks").read_text()):
        os.sched_yield()
