"""The server as a real process on a real socket, started and ended by its own id."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0


@dataclass(frozen=True)
class Reply:
    """Status, lower-case headers and body of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RunningServer:
    """``python -m inference_code serve``, away from the checkout; its log is read as it comes.

    ``keep_requests`` False: the lines about single requests are dropped, for runs of very many.
    """

    def __init__(
        self,
        root: Path | None,
        *arguments: str,
        cwd: Path,
        env: dict[str, str] | None = None,
        keep_requests: bool = True,
    ) -> None:
        path = [] if root is None else [str(root)]
        command = [sys.executable, "-m", "inference_code", "serve", *path, *arguments]
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment(env or {}), stderr=subprocess.PIPE, text=True
        )
        self.log: list[dict[str, Any]] = []
        self._keep_requests = keep_requests
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self.port = 0

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if not self._keep_requests and '"event": "request"' in line:
                continue
            with self._changed:
                self.log.append(json.loads(line) if line.startswith("{") else {"event": line})
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def await_event(self, name: str) -> dict[str, Any]:
        """The first log line of that name; fails if the process ends without it."""
        return self.await_line(lambda line: bool(line["event"] == name))

    def await_line(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first log line that is wanted; fails if the process ends without it."""
        with self._changed:
            self._changed.wait_for(
                lambda: any(map(wanted, self.log)) or not self._reader.is_alive(), timeout=START_SECONDS
            )
            found = [line for line in self.log if wanted(line)]
        assert found, f"the server never logged it: {self.log}"
        return found[0]

    def await_listening(self) -> RunningServer:
        self.port = self.await_event("listening")["port"]
        return self

    def await_ready(self) -> RunningServer:
        """Poll /ping as a platform does, until it answers 200."""
        self.await_listening()
        deadline = time.monotonic() + START_SECONDS
        while self.call("GET", "/ping").status != 200:
            assert time.monotonic() < deadline, f"never ready: {self.log}"
            assert self.process.poll() is None, f"ended: {self.log}"
            select.select([], [], [], 0.05)
        return self

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            return send(connection, method, path, body, headers)

    def ask(self, inputs: Any, **parameters: Any) -> Reply:
        """POST /invocations with JSON."""
        body: dict[str, Any] = {"inputs": inputs}
        if parameters:
            body["parameters"] = parameters
        return self.call(
            "POST", "/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name on /metrics that have these labels."""
        # Not everybody who imports this module has the serving image's packages.
        from prometheus_client.parser import text_string_to_metric_families

        page = self.call("GET", "/metrics").body.decode()
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are; return everything until the server closes or 5 s pass in silence."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(data)
            return read_all(connection)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code, once the process has ended."""
        code = self.process.wait(timeout=START_SECONDS)
        self._reader.join(timeout=5)
        return code

    def stop(self) -> None:
        """SIGINT skips the lame duck."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(timeout=5)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextlib.contextmanager
def running(
    root: Path,
    *arguments: str,
    cwd: Path,
    env: dict[str, str] | None = None,
    keep_requests: bool = True,
) -> Iterator[RunningServer]:
    """A server on a free port, ended by its id whatever the test does."""
    server = RunningServer(root, "--port", "0", *arguments, cwd=cwd, env=env, keep_requests=keep_requests)
    try:
        yield server
    finally:
        server.stop()


def send(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    found = {name.lower(): value for name, value in answer.getheaders()}
    return Reply(status=answer.status, headers=found, body=answer.read())


def read_all(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def environment(extra: dict[str, str]) -> dict[str, str]:
    """This process's environment without ours and AWS's variables, plus ``extra``."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TRACESHIP_", "SAGEMAKER_", "AWS_"))
    }
    return {
        **plain,
        "PYTHONPATH": str(CHECKOUT),
        "TRACESHIP_WORKERS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
        **extra,
    }
