"""Start, find and stop the local AWS. Runs in the project's environment; ``server.py`` is the
process it starts.

One state folder has at most one server. The server holds a lock for as long as it lives, so
whether it runs is never guessed from a process id.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from artifact.signals import held_back
from local_aws import names, processes
from local_aws.errors import (
    AlreadyRunning,
    BusyState,
    LocalAwsNotInstalled,
    LocalAwsNotRunning,
    LocalAwsUnhealthy,
    PortInUse,
    StateNotWritable,
)

CHECKOUT = Path(__file__).resolve().parent.parent
INTERPRETER = CHECKOUT / ".venv-aws" / "bin" / "python"
START_SECONDS = 60.0
"""Longest wait for a server to answer; restored replicas load their artifact in it."""
STOP_SECONDS = 40.0
"""Longest wait for a server to stop by itself: a replica may drain for 25 s."""
LOG_LINES_SHOWN = 15


@dataclass(frozen=True, kw_only=True)
class LocalAws:
    """A running server."""

    state: Path
    port: int
    pid: int

    @property
    def endpoint(self) -> str:
        """URL for every AWS client."""
        return names.endpoint(self.port)

    @property
    def log(self) -> Path:
        """What the server printed."""
        return names.log(self.state)

    def environment(self) -> dict[str, str]:
        """Variables that make boto3, the AWS CLI and the CDK CLI use this server only.

        Set them with ``apply_to`` or unset ``names.FOREIGN`` too: a profile of a real account
        beside them would be looked up and not found.
        """
        return {
            **names.client_environment(self.state, self.port),
            "CDK_HOME": str(self.state / "cdk-home"),  # the CLI caches the account by access key
            "CDK_DEFAULT_ACCOUNT": names.ACCOUNT,
            "CDK_DEFAULT_REGION": names.REGION,
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "CI": "1",
            "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1",
        }

    def apply_to(self, environ: MutableMapping[str, str]) -> None:
        """Point ``environ`` (such as ``os.environ``) at this server and away from real accounts."""
        for name in [*names.FOREIGN, *(n for n in environ if n.startswith("AWS_ENDPOINT_URL_"))]:
            environ.pop(name, None)
        environ.update(self.environment())

    def client(self, service: str) -> Any:
        """A boto3 client for this server, whatever the process's own environment says."""
        return _client(self.endpoint, service)


@cache
def _client(endpoint: str, service: str) -> Any:
    """One per service: making a client takes longer than most calls."""
    import boto3
    import botocore.session

    unset = (None, None, None, None)
    core = botocore.session.Session(session_vars={"profile": unset, "config_file": unset})
    session = boto3.Session(
        aws_access_key_id=names.ACCESS_KEY,
        aws_secret_access_key=names.ACCESS_KEY,
        region_name=names.REGION,
        botocore_session=core,
    )
    return session.client(service, endpoint_url=endpoint)  # type: ignore[call-overload]


def up(state: Path, *, port: int | None = None, interpreter: Path = INTERPRETER) -> LocalAws:
    """Return the running server of ``state``, started if need be, with its state of last time.

    Args:
        port: unset: the port of last time if it is free, else a free one.
        interpreter: Python of the environment that holds ministack.

    Raises:
        LocalAwsNotInstalled, PortInUse, AlreadyRunning, BusyState, StateNotWritable
        LocalAwsUnhealthy: it ended or stayed silent; nothing is left running.
        SelfCheckFailed: it accepts what AWS refuses; nothing is left running.
    """
    state = state.resolve()
    with _exclusive(state):
        running = status(state)
        if running is not None:
            if port not in (None, running.port):
                raise AlreadyRunning(port=running.port, asked=port)
            return running
        if not interpreter.exists():
            raise LocalAwsNotInstalled(interpreter=interpreter)
        processes.end(
            processes.belonging_to(state), grace_seconds=STOP_SECONDS
        )  # of a server that was killed
        return _start(state, _choose_port(state, port), interpreter)


def down(state: Path) -> bool:
    """Stop the server of ``state`` and everything it started; whether there was anything to stop.

    The state stays in the folder for the next ``up``.
    """
    state = state.resolve()
    if not state.is_dir():
        return False
    with _exclusive(state):
        running = status(state)
        if running is not None:
            processes.end([running.pid], grace_seconds=STOP_SECONDS)
        leftover = processes.belonging_to(state)
        processes.end(leftover, grace_seconds=STOP_SECONDS)
        return running is not None or bool(leftover)


def status(state: Path) -> LocalAws | None:
    """The server that holds the lock of ``state``, or None."""
    state = state.resolve()
    try:
        with names.lock(state).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        record = json.loads(names.record(state).read_text())
        return LocalAws(state=state, port=record["port"], pid=record["pid"])
    return None


def require(state: Path) -> LocalAws:
    """The running server of ``state``.

    Raises:
        LocalAwsNotRunning: there is none.
    """
    running = status(state)
    if running is None:
        raise LocalAwsNotRunning(state=state)
    return running


@contextmanager
def _exclusive(state: Path) -> Iterator[None]:
    """One ``up`` or ``down`` at a time for a state folder."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        handle = (state / "launcher.lock").open("w")
    except OSError as error:
        raise StateNotWritable(state=state, reason=str(error)) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyState(state=state) from None
        yield


def _choose_port(state: Path, asked: int | None) -> int:
    if asked is not None:
        if not _is_free(asked):
            raise PortInUse(port=asked)
        return asked
    try:
        last: int = json.loads(names.record(state).read_text())["port"]
    except (FileNotFoundError, ValueError, KeyError):
        last = 0
    return last if last and _is_free(last) else _free_port()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server: TIME_WAIT is no owner
        try:
            probe.bind((names.LOOPBACK, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((names.LOOPBACK, 0))
        number: int = probe.getsockname()[1]
        return number


def _start(state: Path, port: int, interpreter: Path) -> LocalAws:
    from local_aws.conformance.selfcheck import self_check

    process: subprocess.Popen[bytes] | None = None
    try:
        with held_back():
            process = _spawn(state, port, interpreter)
        _wait_until_ready(process, state, port)
        server = LocalAws(state=state, port=port, pid=process.pid)
        self_check(server)
    except BaseException:  # Ctrl-C too: a half-started server must not outlive the command
        if process is not None:
            processes.end([process.pid], grace_seconds=STOP_SECONDS)
            process.wait()
        processes.end(processes.belonging_to(state), grace_seconds=STOP_SECONDS)
        raise
    return server


def _spawn(state: Path, port: int, interpreter: Path) -> subprocess.Popen[bytes]:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PYTHON"))},
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
        names.ENV_PORT: str(port),
        names.ENV_STATE: str(state),
        names.ENV_PYTHON: sys.executable,
    }
    with names.log(state).open("wb") as log:
        return subprocess.Popen(
            [interpreter, "-m", "local_aws.server"],
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for the command, not for the server
        )


def _wait_until_ready(process: subprocess.Popen[bytes], state: Path, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers_as(process.pid, port):
        code = process.poll()
        if code is not None:
            raise _unhealthy(state, f"it ended with exit code {code}")
        if time.monotonic() > deadline:
            raise _unhealthy(state, f"it did not answer within {START_SECONDS:.0f} s")
        time.sleep(processes.POLL_SECONDS)


def _answers_as(pid: int, port: int) -> bool:
    """Whether the server on the port is ready and is the process we started."""
    connection = http.client.HTTPConnection(names.LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", names.INTERNAL_PREFIX + names.READY)
        answer = connection.getresponse()
        return answer.status == 200 and bool(json.loads(answer.read())["pid"] == pid)
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return False
    finally:
        connection.close()


def _unhealthy(state: Path, reason: str) -> LocalAwsUnhealthy:
    log = names.log(state)
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    return LocalAwsUnhealthy(reason=reason, log=log, last_lines="\n".join(lines))
