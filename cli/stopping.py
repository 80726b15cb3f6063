"""Ctrl-C and SIGTERM end a command within a second, with the command that goes on.

The tidy way comes first: an exception that unwinds, so that children are ended and drafts removed.
A second thread, woken by the kernel's own signal delivery, watches the clock: where the main
thread sits in a call that does not return, or a worker waits for the network, the process ends all
the same. That is as safe as a ``kill -9``, which every step of a ship survives.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

INTERRUPTED = 130
GRACE_SECONDS = 0.7
"""For the tidy way; with the process's own end it makes less than a second."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_telling = threading.Lock()


class Stopped(KeyboardInterrupt):
    """Somebody asked this process to stop. A class of its own: Python would end by the signal in place
    of our exit code if a plain ``KeyboardInterrupt`` came inside an import."""


@contextmanager
def stops_at_once(again: str) -> Iterator[None]:
    """Inside, a signal raises ``Stopped`` in the main thread and ends the process soon whatever happens.

    Args:
        again: the command that goes on.
    """
    ours, watched = socket.socketpair()
    ours.setblocking(False)
    threading.Thread(target=_watch, args=(watched, again), daemon=True).start()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, _stop)
    woken = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
    try:
        yield
    except Stopped:  # the handlers stay: a second Ctrl-C must not disturb the end
        signal.set_wakeup_fd(woken)
        raise
    except BaseException:
        _put_back(before, woken)
        raise
    _put_back(before, woken)


def tell(again: str) -> None:
    """Say once how to go on."""
    if _telling.acquire(blocking=False):
        print(f"\ninterrupted; nothing is half-written. Go on with: {again}", file=sys.stderr, flush=True)


def _put_back(before: dict[signal.Signals, Any], woken: int) -> None:
    signal.set_wakeup_fd(woken)
    for number, handler in before.items():
        signal.signal(number, handler)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in _SIGNALS:
        if signal.getsignal(number) is _stop:
            signal.signal(number, lambda _number, _frame: None)
    raise Stopped


def _watch(watched: socket.socket, again: str) -> None:
    while arrived := watched.recv(1):
        if arrived[0] in _SIGNALS:
            threading.Event().wait(GRACE_SECONDS)
            tell(again)
            os._exit(INTERRUPTED)
