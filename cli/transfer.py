"""How an upload is shown: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.console import talk
from compile.publish.progress import Progress

LINE_SECONDS = 5.0


@contextmanager
def transfer() -> Iterator[Callable[[Progress], None]]:
    """Gives what ``publish`` calls with its progress."""
    if not sys.stderr.isatty():
        yield Lines(talk)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    columns = (TextColumn(" "), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("upload", total=None)
        yield lambda now: bars.update(bar, completed=now.done_bytes, total=now.total_bytes)


class Lines:
    """Writes a line for a progress, and none for those that follow within ``LINE_SECONDS``."""

    def __init__(self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._last = clock()

    def __call__(self, now: Progress) -> None:
        if self._clock() - self._last < LINE_SECONDS:
            return
        self._last = self._clock()
        self._write(f"  {line(now)}")


def line(now: Progress) -> str:
    """One progress in words: "412.0 of 1,024.0 MB, 87.2 MB/s, about 8 s left"."""
    told = f"{now.done_bytes / 1e6:,.1f} of {now.total_bytes / 1e6:,.1f} MB"
    if now.bytes_per_second is None or now.seconds_left is None:
        return told
    return f"{told}, {now.bytes_per_second / 1e6:,.1f} MB/s, about {_duration(now.seconds_left)} left"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min"
