"""The loop: hear neuron-monitor, look at devices and ``/ping``, tell figures, ask for a replacement."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import msgspec

from artifact.errors import TraceshipError
from artifact.host import NODE
from artifact.serving import PING_TIMEOUT_SECONDS
from inference_code.host.cloudwatch import Lines
from inference_code.host.figures import Figures
from inference_code.host.judge import Judge
from inference_code.host.options import WatchOptions
from inference_code.host.replacement import Outcome, Replacement
from inference_code.host.reports import MAX_LINE_BYTES, ReportUnreadable, parse_report
from inference_code.log import logger, origin
from inference_code.log_writer import LineWriter

LOOK_SECONDS = 5.0
SILENCE_SECONDS = 30.0
"""neuron-monitor reports every five seconds (infra/boot.py)."""
AFTER_END_SECONDS = 60.0
"""How long the watch goes on without neuron-monitor, before both are started anew."""
_WAITING_LINES = 100


class MonitorEnded(TraceshipError):
    """neuron-monitor ended, or was never there."""

    id = "neuron-monitor-ended"

    def __init__(self) -> None:
        super().__init__(
            what="neuron-monitor ended",
            why=f"nothing was piped in for {AFTER_END_SECONDS:g} seconds",
            fix="`journalctl --unit traceship-watch` has its words; settings: host.neuron_monitor",
        )


class Reader:
    """Lines of ``source``, read by a thread: a monitor that stalls must not stall the looks."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._lines: queue.Queue[bytes] = queue.Queue(_WAITING_LINES)
        self.ended = threading.Event()
        threading.Thread(target=self._work, name="neuron-monitor", daemon=True).start()

    def next(self, timeout: float) -> bytes | None:
        """A line, or None if none came within ``timeout`` seconds."""
        try:
            return self._lines.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None

    def _work(self) -> None:
        while line := self._source.readline(MAX_LINE_BYTES + 1):
            if line.strip():
                self._lines.put(line)
        self.ended.set()


class Watch:
    """One instance's watch. ``clock``: seconds that never go back."""

    def __init__(
        self,
        options: WatchOptions,
        replacement: Replacement,
        lines: LineWriter,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.figures = Figures()
        self._options = options
        self._replacement = replacement
        self._lines = lines
        self._clock = clock
        self._judge = Judge(chips=options.chips, ready_within=options.ready_within)
        self._cloudwatch = Lines(self.figures, service=options.service, digest=options.digest)
        self._heard = self._told = clock()
        self._silent = False
        self._fault_id: str | None = None
        self._troubles: tuple[str, ...] = ()

    def hear(self, line: bytes) -> None:
        """Take a line of neuron-monitor; what is no report is counted and said, never fatal."""
        try:
            report = parse_report(line)
        except ReportUnreadable as error:
            self.figures.unreadable += 1
            if self.figures.unreadable == 1:
                _say(error)
            return
        self._heard = self._clock()
        if self._silent:
            self._silent = False
            logger.info("neuron-monitor reports again")
        if report.troubles != self._troubles:
            self._troubles = report.troubles
            logger.warning("neuron-monitor could not read everything", extra={"troubles": report.troubles})
        self.figures.add(report)
        self._judge.report(report)

    def look(self) -> None:
        """Look at the devices and at ``/ping``, judge, and act on it; write what is due."""
        options, now = self._options, self._clock()
        missing = missing_devices(options.devices, options.chips)
        self.figures.devices = options.chips - len(missing)
        self._judge.devices(missing)
        self._judge.ping(trouble_of(options.ping), now)
        if now - self._heard >= SILENCE_SECONDS and not self._silent:
            self._silent = True
            self.figures.silent()
            logger.error("neuron-monitor is silent", extra={"seconds": round(now - self._heard)})
        self._act(now)
        if now - self._told >= options.interval:
            self.tell(now)

    def tell(self, now: float | None = None) -> None:
        """Write the line of the running interval."""
        self._told = self._clock() if now is None else now
        line = {**self._cloudwatch.end_interval(time.time()), **origin()}
        self._lines.put(msgspec.json.encode(line) + b"\n")

    def _act(self, now: float) -> None:
        fault = self._judge.fault()
        self.figures.faulty = fault is not None
        if fault is None:
            if self._fault_id is not None:
                logger.info("the fault is gone", extra={"fault": self._fault_id})
            self._fault_id = None
            return
        if fault.id != self._fault_id:
            self._fault_id = fault.id
            _say(fault)
        outcome = self._replacement.ask(fault, now)
        if outcome in (Outcome.REFUSED, Outcome.UNKNOWN):
            self.figures.refused += 1


def run(
    watch: Watch, reader: Reader, stopping: threading.Event, *, look_seconds: float = LOOK_SECONDS
) -> None:
    """Watch until ``stopping`` is set.

    Raises:
        MonitorEnded: a minute after the reader's end; whoever started both starts them again.
    """
    try:
        _loop(watch, reader, stopping, look_seconds)
    finally:
        watch.tell()


def _loop(watch: Watch, reader: Reader, stopping: threading.Event, look_seconds: float) -> None:
    ended: float | None = None
    while not stopping.is_set():
        watch.look()
        until = time.monotonic() + look_seconds
        while not stopping.is_set() and (left := until - time.monotonic()) > 0:
            # A signal is noticed within a second.
            line = reader.next(min(left, 1.0))
            if line is not None:
                watch.hear(line)
        if reader.ended.is_set():
            ended = ended or time.monotonic()
            if time.monotonic() - ended >= AFTER_END_SECONDS:
                raise MonitorEnded


def missing_devices(folder: Path, chips: int) -> list[int]:
    """Chips without a device node."""
    return [chip for chip in range(chips) if not (folder / f"{NODE}{chip}").is_char_device()]


def trouble_of(url: str) -> str | None:
    """Why ``/ping`` did not answer 200, in its own words; None if it did."""
    at = urlsplit(url)
    connection = HTTPConnection(str(at.hostname), at.port, timeout=PING_TIMEOUT_SECONDS)
    try:
        connection.request("GET", at.path)
        answer = connection.getresponse()
        if answer.status == HTTPStatus.OK:
            return None
        body = answer.read(500).decode(errors="replace")
        return f"/ping answered {answer.status}: {' '.join(body.split())}"
    except (OSError, HTTPException) as error:
        return f"/ping did not answer: {error}"
    finally:
        connection.close()


def _say(error: TraceshipError) -> None:
    facts = {"error": error.id, "what": error.what, "why": error.why, "fix": error.fix}
    logger.error("fault", extra=facts)
