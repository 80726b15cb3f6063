"""A local AWS for one test module: the real server process, with servers of the test's choice."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws import names
from local_aws.launcher import CHECKOUT, INTERPRETER

FAKE_SERVER = Path(__file__).with_name("fake_server.py")
BUCKET = "releases-of-the-test"
ROLE = "arn:aws:iam::000000000000:role/service"


@dataclass
class Emulator:
    """The running process and clients for it."""

    state: Path
    port: int
    process: subprocess.Popen[bytes]
    clients: dict[tuple[str, bool], Any] = field(default_factory=dict)

    def client(self, service: str, *, checked: bool = True) -> Any:
        """A boto3 client; ``checked=False`` sends what boto3 itself would refuse to send."""
        key = (service, checked)
        if key not in self.clients:
            self.clients[key] = boto3.client(  # type: ignore[call-overload]
                service,
                endpoint_url=names.endpoint(self.port),
                region_name=names.REGION,
                aws_access_key_id=names.ACCESS_KEY,
                aws_secret_access_key=names.ACCESS_KEY,
                config=Config(parameter_validation=checked, retries={"total_max_attempts": 1}),
            )
        return self.clients[key]

    def rows(self) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.port}/_traceship/replicas"
        with urllib.request.urlopen(url) as answer:
            rows: list[dict[str, Any]] = json.loads(answer.read())
        return rows

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(45) == 0, (self.state / "server.log").read_text()[-3000:]

    def publish(
        self, digest: str, *, ping: int = 200, key: str | None = None, gate: Path | None = None
    ) -> str:
        """Put a release of the fake server into S3; its ``s3://`` prefix.

        ``gate``: until there is a file of that name, the server is not ready.
        """
        s3 = self.client("s3")
        if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(Bucket=BUCKET)
        manifest = json.dumps({"digest": digest, "ping": ping, "gate": gate and str(gate)}).encode()
        prefix = key or f"releases/tiny/{digest}"
        s3.put_object(Bucket=BUCKET, Key=f"{prefix}/manifest.json", Body=manifest)
        s3.put_object(Bucket=BUCKET, Key=f"{prefix}/model.tar.gz", Body=archive({"manifest.json": manifest}))
        return f"s3://{BUCKET}/{prefix}"


def archive(files: dict[str, bytes]) -> bytes:
    """A tar.gz of the files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def fake_python(folder: Path) -> Path:
    """An interpreter for whom every module is the fake server."""
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec {quote(sys.executable)} {quote(str(FAKE_SERVER))} "$@"\n')
    program.chmod(0o755)
    return program


def start(state: Path, python: Path) -> Emulator:
    """Start the server process and wait until what it restores runs."""
    state.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "PYTHONPATH": str(CHECKOUT),
        names.ENV_PORT: str(port),
        names.ENV_STATE: str(state),
        names.ENV_PYTHON: str(python),
    }
    with (state / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [INTERPRETER, "-m", "local_aws.server"], env=environment, cwd=CHECKOUT, stdout=log, stderr=log
        )
    emulator = Emulator(state=state, port=port, process=process)
    url = f"http://127.0.0.1:{port}{names.INTERNAL_PREFIX}{names.READY}"
    until(lambda: _answers(url) or process.poll() is not None, "the local AWS answers", seconds=60)
    assert process.poll() is None, (state / "server.log").read_text()[-3000:]
    return emulator


@contextmanager
def running(state: Path, python: Path | None = None) -> Iterator[Emulator]:
    """A local AWS that leaves no process behind, which is asserted."""
    state.mkdir(parents=True, exist_ok=True)
    emulator = start(state, python or fake_python(state))
    try:
        yield emulator
    finally:
        if emulator.process.poll() is None:
            emulator.stop()
        assert processes_of(state) == []


def processes_of(state: Path) -> list[str]:
    """Command lines of live processes that carry the state folder's mark."""
    mark = f"{names.ENV_STATE}={state}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found


def until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """What the condition answers once it is true."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return answer


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def refusal(call: Callable[..., Any], **request: Any) -> tuple[str, str]:
    """Code and message of the ClientError that a call must end in."""
    with pytest.raises(ClientError) as refused:
        call(**request)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def deployed(cloudformation: Any, stack: str) -> tuple[str, str]:
    """Final status of a stack, and the reasons of what failed in it, latest first."""

    def ended() -> Any:
        found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
        return None if found.endswith("IN_PROGRESS") else found

    status = until(ended, f"stack {stack} ends", seconds=60)
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    failed = [one for one in events if one["ResourceStatus"].endswith("FAILED")]
    return status, "\n".join(one.get("ResourceStatusReason", "") for one in failed)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
