"""What a project's ships have finished, one record a step, on the disk before the next step begins.

Append-only. A record names its step, what the step was of (a digest of everything that shaped its
outcome) and the outcome. Each line begins with a checksum: one that was torn by a power cut, or
damaged later, counts as never written, which costs work and never a wrong release. The journal only
remembers what nothing else tells; whoever reads it checks the outcome against the truth.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from artifact.failpoints import failpoint
from compile.durable import naming, sync_folder

FILE = "ship.journal"
_CHECKSUM = 16


class Journal:
    """The journal in the state folder ``state``. One process at a time writes it (``cli/alone.py``)."""

    def __init__(self, state: Path) -> None:
        self.path = state / FILE

    def outcome(self, step: str, of: str) -> dict[str, Any] | None:
        """The last outcome of ``step`` for just these inputs, or None."""
        last = None
        for record in self.records():
            if (record["step"], record["of"]) == (step, of):
                last = record["outcome"]
        return last

    def record(self, step: str, of: str, outcome: Mapping[str, Any]) -> None:
        """Append a record; it is on the disk when this returns. The same again is not written twice."""
        if self.outcome(step, of) == outcome:
            return
        line = _line({"step": step, "of": of, "outcome": dict(outcome)})
        with failpoint("journal.append"):
            self._append(line)

    def records(self) -> Iterator[dict[str, Any]]:
        """Every record that checks out, oldest first."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        for line in data.split(b"\n"):
            record = _record(line)
            if record is not None:
                yield record

    def _append(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with naming(self.path), self.path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)  # a torn last line would spoil the next one
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path.parent)


def _line(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
    return _checksum(text) + b" " + text + b"\n"


def _record(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    if not text or checksum != _checksum(text):
        return None
    record: dict[str, Any] = json.loads(text)
    return record


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:_CHECKSUM].encode()
