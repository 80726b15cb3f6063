"""JSON lines on stderr, one per event; what a client sent to be answered never appears in them.

Each says on which instance it was written, and for which release, as far as that is known (``come_from``).
A value of a line is escaped by JSON, so whatever a header holds, a line stays one line. Writing is
``log_writer.py``'s: a reader who stalls costs lines, never requests.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import re
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import msgspec

from artifact.errors import UsageError
from artifact.serving import ENV_INSTANCE, ENV_LOG
from inference_code.log_writer import LineWriter, WaitingWriter
from inference_code.option_values import OptionInvalid

logger = logging.getLogger("traceship.serve")

CLOSE_SECONDS = 1.0
"""How long the end of the process waits for a reader who stalls."""

RELEASE_DIGITS = 12
"""Of a release's digest in a line, as in the name of a canary: a whole one would be a tenth of the line."""

_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}")
_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


_origin: dict[str, str] = {}
"""What every line of this process says of where it comes from."""


class LogOptionInvalid(UsageError):
    """TRACESHIP_LOG says something that is not known."""

    id = "log-option-invalid"

    def __init__(self, *, value: str) -> None:
        wanted = "all, errors, or 1/N with N from 2 to 1000000"
        super().__init__(
            what=f"{ENV_LOG} cannot be used", why=f"it is {value!r}, not {wanted}", fix=f"set it to {wanted}"
        )


class JsonLines(logging.Formatter):
    """``extra`` fields become keys; a trace is one string, so that a line stays a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _stamp(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_origin,
        }
        line |= {key: value for key, value in vars(record).items() if key not in _PLAIN}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class LineHandler(logging.Handler):
    """Hands lines to a writer."""

    def __init__(self, writer: LineWriter | WaitingWriter) -> None:
        super().__init__()
        self.writer = writer
        self.setFormatter(JsonLines())

    def close(self) -> None:
        """Write what waits: ``logging`` calls this at the end of every process that ends by itself."""
        self.writer.close(CLOSE_SECONDS)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.writer.put(self.format(record).encode() + b"\n")
        except Exception:
            self.handleError(record)


class RequestLog:
    """A line for each request, or for those that were not answered and a part of the rest.

    Beside ``logging``, whose records cost more than counting, encoding and writing such a line.
    """

    def __init__(self, writer: LineWriter, *, one_in: int = 1) -> None:
        """
        Args:
            one_in: of the requests that were answered well, one in so many has a line; 0: none.
        """
        self._writer = writer
        self._one_in = one_in
        self._turn = itertools.count()

    @property
    def dropped(self) -> int:
        """Lines of the whole log, not only of requests, that were lost."""
        return self._writer.dropped

    def wants(self, status: int) -> bool:
        """Whether the next request, answered with ``status``, has a line."""
        if status >= 400:
            return True
        return self._one_in > 0 and next(self._turn) % self._one_in == 0

    def write(self, when: float, facts: Mapping[str, object]) -> None:
        """``when`` in seconds since 1970."""
        line = {"time": _stamp(when), "level": "info", "event": "request", **_origin, **facts}
        self._writer.put(msgspec.json.encode(line) + b"\n")


def one_in(environ: Mapping[str, str]) -> int:
    """What TRACESHIP_LOG says of requests that were answered well: ``all``, ``errors`` or ``1/N``.

    Raises:
        LogOptionInvalid: anything else.
    """
    value = environ.get(ENV_LOG) or "all"
    if value in {"all", "errors"}:
        return int(value == "all")
    share = value.removeprefix("1/")
    if value == share or not share.isascii() or not share.isdigit() or not 2 <= int(share) <= 1_000_000:
        raise LogOptionInvalid(value=value)
    return int(share)


def come_from(*, instance: str | None = None, digest: str | None = None) -> None:
    """Say so in every line of this process from now on.

    Args:
        instance: on which it runs; see ``instance_in``.
        digest: of the release that it fetches, serves or watches; a server of several models says it
            in the lines of their requests only.
    """
    if instance:
        _origin["instance"] = instance
    if digest:
        _origin["release"] = release_name(digest)


def origin() -> Mapping[str, str]:
    """What every line of this process says of where it comes from."""
    return _origin


def release_name(digest: str) -> str:
    """What a line calls the release with this digest."""
    return digest[:RELEASE_DIGITS]


def instance_in(environ: Mapping[str, str]) -> str | None:
    """The name that TRACESHIP_INSTANCE gives to the machine, or None.

    Raises:
        OptionInvalid: it is no name.
    """
    value = environ.get(ENV_INSTANCE)
    if not value:
        return None
    if not _INSTANCE.fullmatch(value):
        wanted = "a name of 1 to 128 of A-Z, a-z, 0-9, _, ., :, / and -"
        raise OptionInvalid(name=ENV_INSTANCE, value=value, wanted=wanted)
    return value


def configure() -> LineWriter:
    """Send our lines, and the warnings of asyncio and boto, to stderr through the writer that is returned."""
    writer = LineWriter(sys.stderr.fileno(), _notice)
    _log_to(writer)
    return writer


def configure_waiting() -> None:
    """The same without the writer's thread: whoever logs may have to wait. For a process that is to fork."""
    _log_to(WaitingWriter(sys.stderr.fileno()))


def _log_to(writer: LineWriter | WaitingWriter) -> None:
    logging.basicConfig(level=logging.WARNING, handlers=[LineHandler(writer)], force=True)
    logger.setLevel(logging.INFO)


def _notice(dropped: int) -> bytes:
    line = {"time": _stamp(), "level": "warning", "event": "log lines dropped", **_origin, "count": dropped}
    return msgspec.json.encode(line) + b"\n"


def _stamp(seconds: float | None = None) -> str:
    milliseconds = round((time.time() if seconds is None else seconds) * 1000)
    second, rest = divmod(milliseconds, 1000)
    return f"{_second(second)}.{rest:03d}+00:00"


@functools.lru_cache(maxsize=4)
def _second(second: int) -> str:
    """Made once a second, not once a line."""
    return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
