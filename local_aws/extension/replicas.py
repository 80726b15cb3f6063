"""Real server processes: started, probed, watched and stopped. None outlives the local AWS.

A replica is what an EC2 instance or one instance of an endpoint variant stands for here: a
folder, an environment, a free port on loopback, a log and a process. ``fleet.py`` and
``sagemaker.py`` say what to prepare; this module knows processes and nothing of AWS.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from artifact import serving
from local_aws.extension.registry import Registry, Response, Server

State = Literal["preparing", "starting", "serving", "failed", "stopped"]
CHILD = Path(__file__).with_name("replicas_child.py")
STARTUP_SECONDS = 480.0
"""How long a replica may take to answer 200. Source: SageMaker's default for
ContainerStartupHealthCheckTimeoutInSeconds; the fleet uses the same."""
RESTORE_SECONDS = 20.0
"""How long ``up`` waits for replicas that it starts again; then they go on in the background."""
BAD_ARTIFACT = 3
"""Exit code of ``inference_code`` when a proof failed (docs: exit codes)."""
_POLL_SECONDS = 0.1
_ONE_WORKER = {
    serving.ENV_WORKERS: "1",
    "OMP_NUM_THREADS": "1",
    "NEURON_RT_NUM_CORES": "16",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""Several replicas share this machine's cores; on AWS each has its own. No NeuronCore is here: an Inf1
graph runs on a double, which is told of some."""


class ReplicaFailed(Exception):
    """The replica will not serve; the message is the reason in one sentence."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """What a probe saw, in the words of DescribeTargetHealth."""

    state: Literal["initial", "healthy", "unhealthy"]
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What to run.

    ``prepare`` runs first, in the replica's thread, and raises ReplicaFailed when the replica
    cannot be; ``serve`` is the server's command; ``environment`` goes over the base environment
    and under the four variables that place the server here.
    """

    kind: Literal["instance", "variant"]
    id: str
    owner: str
    environment: Mapping[str, str]
    serve: Sequence[str]
    prepare: Callable[[Replica], None]
    startup_seconds: float = STARTUP_SECONDS


class Replica:
    """One server process and what belongs to it. Made by ``Replicas.start``."""

    def __init__(self, launch: Launch, folder: Path, port: int, environment: dict[str, str]) -> None:
        self.launch = launch
        self.folder = folder
        self.model_dir = folder / "opt" / "ml" / "model"
        self.log = folder / "server.log"
        self.port = port
        self.address = f"http://127.0.0.1:{self.port}"
        self.environment = {**environment, **launch.environment, **self._placed()}
        self.state: State = "preparing"
        self.reason = ""
        self.pid: int | None = None
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self.settled = threading.Event()
        self._thread = threading.Thread(target=self._live, name=f"replica-{launch.id}", daemon=True)

    def begin(self, settled: Callable[[Replica], None]) -> None:
        """Start in a thread of its own. ``settled`` is called once it serves or cannot."""
        self.model_dir.mkdir(parents=True)
        self._on_settled = settled
        self._thread.start()

    def wait_ready(self) -> None:
        """Return when the server has answered /ping with 200.

        Raises:
            ReplicaFailed: it never will; the message says why.
        """
        self.settled.wait()
        if self.state != "serving":
            raise ReplicaFailed(self.reason or "the replica was stopped")

    def run(self, command: Sequence[str]) -> None:
        """Run a preparing command to its end, output in the log.

        Raises:
            ReplicaFailed: it exited with another code than 0.
        """
        code = self._spawn(command).wait()
        if code != 0:
            raise ReplicaFailed(self._exit_reason(code))

    def probe(self, path: str = serving.PING, matches: Callable[[int], bool] | None = None) -> Health:
        """Ask the running server over HTTP, with the platform's two seconds.

        Args:
            matches: which status codes are healthy (default: 200 only).
        """
        if self.state in ("failed", "stopped"):
            return Health(state="unhealthy", code="Target.FailedHealthChecks", reason=self.reason)
        health = probe(self.port, path, matches or (lambda status: status == 200))
        if health.state == "unhealthy" and self.state in ("preparing", "starting"):
            return Health(state="initial", code="Elb.InitialHealthChecking",
                          reason="Initial health checks in progress")  # fmt: skip
        return health

    def stop(self, reason: str = "stopped") -> None:
        """SIGTERM, thirty seconds, SIGKILL; the model's files go, the log stays."""
        with self._lock:
            self._stopping = True
            process = self._process
        if process is not None:
            _end(process)
        self._thread.join()
        if self.state != "failed":
            self.state, self.reason = "stopped", reason
        shutil.rmtree(self.folder / "opt", ignore_errors=True)

    def row(self) -> dict[str, Any]:
        """What ``GET /_traceship/replicas`` says of it."""
        return {
            "kind": self.launch.kind,
            "id": self.launch.id,
            "owner": self.launch.owner,
            "address": self.address,
            "pid": self.pid,
            "state": self.state,
            "reason": self.reason,
            "digest": self.environment.get(serving.ENV_DIGEST, ""),
            "log": str(self.log),
        }

    def _placed(self) -> dict[str, str]:
        return {
            serving.ENV_MODEL_DIR: str(self.model_dir),
            serving.ENV_PORT: str(self.port),
            serving.ENV_HOST: "127.0.0.1",
            "HOME": str(self.folder),
        }

    def _live(self) -> None:
        try:
            self.launch.prepare(self)
            self.state = "starting"
            process = self._spawn(self.launch.serve)
            self._await_ping(process)
            self._settle("serving")
            code = process.wait()
            _signal(process, signal.SIGKILL)  # what it started must not outlive it
            if not self._stopping:
                raise ReplicaFailed(self._exit_reason(code))
            self._settle("stopped")
        except ReplicaFailed as failure:
            self._settle("stopped" if self._stopping else "failed", str(failure))
        except Exception as error:
            self._settle("failed", f"{type(error).__name__}: {error}")
            raise

    def _settle(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason
        if not self.settled.is_set():
            self.settled.set()
            self._on_settled(self)

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command. Only from the replica's own thread: its end would kill the command
        (see replicas_child), and it waits for the command's."""
        argv = [sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), *command]
        with self._lock, self.log.open("ab") as log:
            if self._stopping:
                raise ReplicaFailed("stopped before it served")
            self._process = subprocess.Popen(
                argv, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.pid = self._process.pid
        return self._process

    def _await_ping(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.launch.startup_seconds
        while probe(self.port, serving.PING, lambda status: status == 200).state != "healthy":
            code = process.poll()
            if code is not None:
                raise ReplicaFailed(self._exit_reason(code))
            if time.monotonic() > deadline:
                _end(process)
                raise ReplicaFailed(
                    f"no 200 from {serving.PING} within {self.launch.startup_seconds:g} s; log: {self.log}"
                )
            time.sleep(_POLL_SECONDS)

    def _exit_reason(self, code: int) -> str:
        what = "the server refused the artifact" if code == BAD_ARTIFACT else "the process ended"
        return f"{what} (exit {code}): {_last_line(self.log)}; log: {self.log}"


class Replicas:
    """All replicas of this process, by id."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._root = server.state / "replicas"
        shutil.rmtree(self._root, ignore_errors=True)
        self._replicas: dict[str, Replica] = {}
        self._starting = threading.Lock()
        self.closed = False

    def command(self, verb: str) -> list[str]:
        """``inference_code`` with a verb, by the project's own interpreter."""
        return [str(self._server.python), "-m", "inference_code", verb]

    def start(self, launch: Launch, settled: Callable[[Replica], None] = lambda _: None) -> Replica:
        """Start a replica and return at once; ``Replica.wait_ready`` waits.

        Raises:
            ReplicaFailed: the local AWS is stopping.
        """
        folder = self._root / launch.kind / launch.id
        with self._starting:
            if self.closed:
                raise ReplicaFailed("the local AWS is stopping")
            port = free_port({replica.port for replica in self._replicas.values()}, _unused_port)
            replica = Replica(launch, folder, port, self._server.child_environment(_ONE_WORKER))
            self._replicas[launch.id] = replica
            replica.begin(settled)
        return replica

    def get(self, replica_id: str) -> Replica | None:
        """The replica of this id, unless it was stopped."""
        return self._replicas.get(replica_id)

    def rows(self) -> list[dict[str, Any]]:
        """Every replica that nobody stopped, oldest first; one that ended by itself says why."""
        return [replica.row() for replica in list(self._replicas.values())]

    def stop(self, replicas: Sequence[Replica], reason: str = "stopped") -> None:
        """Stop several at once; returns when every process has ended."""
        threads = [threading.Thread(target=replica.stop, args=(reason,)) for replica in replicas]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for replica in replicas:
            self._replicas.pop(replica.launch.id, None)

    def of_kind(self, kind: Literal["instance", "variant"]) -> list[Replica]:
        """The replicas that stand for instances, or for variants."""
        return [replica for replica in list(self._replicas.values()) if replica.launch.kind == kind]

    def await_settled(self, seconds: float) -> None:
        """Return when every replica serves or has failed, or after ``seconds``."""
        deadline = time.monotonic() + seconds
        for replica in list(self._replicas.values()):
            replica.settled.wait(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Stop everything; nothing can be started afterwards."""
        with self._starting:  # whatever is being started now is among those to stop
            self.closed = True
        self.stop(list(self._replicas.values()), "the local AWS was stopped")


@functools.cache
def of(registry: Registry) -> Replicas:
    """The replicas of this process, listed at ``/_traceship/replicas``.

    The first caller makes the shut-down stop them last.
    """
    replicas = Replicas(registry.server)
    registry.on_shutdown(replicas.close)

    async def answer_rows(*_: object) -> Response:
        return 200, {"content-type": "application/json"}, json.dumps(replicas.rows()).encode()

    registry.add_internal_route("replicas", answer_rows)
    return replicas


def probe(port: int, path: str, matches: Callable[[int], bool], host: str = "127.0.0.1") -> Health:
    """One health check: GET within two seconds, healthy if the status matches."""
    connection = http.client.HTTPConnection(host, port, timeout=serving.PING_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except TimeoutError:
        return Health(state="unhealthy", code="Target.Timeout", reason="Request timed out")
    except (OSError, http.client.HTTPException) as error:
        return Health(
            state="unhealthy", code="Target.FailedHealthChecks", reason=f"Health checks failed: {error}"
        )
    finally:
        connection.close()
    if matches(status):
        return Health(state="healthy")
    return Health(state="unhealthy", code="Target.ResponseCodeMismatch",
                  reason=f"Health checks failed with these codes: [{status}]")  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the process and what it started: it leads a session of its own."""
    if process.poll() is not None:
        return
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(serving.STOP_TIMEOUT_SECONDS)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return  # the whole session has ended already


def free_port(taken: set[int], offer: Callable[[], int]) -> int:
    """The first port on offer that none of ours was promised."""
    port = offer()
    while port in taken:
        port = offer()
    return port


def _unused_port() -> int:
    """A port nobody listens on, of the kernel's choice."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:400] if lines else "it printed nothing"
