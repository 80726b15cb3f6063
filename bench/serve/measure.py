"""Starts a server, looks at its answers, loads it, and gives the points.

The answers to the first texts are compared with the untraced model's before anything is timed. Before
each point the server is left alone until the answers that a client left behind are through.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.serve.client import Job
from bench.serve.figures import Point
from bench.serve.load import load
from bench.serve.processes import Family, busy_seconds
from bench.serve.servers import Run, Server, bodies, variables

_START_SECONDS, _WARM_SECONDS, _SETTLE_SECONDS = 180.0, 2.0, 1.0
_LEAST_COSINE = 0.9999
ANSWERED = "answered"
"""A file in the server's temporary folder: it is there once the server has answered."""


class NotServing(Exception):
    """The server did not start, or answers wrongly; the message holds the end of its log."""


@dataclass(frozen=True)
class Started:
    """A server that has answered once."""

    server: Server
    run: Run
    family: Family
    ready_seconds: float
    answer_seconds: float

    def ask(self, body: Any, timeout: float = 60.0) -> Any:
        """The parsed answer; NotServing for any status but 200."""
        status, answer = exchange(
            self.run.port, "POST", self.server.path, json.dumps(body).encode(), timeout=timeout
        )
        if status != 200:
            raise NotServing(f"status {status}: {answer[:200]!r}")
        return json.loads(answer)


@contextmanager
def started(server: Server, *, workers: int, artifact: Path) -> Iterator[Started]:
    """The server until the end of the block.

    Raises:
        NotServing: it ended, or has not answered after 180 s.
    """
    with tempfile.TemporaryDirectory(prefix="bench-serve-", ignore_cleanup_errors=True) as name:
        run = Run(_free_port(), workers, artifact, Path(name))
        command = server.command(run)
        path = f"{Path(command[0]).parent}:{os.environ['PATH']}"
        env = {"HOME": os.environ.get("HOME", name), "PATH": path, **variables(server, run)}
        log, began = run.folder / "log", time.monotonic()
        with Family(command, env=env, cwd=run.folder, log=log) as family:
            ready = answered = None
            while answered is None:
                waited = time.monotonic() - began
                if waited > _START_SECONDS or not family.running:
                    raise NotServing(f"no answer after {waited:.0f} s:\n{log.read_text()[-2000:]}")
                if ready is None and _well(run.port, "GET", server.ping, None):
                    ready = time.monotonic() - began
                body = json.dumps(server.body("hello world")).encode()
                if ready is not None and _well(run.port, "POST", server.path, body):
                    answered = time.monotonic() - began
                time.sleep(0.05)
            (run.folder / ANSWERED).touch()
            yield Started(server, run, family, ready or 0.0, answered)


def points(
    name: str,
    server: Server,
    texts: list[str],
    reference: Sequence[Sequence[float]],
    *,
    round_: int,
    clients: Sequence[int],
    seconds: float,
    workers: int,
    artifact: Path,
) -> Iterator[Point]:
    """One point for each number of clients.

    Args:
        reference: the untraced model's vectors of the first texts; none: answers are not looked at.

    Raises:
        NotServing: see ``started``; or an answer is not the untraced model's.
    """
    with started(server, workers=workers, artifact=artifact) as it:
        time.sleep(_SETTLE_SECONDS)
        idle = it.family.pss_bytes()
        cosine = _least_cosine(it, texts, reference) if reference else None
        if cosine is not None and cosine < _LEAST_COSINE:
            raise NotServing(f"an answer's cosine to the untraced model's is {cosine:.6f}")
        file = bodies(server, texts, it.run.folder / "bodies")
        load(Job(it.run.port, server.path, str(file), 16, _WARM_SECONDS))
        for number in clients:
            it.ask(server.body("hello world"))
            time.sleep(_SETTLE_SECONDS / 2)
            job = Job(it.run.port, server.path, str(file), number, seconds)
            yield point(it, job, name=name, round_=round_, idle_bytes=idle, cosine=cosine)


def point(
    it: Started, job: Job, *, name: str, round_: int, idle_bytes: int = 0, cosine: float | None = None
) -> Point:
    """Load a started server once."""
    own, busy, used = time.process_time(), busy_seconds(), it.family.cpu_seconds()
    began = time.monotonic()
    found = load(job)
    used, elapsed = it.family.cpu_seconds() - used, time.monotonic() - began
    own, busy = time.process_time() - own, busy_seconds() - busy
    return Point(
        round=round_,
        server=name,
        clients=job.clients,
        requests=found.requests,
        seconds=found.seconds,
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        errors=found.errors,
        cpu_seconds=used,
        client_cpu_seconds=found.cpu_seconds,
        foreign_cores=max(0.0, busy - used - own - found.cpu_seconds) / elapsed,
        idle_bytes=idle_bytes,
        loaded_bytes=it.family.pss_bytes(),
        processes=len(it.family.members()),
        ready_seconds=it.ready_seconds,
        answer_seconds=it.answer_seconds,
        cosine=cosine,
    )


def exchange(
    port: int, method: str, path: str, body: bytes | None, *, timeout: float = 5.0
) -> tuple[int, bytes]:
    """Status and body of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _well(port: int, method: str, path: str, body: bytes | None) -> bool:
    try:
        return exchange(port, method, path, body)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _least_cosine(it: Started, texts: Sequence[str], reference: Sequence[Sequence[float]]) -> float:
    return min(
        _cosine(it.server.vector(it.ask(it.server.body(text))), wanted)
        for text, wanted in zip(texts, reference)
    )


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    if len(left) != len(right):
        raise NotServing(f"an answer of {len(left)} numbers, not {len(right)}")
    dot = sum(one * other for one, other in zip(left, right))
    return dot / (math.hypot(*left) * math.hypot(*right) or 1.0)


def _free_port() -> int:
    """The first of three free ones in a row, which those with more than one address need."""
    for port in range(20_000 + os.getpid() % 5_000, 60_000, 10):
        if all(_is_free(port + more) for more in range(3)):
            return port
    raise NotServing("no free port")


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
