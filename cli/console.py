"""Talk goes to stderr, data to stdout; a step says what runs, that it still runs, and how long it took."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

HEARTBEAT_SECONDS = 10.0


def talk(text: str) -> None:
    """Write a line for a person. Scripts read stdout and never see it."""
    print(text, file=sys.stderr, flush=True)


def data(value: Any, *, as_json: bool, text: str) -> None:
    """Write a command's result: one JSON document, or ``text`` for a person."""
    print(json.dumps(msgspec.to_builtins(value), indent=2) if as_json else text, flush=True)


_running: list[str] = []
"""Titles of the steps that are open, outermost first: only the innermost says that it still runs."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce ``title``, say so while it takes long, and close with its seconds."""
    started = time.monotonic()
    indent = "  " * len(_running)
    talk(f"{indent}> {title}")
    _running.append(title)
    finished = threading.Event()
    beat = threading.Thread(target=_beat, args=(title, started, finished), daemon=True)
    beat.start()
    try:
        yield
    finally:
        finished.set()
        beat.join()
        _running.pop()
    talk(f"{indent}  done in {time.monotonic() - started:.1f} s")


def _beat(title: str, started: float, finished: threading.Event) -> None:
    while not finished.wait(HEARTBEAT_SECONDS):
        if _running[-1] == title:
            talk(f"  {'  ' * len(_running)}still at it, {time.monotonic() - started:.0f} s so far")
