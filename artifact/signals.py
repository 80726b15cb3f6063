"""Ctrl-C held back for the moment in which a child is started.

An interrupt inside ``subprocess.Popen`` would lose the child's id, and with it the only way to
end the child.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[None]:
    """SIGINT and SIGTERM that arrive inside are raised at the end, when the child is known.

    By a handler and not by the signal mask, which the child would inherit. Ignored signals stay
    ignored. Outside the main thread nothing is done: Python handles signals there only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    handled = {s: handler for s, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in handled:
        signal.signal(number, lambda got, _frame: arrived.append(got))
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)
