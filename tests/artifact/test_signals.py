"""Ctrl-C while a child starts: late, but never lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from artifact.signals import held_back


def test_a_signal_inside_is_raised_at_the_end() -> None:
    """What was assigned inside is there for the clean-up."""
    known = None

    def start() -> None:
        nonlocal known
        with held_back():
            signal.raise_signal(signal.SIGINT)
            known = "the child"

    with pytest.raises(KeyboardInterrupt):
        start()
    assert known == "the child"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_child_can_be_interrupted_as_usual() -> None:
    """A mask would be inherited; a handler is not."""
    with held_back():
        child = subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    assert child.stdout is not None
    child.stdout.readline()

    child.terminate()

    assert child.wait(timeout=30) == -signal.SIGTERM
    child.communicate()


def test_an_ignored_signal_stays_ignored_and_other_threads_are_left_alone() -> None:
    """A job in the background has SIGINT ignored; threads never get signals."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_back():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    thread = threading.Thread(target=lambda: held_back().__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
