"""cloud-init and systemd for one boot, run inside an isolated root: ``machine.py SPECIFICATION``.

What it does of systemd: environment files, ``${NAME}``, ExecStartPre to ExecStopPost in their order, a
leading ``-``, the limit of a start, restarts. Commands are those of the unit, word for word.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

JOURNAL = Path("/run/journal")


def boot(specification: dict[str, Any]) -> dict[str, Any]:
    """Write files, run commands, start the unit until it is ready or has failed ``starts`` times."""
    config = yaml.safe_load(Path(specification["user_data"]).read_text())
    for file in config["write_files"]:
        path = Path(file["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"])
        path.chmod(int(file["permissions"], 8))
    for command in config["runcmd"]:
        subprocess.run(command, check=True)
    (enabled,) = [
        row for row in map(json.loads, Path("/run/systemctl").read_text().splitlines()) if "enable" in row
    ]
    assert "traceship.service" in enabled
    unit = Unit(Path("/etc/systemd/system/traceship.service"), limit=specification["limit"])
    results = []
    for _ in range(specification["starts"]):
        results.append(unit.start())
        if results[-1] == "ready":
            unit.stop()
            break
    return {"results": results, "journal": unit.journal, "enabled": enabled}


class Unit:
    """A service. ``limit``: seconds that take the place of TimeoutStartSec."""

    def __init__(self, path: Path, *, limit: float) -> None:
        self._lines = [
            (key, value)
            for key, found, value in (
                line.partition("=") for line in path.read_text().replace("\\\n", " ").splitlines()
            )
            if found
        ]
        self._limit = limit
        self._main: subprocess.Popen[bytes] | None = None
        self.journal: list[str] = []

    def start(self) -> str:
        """One start: "ready", or the SERVICE_RESULT with which it failed."""
        JOURNAL.write_text("")
        deadline = time.monotonic() + self._limit
        result = self._start(deadline)
        if result != "ready":
            self._kill()
            self._run_all("ExecStopPost", None, SERVICE_RESULT=result)
        self.journal.append(JOURNAL.read_text())
        return result

    def stop(self) -> None:
        """Stop what is ready."""
        self._kill()

    def _start(self, deadline: float) -> str:
        result = self._run_all("ExecStartPre", deadline)
        if result:
            return result
        (command,) = self._values("ExecStart")
        self._main = self._spawn(command)
        return self._run_all("ExecStartPost", deadline, MAINPID=str(self._main.pid)) or "ready"

    def _run_all(self, key: str, deadline: float | None, **extra: str) -> str:
        for command in self._values(key):
            process = self._spawn(command.removeprefix("-"), **extra)
            try:
                code = self._wait(process, deadline)
            except TimeoutError:
                _end(process)
                return "timeout"
            if code and not command.startswith("-"):
                return "exit-code"
        return ""

    def _wait(self, process: subprocess.Popen[bytes], deadline: float | None) -> int:
        """Its code; the main process is reaped meanwhile, as systemd does."""
        while (code := process.poll()) is None:
            if self._main is not None:
                self._main.poll()
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.01)
        return code

    def _spawn(self, command: str, **extra: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "INVOCATION_ID": "one", **extra}
        for file in self._values("EnvironmentFile"):
            environment |= dict(line.split("=", 1) for line in Path(file).read_text().splitlines())
        words = [
            re.sub(r"\$\{(\w+)\}", lambda name: environment[name[1]], word) for word in shlex.split(command)
        ]
        with JOURNAL.open("ab") as log:
            return subprocess.Popen(
                words,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _kill(self) -> None:
        if self._main is not None:
            _end(self._main)
            self._main = None

    def _values(self, key: str) -> list[str]:
        return [value for name, value in self._lines if name == key]


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps(boot(asked)))
