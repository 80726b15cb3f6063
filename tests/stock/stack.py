"""AWS's own serving stack around an unpacked archive: started on loopback, ended by the id of its Java."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from artifact.verify import verify
from compile.archive import write_archive
from compile.stock import stock_members
from tests.inference_code.running import Reply, send
from tests.kit.command import CHECKOUT
from tests.kit.wheels import wheels
from tests.stock.java import java_home

VENV = CHECKOUT / ".venv-stock"
LAUNCHER = Path(__file__).with_name("launch.py")
START_SECONDS = 120.0
STOP_SECONDS = 60.0
PORTS = ("inference", "management", "metrics", "grpc_inference", "grpc_management")


class Stack:
    """A running TorchServe and its folder, which holds everything that it writes."""

    def __init__(self, folder: Path, ports: Mapping[str, int], process: subprocess.Popen[bytes]) -> None:
        self.folder, self.ports, self.process = folder, ports, process
        self.orphans: list[int] = []
        """Processes that had to be killed."""

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        port: str = "inference",
        seconds: float = 60,
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=seconds)
        with contextlib.closing(connection):
            return send(connection, method, path, body, dict(headers or {}))

    def ask(self, inputs: Any, **parameters: Any) -> Reply:
        """POST /invocations with JSON."""
        body = {"inputs": inputs, **({"parameters": parameters} if parameters else {})}
        return self.post(json.dumps(body).encode())

    def post(self, body: bytes, content_type: str = "application/json", **headers: str) -> Reply:
        """POST /invocations."""
        return self.call("POST", "/invocations", body, {"Content-Type": content_type, **headers})

    def await_ping(self, status: int) -> Stack:
        """Poll /ping until it answers with ``status``."""
        self._await(f"/ping {status}", lambda: self.call("GET", "/ping").status == status)
        return self

    def await_loaded(self) -> Stack:
        """Until every worker has its model: /ping is 200 before that."""
        self._await("a model that is loaded", lambda: self.states() == {"READY"})
        return self

    def workers(self) -> dict[int, str]:
        """The state of each worker by its process id, as TorchServe's management knows them."""
        (model,) = self.call("GET", "/models/model", port="management").json
        return {worker["pid"]: worker["status"] for worker in model["workers"]}

    def states(self) -> set[str]:
        """The workers' states."""
        return set(self.workers().values())

    def log(self) -> str:
        """Everything that TorchServe and its workers wrote."""
        return (self.folder / "out").read_text(errors="replace")

    def _await(self, what: str, found: Any) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(ConnectionError, TimeoutError):
                if found():
                    return
            assert self.process.poll() is None, f"ended without {what}: {self.log()[-4000:]}"
            assert time.monotonic() < deadline, f"never {what}: {self.log()[-4000:]}"
            select.select([], [], [], 0.05)

    def stop(self) -> None:
        """End Java, which ends its workers; the launcher only waits for it."""
        pid_file = self.folder / "tmp/.model_server.pid"
        if self.process.poll() is None and pid_file.exists():
            os.kill(int(pid_file.read_text()), signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS
        while self.left() and time.monotonic() < deadline:
            select.select([], [], [], 0.05)  # a worker ends when it finds Java gone
        self.orphans = self.left()
        for pid in self.orphans:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def left(self) -> list[int]:
        """Ids of the processes that this stack started and that still run."""
        mark = f"TMPDIR={self.folder / 'tmp'}\0".encode()
        found = []
        for place in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in place.read_bytes() + b"\0":
                    found.append(int(place.parent.name))
        return found


def archived(root: Path, folder: Path) -> Path:
    """The stock archive of the artifact at ``root``, unpacked as the platform does; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "model.tar.gz"
    write_archive(stock_members(verify(root), checkout=CHECKOUT, wheels=wheels()), out)
    with tarfile.open(out) as tar:
        tar.extractall(folder / "opt/ml/model", filter="data")
    out.unlink()
    return folder / "opt/ml/model"


@contextlib.contextmanager
def stack(model: Path, folder: Path, env: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """The stack around ``model``, which must be named ``…/model``; ``folder`` is for what it writes."""
    started = _start(model, folder, env or {})
    try:
        yield started
    finally:
        started.stop()


def _start(model: Path, folder: Path, env: Mapping[str, str]) -> Stack:
    python = stock_python(VENV)
    home = java_home(VENV / "java")
    (folder / "tmp").mkdir(parents=True)
    ports = _free_ports()
    addresses = [f"{name}_address=http://127.0.0.1:{ports[name]}" for name in PORTS[:3]]
    addresses += [f"{name}_address=127.0.0.1\n{name}_port={ports[name]}" for name in PORTS[3:]]
    (folder / "overrides").write_text("\n".join(addresses) + "\n")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [python, LAUNCHER, folder, folder / "overrides"],
            cwd=folder,
            env={
                **kept,
                **({"JAVA_HOME": home} if home else {}),
                "TMPDIR": str(folder / "tmp"),
                "TEMP": str(folder / "tmp"),
                "LOG_LOCATION": str(folder / "logs"),
                "METRICS_LOCATION": str(folder / "logs"),
                "SAGEMAKER_BASE_DIR": str(model.parent),
                "SAGEMAKER_PROGRAM": "inference.py",
                "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
                "TS_DISABLE_TOKEN_AUTHORIZATION": "true",
                "OMP_NUM_THREADS": "1",
                "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # a sixth less work
                **env,
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    return Stack(folder, ports, process)


def stock_python(venv: Path) -> Path:
    """The Python of the stack's environment; a test without it fails instead of proving nothing."""
    python = venv / "bin/python"
    if not python.exists():
        pytest.fail(f"AWS's serving stack is missing ({python}): run `make test`, it makes it")
    return python


def installed() -> dict[str, str]:
    """Versions by name of what is installed where the workers run."""
    every = "[[one.name, one.version] for one in importlib.metadata.distributions()]"
    ask = f"import importlib.metadata, json; print(json.dumps({every}))"
    command = [stock_python(VENV), "-I", "-c", ask]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name.lower().replace("_", "-"): version for name, version in json.loads(told)}


def _free_ports() -> dict[str, int]:
    with contextlib.ExitStack() as held:
        sockets = {name: held.enter_context(socket.socket()) for name in PORTS}
        for each in sockets.values():
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in sockets.items()}
