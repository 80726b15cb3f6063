"""Loads a server for some seconds: with ``wrk`` where there is one, else with ``client.py``.

wrk takes about a tenth of the processor time; figures per processor second of the server are the
same with both. ``WRK`` names another place of it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.serve.client import Job
from bench.serve.figures import percentile

_FOLDER = Path(__file__).resolve().parent
_CHECKOUT = _FOLDER.parent.parent
_MORE_SECONDS = 60


@dataclass(frozen=True)
class Load:
    """Answers with 200, and the rest as ``errors``; ``cpu_seconds`` are the client's."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_seconds: float = 0.0


def wrk() -> str | None:
    """The command, or None."""
    return shutil.which(os.environ.get("WRK", "wrk"))


def load(job: Job) -> Load:
    """Run one job; what the server did not answer in time counts as an error."""
    command = wrk()
    before = _children_seconds()
    found = _with_wrk(command, job) if command else _with_ours(job)
    return replace(found, cpu_seconds=_children_seconds() - before)


def _with_wrk(command: str, job: Job) -> Load:
    words = ["-t1", f"-c{job.clients}", f"-d{job.seconds:g}s", "--timeout", "30s"]
    words += ["-s", str(_FOLDER / "load.lua"), f"http://127.0.0.1:{job.port}"]
    env = {**os.environ, "BODIES": job.bodies, "TARGET": job.path}
    done = subprocess.run(
        [command, *words],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=job.seconds + _MORE_SECONDS,
    )
    return Load(**json.loads(done.stdout.partition("RESULT ")[2].splitlines()[0]))


def _with_ours(job: Job) -> Load:
    done = subprocess.run(
        [sys.executable, "-m", "bench.serve.client"],
        input=json.dumps(asdict(job)),
        env={**os.environ, "PYTHONPATH": str(_CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=job.seconds + _MORE_SECONDS,
    )
    found = json.loads(done.stdout)
    answered = sorted(found["milliseconds"])
    return Load(
        requests=len(answered),
        seconds=found["seconds"],
        p50_ms=percentile(answered, 50),
        p99_ms=percentile(answered, 99),
        errors=found["errors"],
    )


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
